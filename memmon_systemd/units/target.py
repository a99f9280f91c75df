"""One unit as a target, over all its invocations: what systemd says of it, and what is asked of it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Final

from memmon_systemd.linux import cgroup
from memmon_systemd.linux.cgroup import Found
from memmon_systemd.linux.wrapper import leaves_memory
from memmon_systemd.monitor.episode import Episode
from memmon_systemd.monitor.policy import Activity, Hold
from memmon_systemd.monitor.target import NEVER, Allowance, Outcome, Presence
from memmon_systemd.settings import UNIT_BUDGET, Action, KillWhom, Rate, TargetSettings
from memmon_systemd.systemd.backoff import Backoff
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.unit import UNKNOWN, Unit, UnitState
from memmon_systemd.units.activity import activity_of
from memmon_systemd.units.hook_name import hook_name
from memmon_systemd.units.measured import DEFAULT_REPEAT_S, MeasuredUnit, UnitContext

_SHORTEST_REPEAT_S: Final = 1.0
"""With TimeoutStopSec=1ms a signal went out at each look: 264 in 6 s."""
_REFUSED_PAUSE_S: Final = 60.0
"""The longest that a refusal holds for a new invocation; each refusal leaks memory in libsystemd."""


class UnitTarget(MeasuredUnit):
    """One unit. It is `waiting` while it has no cgroup."""

    __slots__ = (
        "_backoff",
        "_is_oneshot",
        "_is_unanswered",
        "_known",
        "_knows_unit_file",
        "_leaves_processes",
        "_on_gone",
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
        super().__init__(context, name, settings, on_event)
        self._on_gone = on_gone
        self._backoff = Backoff()
        self._known = UNKNOWN
        self._is_oneshot = False
        self._knows_unit_file = False
        self._leaves_processes = False
        self._is_unanswered = False

    @property
    def _bus_unit(self) -> Unit:
        """It on the bus: made when it is asked for, which is 160 bytes less to keep."""
        return self._context.manager.unit(self.name)

    @property
    def invocation_id(self) -> bytes:
        """By systemd's last answer."""
        return self._known.invocation_id

    @property
    def budget(self) -> Rate:
        """How many requests it may get."""
        return self.settings.budget or UNIT_BUDGET

    def budget_times(self) -> Sequence[float]:
        """When those were made that count for its budget."""
        return self._context.ledger.times_s(self.name)

    def try_begin(self, found: Found, now_s: float) -> bool:
        """Measure the invocation whose cgroup was found; False without its files yet: try again later.

        systemd makes a cgroup first and enables the memory controller in it a moment later.
        """
        gauge = self._open(found)
        if gauge is None:
            return False
        self._backoff.hasten(_REFUSED_PAUSE_S)
        self._ask_systemd()
        gauge.look_closer()
        self.begin(gauge, now_s)
        self._go_on()
        self._listen(found, gauge, now_s)
        self._context.aftermath.began(self.name)
        self._context.shared.report.began(self)
        return True

    def presence(self, now_s: float) -> Presence:
        """What systemd says of it at this moment; that it runs where systemd doesn't answer.

        What else that answer says of the unit decides who gets the signal.
        """
        known = self._known
        try:
            # What may hold it back is asked again: `systemctl edit` changes it for the invocation that runs.
            if not self._knows_unit_file or self._leaves_processes:
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
        activity = activity_of(state, is_oneshot=self._is_oneshot, kill_whom=self.settings.kill_whom)
        if known.invocation_id not in (b"", state.invocation_id):
            activity = Activity.CHANGED
        elif activity is Activity.RUNNING and self.found is not None and cgroup.is_frozen(self.found.path):
            activity = Activity.FROZEN
        if activity is Activity.CHANGED or activity is Activity.DOWN:
            # Processes that were left keep the cgroup: nothing else says that the invocation has ended.
            self._context.aftermath.ended(self.name, now_s, self.oom_kills())
            self._on_event(now_s)
        leaves_memory = activity is Activity.RUNNING and self._leaves_memory(state)
        return Presence(activity, _age_s(state, now_s), leaves_memory)

    def adopt(self, settings: TargetSettings, now_s: float) -> None:
        """Go on by other settings; what it is in the middle of, and what it was asked, counts on."""
        before, self.settings = self.settings, settings
        self._context.ledger.adopt(self.name, settings)
        if self.found is None:
            return
        self._take_signal_and_repeat()
        try:
            self._ask_of_signal()
        except BusError as error:
            self._context.shared.report.warn.invocation_unknown(self.name, str(error))
        if (settings.metric, settings.swap) != (before.metric, before.swap):
            self._measure_anew(self.found)
        self.follow_limit(now_s, is_news=False)
        self.look_at(now_s)

    def request(self, now_s: float) -> Outcome:
        """KillUnit, TryRestartUnit or ReloadUnit, else the signal by pidfd."""
        if self.found is None:
            return Outcome(is_done=False, sentence="its cgroup is gone")
        return self._context.signaller.request(
            self._bus_unit,
            self._known,
            self.settings,
            self.signal_number,
            self.found.path,
            self._backoff,
            now_s,
        )

    def escalate(self, now_s: float) -> Outcome:
        """TryRestartUnit: systemd bounds it by TimeoutStopSec=, and ends it with SIGKILL."""
        return self._context.signaller.ask_for(Action.RESTART, self._bus_unit, self._backoff, now_s)

    def allowance(self, now_s: float) -> Allowance:
        """What its budget leaves, over all invocations."""
        return self._context.ledger.allowance(self.name, self.settings, now_s)

    def is_its_turn(self, now_s: float) -> bool:
        """Whether enough of its kind are up."""
        at_most = self.settings.at_most
        return at_most is None or self._context.rolls.is_its_turn(self, at_most, now_s)

    @property
    def condition_name(self) -> str:
        """The unit that permits requests, without specifiers."""
        pattern = self.settings.condition_unit
        return "" if pattern is None else hook_name(pattern, self.name)

    @property
    def _retry_s(self) -> float:
        """How long after a refusal its condition is started again: `--repeat`, but not never."""
        return self.repeat_s if self.repeat_s < NEVER else DEFAULT_REPEAT_S

    def follow_condition(self, since_s: float, now_s: float) -> None:
        """Learn how far its condition is."""
        if self.settings.condition_unit is not None:
            self._context.hooks.follow_condition(self.name, self.settings, since_s, now_s)

    def is_permitted(self, now_s: float) -> bool:
        """Whether its condition has succeeded; nothing is started in a dry run."""
        if self.settings.dry_run:
            return True
        return self._context.hooks.is_permitted(self.name, self.settings, self._retry_s, now_s)

    def forgo_permission(self) -> None:
        """Its condition is to be started again."""
        if self.settings.condition_unit is not None:
            self._context.hooks.forgo(self.name)

    def condition_due_s(self, now_s: float) -> float:
        """When to see again how far its condition is."""
        return self._context.hooks.condition_due_s(self.name, now_s)

    def call_hook(self, now_s: float) -> None:
        """Start what is to know of a request; nothing in a dry run."""
        asked = self.settings
        if asked.on_request is not None and not asked.dry_run:
            self._context.hooks.call(self.name, asked.on_request, now_s)
            self._on_event(now_s)

    def is_news(self, reason: Hold) -> bool:
        """That its budget is used up is said once, over all invocations."""
        return reason is not Hold.BUDGET or self._context.ledger.is_spent_news(self.name)

    def note_request(self, now_s: float) -> None:
        """Count it, and follow what becomes of it."""
        self._context.ledger.note(self.name, self._known.invocation_id, self.settings, now_s)
        self._context.aftermath.asked(self.name, self.oom_kills())

    def lost(self, now_s: float) -> None:
        """The cgroup is gone: close what belongs to it, and wait for the next."""
        kills = self.oom_kills()
        self.release(now_s)
        self._context.aftermath.ended(self.name, now_s, kills)
        self._context.shared.report.waiting(self.name, self.name, "it stopped")
        self._on_gone(self, now_s)

    def _go_on(self) -> None:
        """Go on with what is known of it by an earlier monitor, or before it was forgotten."""
        past = self._context.shared.keeper.past(self.name)
        if past is None:
            return
        if self.last_request_s is None:
            self.requests, self.failed_requests = past.requests, past.failed_requests
            self.last_request_s = past.last_request_s
        self._context.ledger.restore(past, self.settings)
        if not self.invocation_id or past.invocation_id != self.invocation_id:
            return
        if past.begun_s is not None:
            self.begun_s, self.begun_bytes = past.begun_s, past.begun_bytes
        if past.first_asked_s is not None and past.asked_s is not None:
            self.episode = Episode.resumed(
                past.first_asked_s, past.asked_s, past.asked_in_invocation, is_escalated=past.is_escalated
            )

    def _ask_systemd(self) -> None:
        """Which invocation it is, and by which signal it is asked where systemd doesn't answer later."""
        self._take_signal_and_repeat()
        try:
            self._known = self._context.manager.identity(self._bus_unit)
            self._ask_of_signal()
        except BusError as error:
            self._known = UNKNOWN
            self._context.shared.report.warn.invocation_unknown(self.name, str(error))

    def _take_signal_and_repeat(self) -> None:
        """What the settings say of both, whether systemd answers or not."""
        self._knows_unit_file = False
        if self.settings.repeat_s is not None:
            self.repeat_s = self.settings.repeat_s
        if self.settings.signal_number is not None:
            self.signal_number = self.settings.signal_number

    def _ask_of_signal(self) -> None:
        """The unit's own signal, where the settings leave it to that; BusError."""
        if self.settings.signal_number is None:
            self.signal_number = self._context.manager.stop_signal(self._bus_unit) or signal.SIGTERM

    def _ask_of_unit_file(self) -> None:
        """What matters from the first request of an invocation on; BusError."""
        manager, unit = self._context.manager, self._bus_unit
        self._is_oneshot = manager.is_oneshot(unit)
        self._leaves_processes = manager.leaves_processes(unit)
        if self.settings.repeat_s is None:
            timeout_stop_s = manager.timeout_stop_s(unit) or DEFAULT_REPEAT_S
            self.repeat_s = max(timeout_stop_s, _SHORTEST_REPEAT_S)
        self._knows_unit_file = True

    def _leaves_memory(self, state: UnitState) -> bool:
        """Whether a request would end the main process only, and others use the memory (KillMode=process).

        A wrapper and its child are started once more each time: 10 copies in 20 s. What an earlier invocation
        has left stays: Debian's cron, with a job of 250 MiB, was restarted 6 times in 6 s, until
        StartLimitBurst= left it down (2026-11-28). OSError.
        """
        asked = self.settings
        if not self._leaves_processes or not state.main_pid or self.found is None:
            return False
        if asked.action is Action.RELOAD:
            return False
        if asked.action is Action.SIGNAL and asked.kill_whom not in (None, KillWhom.MAIN):
            return False
        pids = set(cgroup.processes_below(self.found.path))
        return leaves_memory(state.main_pid, pids, self.signal_number)


def _age_s(state: UnitState, now_s: float) -> float | None:
    return None if state.started_s is None else max(now_s - state.started_s, 0.0)
