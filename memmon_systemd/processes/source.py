"""Processes whose name begins with a prefix, each a target of its own."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Final

from memmon_systemd.formatting import signal_name
from memmon_systemd.linux import cgroup
from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.monitor.gauge import ProcessGauge
from memmon_systemd.monitor.schedule import Ladder
from memmon_systemd.monitor.source import Loop
from memmon_systemd.monitor.target import Outcome, Target
from memmon_systemd.processes.table import NOT_PERMITTED_HINT, Process, ProcessTable
from memmon_systemd.settings import Metric, Settings, Share

_SLACK: Final = 0.5
"""So much of an interval a search waits for a look to go along with: a new process is found within two."""


class ProcessTarget(Target):
    """One process, from when it is found to its end."""

    __slots__ = ("_source", "process")

    def __init__(self, source: PrefixSource, process: Process, repeat_s: float) -> None:
        """A process that was just found."""
        super().__init__(f"{process.name}[{process.pid}]", None, repeat_s)
        self._source = source
        self.process = process

    def is_same(self) -> bool:
        """Whether it lives, still has the name, and isn't what the monitor runs in."""
        try:
            same = self._source.is_still_meant(self.process)
        except OSError as error:
            self.unreadable += 1
            if self.unreadable == 1:
                self._source.cannot_tell(self, error)
            return False
        if not same:
            self.ended = True
            self._source.process_left(self)
        return same

    def act(self, now_s: float) -> Outcome:
        """Signal it by its pidfd."""
        signal = signal_name(self._source.settings.signal_number)
        try:
            self.process.send(self._source.settings.signal_number)
        except ProcessLookupError:
            self.lost(now_s)
            return Outcome(done=False, what="it has ended by itself")
        except PermissionError as error:
            return Outcome(done=False, what=f"{signal}: {error.strerror}: {NOT_PERMITTED_HINT}")
        except OSError as error:
            return Outcome(done=False, what=f"{signal}: {error.strerror}")
        return Outcome(done=True, what=f"sent {signal}")

    def lost(self, now_s: float) -> None:
        """It has ended."""
        self.ended = True
        self._source.process_ended(self)


class NamedProcesses(ABC):
    """The processes that one NAME stands for, as a source finds them."""

    def __init__(self, name: str, settings: Settings, table: ProcessTable, loop: Loop) -> None:
        """A source for names that begin with `name`; OSError where the processes can't be listed."""
        self.due_s = 0.0
        self.slack_s = settings.interval_s * _SLACK
        self.settings = settings
        self._name = name
        self._prefix = os.fsencode(name)
        self._table = table
        self._loop = loop
        self._finder = table.finder(self._prefix, settings.interval_s)
        self._said_waiting = False
        self.failed_searches = 0
        """How many in a row; when it works again that is said."""

    def is_finished(self) -> bool:
        """Never: another process of that name may start at any time."""
        return False

    def refresh(self, now_s: float) -> None:
        """Find those that are new. With none it is one read of /proc/loadavg, and few Python frames."""
        self.due_s = now_s + self.settings.interval_s
        try:
            found = self._finder.find(now_s)
        except (OSError, ValueError) as error:
            self.failed_searches += 1
            if self.failed_searches == 1:
                self._loop.report.warn(f"{self._name}: processes can't be listed now: {error}")
            return
        if self.failed_searches:
            self._say_that_it_works_again()
        if found:
            self._begin_all(self._opened(found), now_s)
        if self._said_waiting is self.has_targets():
            self._say_whether_waiting()

    @abstractmethod
    def has_targets(self) -> bool:
        """Whether there is such a process now."""

    @abstractmethod
    def _begin_all(self, processes: list[Process], now_s: float) -> None:
        """Take up what was found."""

    def _opened(self, found: list[int]) -> list[Process]:
        """Each held, but for those that are none of the monitor's business."""
        untouchable = self._table.ancestors()
        opened: list[Process] = []
        for pid in found:
            if self._loop.waiter.ended:
                break
            if pid in untouchable:
                self._loop.report.warn(f"process {pid} is left out: it is memory-monitor itself or runs it")
                continue
            try:
                opened.append(self._table.open(pid))
            except OSError:
                self._finder.forget(pid)  # It ended meanwhile; its PID may come again.
        return opened

    def _say_that_it_works_again(self) -> None:
        failed = "a search" if self.failed_searches == 1 else f"{self.failed_searches:,} searches"
        self._loop.report.warn(f"{self._name}: processes can be listed again, after {failed} failed")
        self.failed_searches = 0

    def _say_whether_waiting(self) -> None:
        waits = not self.has_targets()
        if waits and not self._said_waiting:
            self._loop.report.waiting(self._name, None, "there is no process of that name")
        self._said_waiting = waits
        self.slack_s = 0.0 if waits else self.settings.interval_s * _SLACK


class PrefixSource(NamedProcesses):
    """Every process of a name is a target by itself."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        table: ProcessTable,
        hierarchy: Hierarchy | None,
        loop: Loop,
    ) -> None:
        """A source for names that begin with `name`."""
        super().__init__(name, settings, table, loop)
        self._hierarchy = hierarchy
        self._is_share = isinstance(settings.max_memory, Share)
        self._targets: dict[int, ProcessTarget] = {}

    def _begin_all(self, processes: list[Process], now_s: float) -> None:
        for process in processes:
            if self._loop.waiter.ended:
                return
            self._begin(process, now_s)

    def has_targets(self) -> bool:
        """Whether there is such a process now."""
        return bool(self._targets)

    def is_still_meant(self, process: Process) -> bool:
        """Whether a process may be signalled: the same, of that name, and none that runs the monitor."""
        return process.is_still(self._prefix) and process.pid not in self._table.ancestors()

    def process_ended(self, target: ProcessTarget) -> None:
        """A process of this name has ended."""
        self._loop.report.ended(target)
        self.let_go(target)

    def process_left(self, target: ProcessTarget) -> None:
        """A process that was measured isn't meant any more."""
        with suppress(OSError):  # What it is now can't be read; that it isn't meant was.
            if target.process.is_still(self._prefix):
                self._loop.report.left_alone(target, "it runs memory-monitor")
            elif target.process.is_still(b""):
                self._loop.report.left_alone(target, f"its name begins with {self._name} no more")
            else:
                self._loop.report.ended(target)
        self.let_go(target)

    def cannot_tell(self, target: ProcessTarget, error: OSError) -> None:
        """Whether a process is still meant can't be read: it isn't signalled now."""
        self._loop.report.warn(
            f"{target.name}: who it is can't be read now ({error}); not signalled until it can"
        )

    def let_go(self, target: ProcessTarget) -> None:
        """Hold a process no more."""
        target.process.close()
        self._targets.pop(target.process.pid, None)
        self._finder.forget(target.process.pid)
        self._say_whether_waiting()

    def _begin(self, process: Process, now_s: float) -> None:
        settings = self.settings
        target = ProcessTarget(self, process, settings.repeat_s or settings.interval_s)
        whole_bytes = cgroup.limit_above(process.pid, self._hierarchy) if self._is_share else 0
        limit_bytes = settings.max_memory.limit_bytes(whole_bytes)
        ladder = Ladder.climb(limit_bytes, settings.interval_s, settings.growth_bytes_per_s)
        gauge = ProcessGauge(process, settings.metric or Metric.RSS, settings.swap, ladder)
        gauge.look_closer()
        target.begin(gauge, now_s)
        self._targets[process.pid] = target
        self._loop.roster.add(target)
        self._loop.report.began(target)
