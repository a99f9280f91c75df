"""One unit as a target, over all its invocations: what is open for it, and the way to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from memmon_systemd.linux.cgroup import Found, Hierarchy
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.policy import State
from memmon_systemd.monitor.source import Context
from memmon_systemd.monitor.target import NEVER, Outcome, Target
from memmon_systemd.settings import TargetSettings
from memmon_systemd.systemd.backoff import Backoff
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import UNKNOWN, Manager, Unit
from memmon_systemd.units.events import MemoryEvents
from memmon_systemd.units.gauge import UnitGauge, open_sum_gauge, open_unit_gauge, unit_schedule
from memmon_systemd.units.signaller import Signaller

DEFAULT_REPEAT_S: Final = 90.0
"""Where the unit has no TimeoutStopSec= or an unlimited one: systemd's own default for it."""
_FILE_TRIES: Final = 10


@dataclass(frozen=True, slots=True)
class UnitContext:
    """What all units of one manager share."""

    manager: Manager
    hierarchy: Hierarchy
    signaller: Signaller
    shared: Context


class UnitTarget(Target):
    """One unit. It is `waiting` while it has no cgroup."""

    __slots__ = (
        "_asked_in_vain",
        "_backoff",
        "_context",
        "_known",
        "_on_event",
        "_on_gone",
        "_says_sum",
        "_tries",
        "events",
        "found",
        "has_run",
        "has_stopped",
    )

    def __init__(
        self,
        context: UnitContext,
        name: str,
        settings: TargetSettings,
        on_gone: Callable[[UnitTarget, float], None],
        on_event: Callable[[float], None],
    ) -> None:
        """A unit that is waited for; `on_gone` is told when its cgroup goes, `on_event` of an event in it."""
        super().__init__(name, name, settings, DEFAULT_REPEAT_S)
        self._context = context
        self._on_gone = on_gone
        self._on_event = on_event
        self._backoff = Backoff()
        self._known = UNKNOWN
        self._tries = 0
        self._asked_in_vain = False
        self._says_sum = True
        self.events: MemoryEvents | None = None
        self.found: Found | None = None
        """The cgroup that is measured."""
        self.has_run = False
        self.has_stopped = False
        """Whether it ran and has stopped for good, as far as anybody asked: `note_stop`."""

    @property
    def awaits_files(self) -> bool:
        """Whether its cgroup is there and memory.current isn't, yet."""
        return self.found is None and self._tries > 0

    @property
    def muted_until_s(self) -> float:
        """When to listen to memory.events again."""
        return NEVER if self.events is None else self.events.muted_until_s

    @property
    def _bus_unit(self) -> Unit:
        """It on the bus: made when it is asked for, which is 160 bytes less to keep."""
        return self._context.manager.unit(self.name)

    def try_begin(self, found: Found, now_s: float) -> None:
        """Measure the invocation whose cgroup was found; without its files yet, try again later.

        systemd makes a cgroup first and enables the memory controller in it a moment later.
        """
        gauge = self._open_gauge(found)
        if gauge is None:
            self._tries += 1
            return
        self.found = found
        self.has_run, self.has_stopped = True, False
        self._ask_systemd()
        gauge.look_closer()
        self.begin(gauge, now_s)
        if isinstance(gauge, UnitGauge):
            self.events = MemoryEvents(self, found.path, self._context.shared, self._on_event)
            self.events.listen(now_s)
        self._context.shared.report.began(self)

    def is_same(self) -> bool:
        """Whether systemd still has the invocation that was measured; taken so if it can't say.

        What else that answer says of the unit decides who gets the signal.
        """
        known = self._known
        try:
            self._known = self._context.manager.state(self._bus_unit)
        except BusError:
            self._known = known.unanswered()
            return True  # Why systemd doesn't answer is said with the signal that goes without it.
        return known.invocation_id in (b"", self._known.invocation_id)

    def request(self, now_s: float) -> Outcome:
        """KillUnit or TryRestartUnit, else the signal by pidfd."""
        if self.found is None:
            return Outcome(is_done=False, sentence="its cgroup is gone")
        return self._context.signaller.request(
            self._bus_unit, self._known, self.settings, self.found.directory, self._backoff, now_s
        )

    def lost(self, now_s: float) -> None:
        """The cgroup is gone: close what belongs to it, and wait for the next."""
        if self.events is not None:
            self.events.close()
        if self.gauge is not None:
            self.gauge.close()
        self.events = self.gauge = self.found = None
        self.look_at(NEVER)
        self.enter(State.WAITING, now_s)
        self._context.shared.report.waiting(self.name, self.name, "it stopped")
        self._on_gone(self, now_s)

    def forget_tries(self) -> None:
        """There is no cgroup (any more) that could get its files later."""
        self._tries = 0

    def note_stop(self) -> None:
        """Ask whether it has stopped for good; only its manager knows, no cgroup comes or goes then."""
        try:
            self.has_stopped = self._context.manager.has_stopped(self._bus_unit)
        except BusError as error:
            # It is asked once a second.
            if not self._asked_in_vain:
                self._context.shared.report.warn.stop_unknown(self.name, str(error))
            self._asked_in_vain = True
        else:
            self._asked_in_vain = False

    def follow_limit(self, now_s: float) -> None:
        """Take the limit that is in force now, where the threshold is a share of it."""
        gauge = self.gauge
        if gauge is None or self.found is None or not self.settings.threshold.follows_limit:
            return
        schedule = unit_schedule(self.found.directory, self._context.hierarchy, self.settings)
        if schedule != gauge.schedule:
            gauge.follow(schedule)
            gauge.look_closer()
            self.look_at(now_s)
            self._context.shared.report.threshold_changed(self)

    def _ask_systemd(self) -> None:
        """Which invocation it is, and how long a request may take."""
        manager, timeout_stop_s = self._context.manager, None
        try:
            self._known = manager.state(self._bus_unit)
            timeout_stop_s = manager.timeout_stop_s(self._bus_unit)
        except BusError as error:
            self._known = UNKNOWN
            self._context.shared.report.warn.invocation_unknown(self.name, str(error))
        self.repeat_s = self.settings.repeat_s or timeout_stop_s or DEFAULT_REPEAT_S

    def _open_gauge(self, found: Found) -> Gauge | None:
        """A gauge by the unit's files; by its processes where these don't come; None: not yet."""
        hierarchy = self._context.hierarchy
        try:
            return open_unit_gauge(found.directory, hierarchy, self.settings)
        except OSError as error:
            if hierarchy.memory and self._tries < _FILE_TRIES:
                return None
            why = f"{error.filename}: {error.strerror}" if hierarchy.memory else "cgroup v1"
        if self._says_sum:
            self._says_sum = False
            metric = None if self.settings.metric is None else self.settings.metric.value
            self._context.shared.report.warn.no_memory_controller(self.name, why, metric)
        return open_sum_gauge(found.directory, hierarchy, self.settings)
