"""One unit and what is open for it: its cgroup, its gauge, its memory.events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from memmon_systemd.linux.cgroup import Found, Hierarchy
from memmon_systemd.monitor.gauge import GONE_ERRNOS, Gauge
from memmon_systemd.monitor.policy import State
from memmon_systemd.monitor.source import Context
from memmon_systemd.monitor.target import NEVER, Target
from memmon_systemd.settings import TargetSettings
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.units.aftermath import Aftermath
from memmon_systemd.units.events import MemoryEvents
from memmon_systemd.units.gauge import UnitGauge, open_sum_gauge, open_unit_gauge, unit_schedule
from memmon_systemd.units.hooks import Hooks
from memmon_systemd.units.ledger import Ledger
from memmon_systemd.units.oom_kills import UNKNOWN_KILLS, OomKills
from memmon_systemd.units.roll import Rolls
from memmon_systemd.units.signaller import Signaller

DEFAULT_REPEAT_S: Final = 90.0
"""Where the unit has no TimeoutStopSec= or an unlimited one: systemd's own default for it."""
_FILE_TRIES: Final = 10
_FILE_PAUSE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class UnitContext:
    """What all units of one manager share."""

    manager: Manager
    hierarchy: Hierarchy
    signaller: Signaller
    ledger: Ledger
    rolls: Rolls
    aftermath: Aftermath
    hooks: Hooks
    shared: Context


class MeasuredUnit(Target):
    """A unit whose cgroup is measured while it has one."""

    __slots__ = ("_context", "_on_event", "_says_sum", "_tries", "events", "found", "has_run")

    noun: ClassVar = "unit"

    def __init__(
        self,
        context: UnitContext,
        name: str,
        settings: TargetSettings,
        on_event: Callable[[float], None],
    ) -> None:
        super().__init__(name, name, settings, DEFAULT_REPEAT_S)
        self._context = context
        self._on_event = on_event
        self._tries = 0
        self._says_sum = True
        self.events: MemoryEvents | None = None
        self.found: Found | None = None
        """The cgroup that is measured."""
        self.has_run = False
        """Whether it has had a cgroup."""

    @property
    def directory(self) -> str:
        """The cgroup that is measured; empty: none."""
        return "" if self.found is None else self.found.path

    @property
    def files_pause_s(self) -> float:
        """When to try again to open its files: never, unless its cgroup is there and they couldn't be."""
        if self.found is not None or not self._tries:
            return NEVER
        return _FILE_PAUSE_S if self._tries <= _FILE_TRIES else self.settings.interval_s

    @property
    def muted_until_s(self) -> float:
        """When to listen to memory.events again."""
        return NEVER if self.events is None else self.events.muted_until_s

    def oom_kills(self) -> OomKills:
        """How many of its processes the OOM killer has killed."""
        if self.events is None or self.found is None:
            return UNKNOWN_KILLS
        self.events.read_again()
        return OomKills(self.events.oom_kills, self.found.path)

    def release(self, now_s: float) -> None:
        """Close what belongs to the cgroup: it isn't measured any more."""
        if self.events is not None:
            self.events.close()
        if self.gauge is not None:
            self.gauge.close()
        self.events = self.gauge = self.found = None
        self.look_at(NEVER)
        self.state = State.WAITING
        self.episode = None

    def forget_tries(self) -> None:
        """There is no cgroup (any more) that could get its files later."""
        self._tries = 0

    def follow_limit(self, now_s: float, *, is_news: bool = True) -> bool:
        """Take the limit that is in force now; False where that can't be read, which is counted.

        Where another threshold follows, that is said if it `is_news`.
        """
        gauge, found = self.gauge, self.found
        if gauge is None or found is None:
            return True
        try:
            schedule = unit_schedule(found.path, self._context.hierarchy, self.settings)
            if not found.is_there():
                return True  # Where it was there is no limit of its own any more, or that of another one.
        except OSError as error:
            self.unreadable += 1
            if self.unreadable == 1:
                self._warn_unreadable(error)
            return False
        if schedule != gauge.schedule:
            gauge.follow(schedule)
            gauge.look_closer()
            self.look_at(now_s)
            if is_news:
                self._context.shared.report.threshold_changed(self)
        return True

    def _measure_anew(self, found: Found) -> None:
        """Another metric counts from now on; where its files can't be opened the old one stays."""
        gauge = self._open_gauge(found)
        if gauge is None or self.gauge is None:
            return
        self.gauge.close()
        self.gauge = gauge
        gauge.look_closer()

    def _open(self, found: Found) -> Gauge | None:
        """Open what is measured; None: not yet, or gone."""
        self.has_run = True
        gauge = self._open_gauge(found)
        if gauge is None:
            self._tries += 1
            return None
        self.found = found
        self._tries = 0
        return gauge

    def _listen(self, found: Found, gauge: Gauge, now_s: float) -> None:
        """Have its memory.events wake the monitor, where it has the memory controller."""
        if isinstance(gauge, UnitGauge):
            self.events = MemoryEvents(self, found.path, self._context.shared, self._on_event)
            self.events.listen(now_s)

    def _open_gauge(self, found: Found) -> Gauge | None:
        """A gauge by the unit's files; by its processes where these don't come; None: not yet, or gone."""
        try:
            gauge = self._opened(found.path)
            if gauge is None or found.is_there():
                return gauge
            gauge.close()
        except OSError as error:
            if self._tries == _FILE_TRIES:
                self._warn_unreadable(error)
        return None

    def _opened(self, directory: str) -> Gauge | None:
        hierarchy = self._context.hierarchy
        try:
            return open_unit_gauge(directory, hierarchy, self.settings)
        except OSError as error:
            if hierarchy.memory and error.errno not in GONE_ERRNOS:
                raise  # Descriptors may have run out: what can't be opened now isn't missing.
            if hierarchy.memory and self._tries < _FILE_TRIES:
                return None
            why = f"{error.filename}: {error.strerror}" if hierarchy.memory else "cgroup v1"
        if self._says_sum:
            self._says_sum = False
            metric = None if self.settings.metric is None else self.settings.metric.value
            self._context.shared.report.warn.no_memory_controller(self.name, why, metric)
        return open_sum_gauge(directory, hierarchy, self.settings)

    def _warn_unreadable(self, error: OSError) -> None:
        self._context.shared.report.warn.memory_unreadable(self.name, self.name, str(error))
