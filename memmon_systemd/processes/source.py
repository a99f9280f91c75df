"""Processes whose name starts with a prefix, each a target of its own."""

from __future__ import annotations

from contextlib import suppress
from typing import ClassVar

from memmon_systemd.formatting import signal_name
from memmon_systemd.linux import limits
from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.monitor.budget import Budget
from memmon_systemd.monitor.policy import Activity
from memmon_systemd.monitor.schedule import schedule_of, search_interval_s
from memmon_systemd.monitor.source import Context
from memmon_systemd.monitor.target import UNBOUNDED, Allowance, Outcome, Presence, Target
from memmon_systemd.processes.gauge import ProcessGauge
from memmon_systemd.processes.named import NamedProcesses
from memmon_systemd.processes.table import NOT_PERMITTED_HINT, Process, ProcessTable
from memmon_systemd.settings import Metric, TargetSettings


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

    @property
    def pid(self) -> int:
        """The process that is measured."""
        return self.process.pid

    @property
    def was_above(self) -> bool:
        """Whether it was ever above the threshold: only then its end is worth a line."""
        return self.episode is not None

    def presence(self, now_s: float) -> Presence:
        """Whether it lives, still has the name, and isn't what the monitor runs in."""
        del now_s
        if self._source.is_still_meant(self.process):
            return Presence(Activity.RUNNING, self.process.age_s())
        self.has_ended = True
        self._source.process_left(self)
        return Presence(Activity.CHANGED, None)

    def allowance(self, now_s: float) -> Allowance:
        """What the budget of its name leaves, if there is one."""
        return self._source.allowance(now_s)

    def note_request(self, now_s: float) -> None:
        """Count it."""
        self._source.note_request(now_s)

    def request(self, now_s: float) -> Outcome:
        """Signal it by its pidfd."""
        signal = signal_name(self.signal_number)
        try:
            self.process.send(self.signal_number)
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

    def is_minor_trouble(self) -> bool:
        """Any process can keep its memory from being read, so only the first of a name is worth a line."""
        return self._source.has_said_trouble()


class PrefixSource(NamedProcesses):
    """Every process of a name is a target by itself."""

    def __init__(
        self,
        name: str,
        settings: TargetSettings,
        table: ProcessTable,
        hierarchy: Hierarchy | None,
        context: Context,
        near_unit: str = "",
    ) -> None:
        """A source for names that start with `name`; `near_unit` says which unit may have been meant."""
        super().__init__(name, search_interval_s(settings), table, context, near_unit)
        self._settings = settings
        self._budget = None if settings.budget is None else Budget(settings.budget)
        self._hierarchy = hierarchy
        self._targets: dict[int, ProcessTarget] = {}
        self._said_trouble = False

    def _begin_all(self, processes: list[Process], now_s: float) -> None:
        is_news = not self._targets or self._has_lost_all()
        for process in processes:
            if self._context.poller.is_interrupted:
                return
            self._begin(process, now_s, is_minor=not is_news or self._is_quiet)
            is_news = False

    def _has_lost_all(self) -> bool:
        """Whether all have ended, one after it was above: who comes is what was started again in its place.

        That they have ended may not have been noticed yet: each is looked at when it is due.
        """
        was_above = False
        for target in reversed(self._targets.values()):
            with suppress(OSError):  # What can't be read now isn't taken for one that lives.
                if target.process.is_still(b""):
                    return False
            was_above = was_above or target.was_above
        return was_above

    def has_targets(self) -> bool:
        """Whether there is such a process now."""
        return bool(self._targets)

    def allowance(self, now_s: float) -> Allowance:
        """What `--budget` leaves of the first requests of all processes of this name."""
        return UNBOUNDED if self._budget is None else self._budget.allowance(now_s)

    def note_request(self, now_s: float) -> None:
        """The first request of a process was made."""
        if self._budget is not None:
            self._budget.note(now_s)

    def is_still_meant(self, process: Process) -> bool:
        """Whether it is the same process, of that name, and none that runs the monitor; OSError."""
        return process.is_still(self._prefix) and process.pid not in self._table.ancestors()

    def has_said_trouble(self) -> bool:
        """Whether it was said of one of these processes that its memory can't be read; from now on it was."""
        said, self._said_trouble = self._said_trouble, True
        return said

    def process_ended(self, target: ProcessTarget) -> None:
        """A process of this name has ended."""
        self._context.report.ended(target, is_minor=not target.was_above)
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
                report.ended(target, is_minor=not target.was_above)
        self.forget(target)

    def forget(self, target: ProcessTarget) -> None:
        """Hold a process no more."""
        target.process.close()
        self._targets.pop(target.process.pid, None)
        self._finder.forget(target.process.pid)
        self._say_whether_waiting()

    def _begin(self, process: Process, now_s: float, *, is_minor: bool) -> None:
        settings = self._settings
        limit_bytes = 0
        if settings.follows_limit:
            limit_bytes = limits.limit_above(process.pid, self._hierarchy)
        schedule = schedule_of(settings, limit_bytes)
        gauge = ProcessGauge(process, settings.metric or Metric.RSS, settings.swap, schedule)
        gauge.look_closer()
        target = ProcessTarget(self, process, settings)
        target.begin(gauge, now_s)
        self._targets[process.pid] = target
        self._context.targets.add(target)
        if gauge.trouble is not None:
            is_minor = target.is_minor_trouble()
        self._context.report.began(target, is_minor=is_minor)
