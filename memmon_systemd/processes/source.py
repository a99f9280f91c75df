"""Processes whose name starts with a prefix, each a target of its own."""

from __future__ import annotations

import os
from abc import abstractmethod
from contextlib import suppress
from typing import ClassVar, Final

from memmon_systemd.formatting import signal_name
from memmon_systemd.linux import limits
from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.monitor.schedule import schedule_for
from memmon_systemd.monitor.source import Context, Source
from memmon_systemd.monitor.target import Outcome, Target
from memmon_systemd.processes.gauge import ProcessGauge
from memmon_systemd.processes.table import NOT_PERMITTED_HINT, Process, ProcessTable
from memmon_systemd.settings import Metric, TargetSettings

_SLACK: Final = 0.5
"""The fraction of an interval for which a search waits for a look to go along with.

So a new process is found within two intervals.
"""


class ProcessTarget(Target):
    """One process, from when it is found to its end."""

    __slots__ = ("_source", "process")

    noun: ClassVar = "process"

    def __init__(self, source: PrefixSource, process: Process, settings: TargetSettings) -> None:
        """A process that was just found."""
        name = f"{process.name}[{process.pid}]"
        super().__init__(name, None, settings, settings.repeat_s or settings.interval_s)
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
            self.has_ended = True
            self._source.process_left(self)
        return same

    def request(self, now_s: float) -> Outcome:
        """Signal it by its pidfd."""
        signal = signal_name(self.settings.signal_number)
        try:
            self.process.send(self.settings.signal_number)
        except ProcessLookupError:
            self.lost(now_s)
            return Outcome(is_done=False, sentence="it has ended by itself")
        except PermissionError as error:
            sentence = f"{signal}: {error.strerror}: {NOT_PERMITTED_HINT}"
            return Outcome(is_done=False, sentence=sentence)
        except OSError as error:
            return Outcome(is_done=False, sentence=f"{signal}: {error.strerror}")
        return Outcome(is_done=True, sentence=f"sent {signal}")

    def lost(self, now_s: float) -> None:
        """It has ended."""
        self.has_ended = True
        self._source.process_ended(self)


class NamedProcesses(Source):
    """The processes that one NAME stands for, as a source finds them."""

    def __init__(self, name: str, interval_s: float, table: ProcessTable, context: Context) -> None:
        """A source for names that start with `name`; OSError where the processes can't be listed."""
        super().__init__()
        self.slack_s = interval_s * _SLACK
        self._interval_s = interval_s
        self._name = name
        self._prefix = os.fsencode(name)
        self._table = table
        self._context = context
        self._finder = table.finder(self._prefix, interval_s)
        self._said_waiting = False
        self._failed_searches = 0

    def is_finished(self) -> bool:
        """Never: another process of that name may start at any time."""
        return False

    def refresh(self, now_s: float) -> None:
        """Find those that are new. With none it is one read of /proc/loadavg, and few Python frames."""
        self.due_s = now_s + self._interval_s
        self.is_stale = False
        try:
            found = self._finder.find(now_s)
        except (OSError, ValueError) as error:
            self._failed_searches += 1
            if self._failed_searches == 1:
                self._context.report.warn.search_failed(self._name, str(error))
            return
        if self._failed_searches:
            self._context.report.warn.search_recovered(self._name, self._failed_searches)
            self._failed_searches = 0
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
            if self._context.poller.is_interrupted:
                break
            if pid in untouchable:
                self._context.report.warn.process_skipped(pid)
                continue
            try:
                opened.append(self._table.open(pid))
            except OSError:
                self._finder.forget(pid)  # It ended meanwhile; its PID may come again.
        return opened

    def _say_whether_waiting(self) -> None:
        waits = not self.has_targets()
        if waits and not self._said_waiting:
            self._context.report.waiting(self._name, None, "there is no process of that name")
        self._said_waiting = waits
        self.slack_s = 0.0 if waits else self._interval_s * _SLACK


class PrefixSource(NamedProcesses):
    """Every process of a name is a target by itself."""

    def __init__(
        self,
        name: str,
        settings: TargetSettings,
        table: ProcessTable,
        hierarchy: Hierarchy | None,
        context: Context,
    ) -> None:
        """A source for names that start with `name`."""
        super().__init__(name, settings.interval_s, table, context)
        self._settings = settings
        self._hierarchy = hierarchy
        self._targets: dict[int, ProcessTarget] = {}

    def _begin_all(self, processes: list[Process], now_s: float) -> None:
        for process in processes:
            if self._context.poller.is_interrupted:
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
        self._context.report.ended(target)
        self.forget(target)

    def process_left(self, target: ProcessTarget) -> None:
        """A process that was measured isn't meant any more."""
        report = self._context.report
        with suppress(OSError):  # What it is now can't be read; that it isn't meant was.
            if target.process.is_still(self._prefix):
                report.no_longer_monitored(target, "it is an ancestor of memory-monitor")
            elif target.process.is_still(b""):
                report.no_longer_monitored(target, f"its name no longer starts with {self._name}")
            else:
                report.ended(target)
        self.forget(target)

    def cannot_tell(self, target: ProcessTarget, error: OSError) -> None:
        """Whether a process is still meant can't be read: it isn't signalled now."""
        self._context.report.warn.identity_unknown(target.name, str(error))

    def forget(self, target: ProcessTarget) -> None:
        """Hold a process no more."""
        target.process.close()
        self._targets.pop(target.process.pid, None)
        self._finder.forget(target.process.pid)
        self._say_whether_waiting()

    def _begin(self, process: Process, now_s: float) -> None:
        settings = self._settings
        limit_bytes = 0
        if settings.threshold.follows_limit:
            limit_bytes = limits.limit_above(process.pid, self._hierarchy)
        threshold_bytes = settings.threshold.threshold_bytes(limit_bytes)
        schedule = schedule_for(threshold_bytes, settings.interval_s, settings.growth_bytes_per_s)
        gauge = ProcessGauge(process, settings.metric or Metric.RSS, settings.swap, schedule)
        gauge.look_closer()
        target = ProcessTarget(self, process, settings)
        target.begin(gauge, now_s)
        self._targets[process.pid] = target
        self._context.targets.add(target)
        self._context.report.began(target)
