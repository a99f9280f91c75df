"""What became of a request: how and when the unit ended, and when it was active again, or that it isn't."""

from __future__ import annotations

from typing import Final

from memmon_systemd.monitor.report import Report
from memmon_systemd.monitor.target import NEVER
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.systemd.unit import UnitState
from memmon_systemd.units.ledger import Entry, Ledger, Loss
from memmon_systemd.units.oom_kills import OomKills

_LONGEST_PAUSE_S: Final = 1.0
_TOO_NEAR: Final = "(the threshold is too near to the limit)"
_DEFAULT_START_S: Final = 90.0
"""Where a unit has no TimeoutStartSec=, or an unlimited one: systemd's own default for it."""


class Aftermath:
    """Follows the units that were asked, until they are back."""

    def __init__(self, manager: Manager, ledger: Ledger, report: Report) -> None:
        self._manager = manager
        self._ledger = ledger
        self._report = report

    def asked(self, name: str, kills: OomKills) -> None:
        """A unit was asked; what the OOM killer had killed of it by then is no consequence of that."""
        entry = self._ledger.pending(name)
        if entry is not None:
            entry.kills_before, entry.kills_above_before = kills.of_unit, kills.of_parent()

    def ended(self, name: str, now_s: float, kills: OomKills) -> None:
        """The invocation of a unit has ended: its cgroup went, or systemd says so."""
        entry = self._ledger.pending(name)
        if entry is None or entry.ended_s is not None:
            return
        entry.ended_s = now_s
        was_killed = False
        try:
            unit = self._manager.unit(name)
            entry.result = self._manager.result(unit)
            was_killed = entry.result == "signal" and self._manager.was_main_killed(unit)
        except BusError:
            pass  # What ended it stays unknown; that it ended is known, and what the kernel says.
        entry.loss = _loss(entry, kills, was_killed=was_killed)

    def began(self, name: str) -> None:
        """A unit has a cgroup again."""
        entry = self._ledger.pending(name)
        if entry is not None:
            entry.is_down = False

    def follow(self, now_s: float, interval_s: float) -> float:
        """Ask about each unit that ended and isn't back; when to ask again.

        One that is down is asked about again when it has a cgroup again.
        """
        due_s = NEVER
        for name, entry in list(self._ledger.all_pending()):
            may_be_back = entry.is_restored or entry.is_reload
            if entry.is_down or (entry.ended_s is None and not may_be_back):
                continue
            if self._is_on_its_way(name, entry, now_s):
                due_s = now_s + min(interval_s, _LONGEST_PAUSE_S)
        return due_s

    def _is_on_its_way(self, name: str, entry: Entry, now_s: float) -> bool:
        """Ask about one unit, and say what there is to be said; whether more is to come by itself."""
        try:
            state = self._manager.state(self._manager.unit(name))
        except BusError:
            return True  # It is asked again.
        is_active = state.active_state == "active"
        if entry.is_restored:
            entry.is_restored = False
            if state.invocation_id == entry.invocation_id and not entry.is_reload:
                return False  # It hasn't ended yet: that is told.
        if entry.is_reload and entry.ended_s is None:
            if is_active and not state.job_id:
                entry.settle()
                return False
            return True
        if is_active and state.invocation_id != entry.invocation_id:
            self._say_that_it_is_back(name, entry, state, now_s)
            entry.settle()
            return False
        entry.is_down = state.active_state in ("inactive", "failed") and not state.job_id
        is_down = entry.is_down
        if entry.said_s is None:
            self._see_whether_it_is_late(name, entry, state, now_s)
        if is_down and state.active_state == "inactive":
            entry.settle()  # It was stopped for good.
        return not is_down

    def _say_that_it_is_back(self, name: str, entry: Entry, state: UnitState, now_s: float) -> None:
        asked_s = now_s if entry.asked_s is None else entry.asked_s
        active_s = now_s if state.active_since_s is None else state.active_since_s
        ended_s = active_s if entry.ended_s is None else entry.ended_s
        if self._took_too_long(name, asked_s, state):
            entry.result = "timeout"
        self._report.came_back(name, _how(entry), ended_s - asked_s, max(active_s, ended_s) - asked_s)

    def _took_too_long(self, name: str, asked_s: float, state: UnitState) -> bool:
        """Whether it was stopped since, for as long as TimeoutStopSec=: then systemd has killed it.

        With a restart that was asked for, the next start comes at once and resets Result=.
        """
        began_s, stopped_s = state.stop_began_s, state.stopped_s
        if began_s is None or stopped_s is None or not asked_s <= began_s <= stopped_s:
            return False
        try:
            longest_s = self._manager.timeout_stop_s(self._manager.unit(name))
        except BusError:
            return False
        return longest_s is not None and stopped_s - began_s >= longest_s

    def _see_whether_it_is_late(self, name: str, entry: Entry, state: UnitState, now_s: float) -> None:
        ended_s = now_s if entry.ended_s is None else entry.ended_s
        if entry.is_down and state.active_state == "inactive" and (why := self._why_it_rests(name)):
            asked_s = now_s if entry.asked_s is None else entry.asked_s
            self._report.rests(name, _how(entry), ended_s - asked_s, why)
            return
        if entry.is_down:
            how = entry.result or state.sub_state
            why = f"it is {state.active_state} ({how}): systemd doesn't start it again"
        elif now_s - ended_s >= self._start_s(name):
            why = f"it is {state.active_state} ({state.sub_state}) still"
        else:
            return
        entry.said_s = now_s
        self._report.not_back(name, _how(entry), now_s - ended_s, why)

    def _why_it_rests(self, name: str) -> str:
        """Why it was not to be started again at once; "" where it was, or that isn't known."""
        unit = self._manager.unit(name)
        if not unit.is_service:
            # A container's comes back by its restart policy, under this name or another one.
            return f"systemd doesn't start {name.rpartition('.')[2]}s again"
        try:
            triggers = self._manager.triggers(unit)
        except BusError:
            return ""
        return f"it is started by {' and '.join(triggers)} when it is needed" if triggers else ""

    def _start_s(self, name: str) -> float:
        try:
            return self._manager.timeout_start_s(self._manager.unit(name)) or _DEFAULT_START_S
        except BusError:
            return _DEFAULT_START_S


def _loss(entry: Entry, kills: OomKills, *, was_killed: bool) -> Loss | None:
    """Whom the OOM killer has killed since the request, by what systemd and the kernel say.

    With OOMPolicy=continue systemd says of a main process that it was killed, not by whom. The count of its
    cgroup is gone with it, if nothing was killed before; that of the cgroup above it isn't.
    """
    if entry.result == "oom-kill":
        return Loss.MAIN
    if _is_more(entry.kills_before, kills.of_unit):
        return Loss.MAIN if was_killed else Loss.OTHER
    if was_killed and _is_more(entry.kills_above_before, kills.of_parent()):
        return Loss.MAIN
    return None


def _is_more(before: int | None, after: int | None) -> bool:
    return before is not None and after is not None and after > before


def _how(entry: Entry) -> str:
    """How it ended, as a log line goes on."""
    if entry.loss is Loss.MAIN:
        return f"was OOM-killed {_TOO_NEAR}"
    ended = "was killed by systemd (TimeoutStopSec=)" if entry.result == "timeout" else "ended"
    return f"lost a process to the OOM killer {_TOO_NEAR} and {ended}" if entry.loss else ended
