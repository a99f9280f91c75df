"""What became of a request: how and when the unit ended, and when it was active again, or that it isn't."""

from __future__ import annotations

from typing import Final

from memmon_systemd.monitor.report import Report
from memmon_systemd.monitor.target import NEVER
from memmon_systemd.settings import Action
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.systemd.unit import UnitState
from memmon_systemd.units.ledger import Entry, Ledger

_LONGEST_PAUSE_S: Final = 1.0
_DEFAULT_START_S: Final = 90.0
"""Where a unit has no TimeoutStartSec=, or an unlimited one: systemd's own default for it."""


class Aftermath:
    """Follows the units that were asked, until they are back."""

    def __init__(self, manager: Manager, ledger: Ledger, report: Report, action: Action) -> None:
        self._manager = manager
        self._ledger = ledger
        self._report = report
        self._action = action

    def ended(self, name: str, now_s: float) -> None:
        """The cgroup of a unit went."""
        entry = self._ledger.pending(name)
        if entry is None or entry.ended_s is not None:
            return
        entry.ended_s = now_s
        try:
            entry.result = self._manager.result(self._manager.unit(name))
        except BusError:
            return  # What killed it stays unknown; that it ended is known.

    def follow(self, now_s: float, interval_s: float) -> float:
        """Ask about each unit that isn't back; when to ask again."""
        due_s = NEVER
        for name, entry in list(self._ledger.all_pending()):
            if entry.ended_s is not None or self._action is Action.RELOAD:
                self._ask(name, entry, now_s)
            if entry.asked_s is not None:
                due_s = now_s + min(interval_s, _LONGEST_PAUSE_S)
        return due_s

    def _ask(self, name: str, entry: Entry, now_s: float) -> None:
        try:
            state = self._manager.state(self._manager.unit(name))
        except BusError:
            return  # It is asked again.
        if self._action is Action.RELOAD and entry.ended_s is None:
            if state.active_state == "active" and not state.job_id:
                entry.settle()
            return
        if state.active_state == "active" and state.invocation_id != entry.invocation_id:
            self._say_that_it_is_back(name, entry, state, now_s)
            entry.settle()
        elif not entry.is_said:
            self._see_whether_it_is_late(name, entry, state, now_s)

    def _say_that_it_is_back(self, name: str, entry: Entry, state: UnitState, now_s: float) -> None:
        asked_s = entry.asked_s or now_s
        active_s = now_s if state.active_since_s is None else state.active_since_s
        ended_s = entry.ended_s or active_s
        self._report.came_back(name, _how(entry), ended_s - asked_s, max(active_s, ended_s) - asked_s)

    def _see_whether_it_is_late(self, name: str, entry: Entry, state: UnitState, now_s: float) -> None:
        ended_s = entry.ended_s or now_s
        if state.active_state in ("inactive", "failed") and not state.job_id:
            how = entry.result or state.sub_state
            why = f"it is {state.active_state} ({how}): systemd doesn't start it again"
        elif now_s - ended_s >= self._start_s(name):
            why = f"it is {state.active_state} ({state.sub_state}) still"
        else:
            return
        entry.is_said = True
        self._report.not_back(name, _how(entry), now_s - ended_s, why)

    def _start_s(self, name: str) -> float:
        try:
            return self._manager.timeout_start_s(self._manager.unit(name)) or _DEFAULT_START_S
        except BusError:
            return _DEFAULT_START_S


def _how(entry: Entry) -> str:
    """How it ended, as a log line goes on."""
    if entry.result == "oom-kill":
        return "was OOM-killed (the threshold is too near to the limit)"
    if entry.result == "timeout":
        return "was killed by systemd (TimeoutStopSec=)"
    return "ended"
