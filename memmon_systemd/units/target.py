"""One unit as a target, over all its invocations: what is open for it, and the way to it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from memmon_systemd.linux import cgroup
from memmon_systemd.linux.cgroup import Found, Hierarchy
from memmon_systemd.monitor.gauge import GONE_ERRNOS, Gauge
from memmon_systemd.monitor.policy import Activity, Hold, State
from memmon_systemd.monitor.source import Context
from memmon_systemd.monitor.target import NEVER, Allowance, Outcome, Presence, Target
from memmon_systemd.settings import TargetSettings
from memmon_systemd.systemd.backoff import Backoff
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import UNKNOWN, Manager, Unit, UnitState
from memmon_systemd.units.activity import activity_of
from memmon_systemd.units.aftermath import Aftermath
from memmon_systemd.units.events import MemoryEvents
from memmon_systemd.units.gauge import UnitGauge, open_sum_gauge, open_unit_gauge, unit_schedule
from memmon_systemd.units.ledger import Ledger
from memmon_systemd.units.roll import Rolls
from memmon_systemd.units.signaller import Job, Signaller

DEFAULT_REPEAT_S: Final = 90.0
"""Where the unit has no TimeoutStopSec= or an unlimited one: systemd's own default for it."""
_SHORTEST_REPEAT_S: Final = 1.0
"""With TimeoutStopSec=1ms a signal went out at each look: 264 in 6 s."""
_REFUSED_PAUSE_S: Final = 60.0
"""The longest that a refusal holds for a new invocation; each refusal leaks memory in libsystemd."""
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
    shared: Context


class UnitTarget(Target):
    """One unit. It is `waiting` while it has no cgroup."""

    __slots__ = (
        "_backoff",
        "_context",
        "_is_oneshot",
        "_is_unanswered",
        "_known",
        "_knows_unit_file",
        "_on_event",
        "_on_gone",
        "_says_sum",
        "_tries",
        "events",
        "found",
        "has_run",
    )

    noun: ClassVar = "unit"

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
        self._is_oneshot = False
        self._knows_unit_file = False
        self._is_unanswered = False
        self._tries = 0
        self._says_sum = True
        self.events: MemoryEvents | None = None
        self.found: Found | None = None
        """The cgroup that is measured."""
        self.has_run = False
        """Whether it has had a cgroup."""

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

    @property
    def _bus_unit(self) -> Unit:
        """It on the bus: made when it is asked for, which is 160 bytes less to keep."""
        return self._context.manager.unit(self.name)

    def try_begin(self, found: Found, now_s: float) -> bool:
        """Measure the invocation whose cgroup was found; False without its files yet: try again later.

        systemd makes a cgroup first and enables the memory controller in it a moment later.
        """
        self.has_run = True
        gauge = self._open_gauge(found)
        if gauge is None:
            self._tries += 1
            return False
        self.found = found
        self._tries = 0
        self._backoff.hasten(_REFUSED_PAUSE_S)
        self._ask_systemd()
        gauge.look_closer()
        self.begin(gauge, now_s)
        if isinstance(gauge, UnitGauge):
            self.events = MemoryEvents(self, found.path, self._context.shared, self._on_event)
            self.events.listen(now_s)
        self._context.shared.report.began(self)
        return True

    def presence(self, now_s: float) -> Presence:
        """What systemd says of it at this moment; that it runs where systemd doesn't answer.

        What else that answer says of the unit decides who gets the signal.
        """
        known = self._known
        try:
            if not self._knows_unit_file:
                self._ask_of_unit_file()
            state = self._known = self._context.manager.state(self._bus_unit)
        except BusError as error:
            self._known = known.unanswered()
            self._is_unanswered = not error.is_answer
            # Why systemd doesn't answer is said with the signal that goes without it.
            return Presence(Activity.UNKNOWN, _age_s(known, now_s))
        if self._is_unanswered:
            self._is_unanswered = False
            self._backoff.worked()
        activity = activity_of(state, is_oneshot=self._is_oneshot)
        if known.invocation_id not in (b"", state.invocation_id):
            self._context.aftermath.ended(self.name, now_s)
            activity = Activity.CHANGED
        elif activity is Activity.RUNNING and self.found is not None and cgroup.is_frozen(self.found.path):
            activity = Activity.FROZEN
        return Presence(activity, _age_s(state, now_s))

    def request(self, now_s: float) -> Outcome:
        """KillUnit, TryRestartUnit or ReloadUnit, else the signal by pidfd."""
        if self.found is None:
            return Outcome(is_done=False, sentence="its cgroup is gone")
        return self._context.signaller.request(
            self._bus_unit,
            self._known,
            self.settings,
            self.signal_number,
            self.found.directory,
            self._backoff,
            now_s,
        )

    def escalate(self, now_s: float) -> Outcome:
        """TryRestartUnit: systemd bounds it by TimeoutStopSec=, and ends it with SIGKILL."""
        return self._context.signaller.ask_for(Job.RESTART, self._bus_unit, self._backoff, now_s)

    def allowance(self, now_s: float) -> Allowance:
        """What its budget leaves, over all invocations."""
        return self._context.ledger.allowance(self.name, self.settings, now_s)

    def is_its_turn(self, now_s: float) -> bool:
        """Whether enough of its kind are up."""
        at_most = self.settings.at_most
        return at_most is None or self._context.rolls.is_its_turn(self, at_most, now_s)

    def is_news(self, reason: Hold) -> bool:
        """That its budget is used up is said once, over all invocations."""
        return reason is not Hold.BUDGET or self._context.ledger.is_spent_news(self.name)

    def note_request(self, now_s: float) -> None:
        """Count it, and follow what becomes of it."""
        self._context.ledger.note(self.name, self._known.invocation_id, self.settings, now_s)

    def lost(self, now_s: float) -> None:
        """The cgroup is gone: close what belongs to it, and wait for the next."""
        self.release(now_s)
        self._context.aftermath.ended(self.name, now_s)
        self._context.shared.report.waiting(self.name, self.name, "it stopped")
        self._on_gone(self, now_s)

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

    def follow_limit(self, now_s: float) -> bool:
        """Take the limit that is in force now; False where that can't be read, which is counted."""
        gauge, found = self.gauge, self.found
        if gauge is None or found is None:
            return True
        try:
            schedule = unit_schedule(found.directory, self._context.hierarchy, self.settings)
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
            self._context.shared.report.threshold_changed(self)
        return True

    def _ask_systemd(self) -> None:
        """Which invocation it is, and by which signal it is asked where systemd doesn't answer later."""
        manager, unit = self._context.manager, self._bus_unit
        self._knows_unit_file = False
        if self.settings.repeat_s is not None:
            self.repeat_s = self.settings.repeat_s
        try:
            self._known = manager.identity(unit)
            if self.settings.signal_number is None:
                self.signal_number = manager.stop_signal(unit) or signal.SIGTERM
        except BusError as error:
            self._known = UNKNOWN
            self._context.shared.report.warn.invocation_unknown(self.name, str(error))

    def _ask_of_unit_file(self) -> None:
        """What matters from the first request of an invocation on; BusError."""
        manager, unit = self._context.manager, self._bus_unit
        self._is_oneshot = manager.is_oneshot(unit)
        if self.settings.repeat_s is None:
            timeout_stop_s = manager.timeout_stop_s(unit) or DEFAULT_REPEAT_S
            self.repeat_s = max(timeout_stop_s, _SHORTEST_REPEAT_S)
        self._knows_unit_file = True

    def _open_gauge(self, found: Found) -> Gauge | None:
        """A gauge by the unit's files; by its processes where these don't come; None: not yet, or gone."""
        try:
            gauge = self._opened(found.directory)
            if gauge is None or found.is_there():
                return gauge
            gauge.close()
        except OSError as error:
            if self._tries == _FILE_TRIES:
                self._warn_unreadable(error)
        return None

    def _opened(self, directory: Path) -> Gauge | None:
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


def _age_s(state: UnitState, now_s: float) -> float | None:
    return None if state.started_s is None else max(now_s - state.started_s, 0.0)
