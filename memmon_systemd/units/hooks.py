"""Hooks: units that are started before a request, to permit it, or at a request, to know of it.

systemd runs them; nothing is waited for. The start is queued by one call, and one answer later says how it
went: at the next look at the target, or at the next refresh of the source.
"""

from __future__ import annotations

from typing import Final

from memmon_systemd.monitor.report import Report
from memmon_systemd.monitor.target import NEVER
from memmon_systemd.settings import TargetSettings
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.units.hook_name import hook_name
from memmon_systemd.units.ledger import Ledger

_PAUSE_S: Final = 0.5
"""Between two questions about a condition that runs."""
_LONGEST_FOLLOWED_S: Final = 3600.0
"""A unit that is started at a request may take its time; how it ends after that isn't said."""


class Condition:
    """The unit that permits the requests to one target, from its start until what it said is used."""

    __slots__ = ("again_s", "is_granted", "kept_at", "name", "repeat_s", "started_s", "why")

    def __init__(self, name: str, started_s: float, repeat_s: float) -> None:
        self.name = name
        self.started_s = started_s
        self.repeat_s = repeat_s
        """How long after a refusal it is started again."""
        self.is_granted = False
        self.kept_at: int | None = None
        """As `Hooks._keep` gives it."""
        self.again_s: float | None = None
        """When it is started again, for it doesn't permit the request; None: it does, or still runs."""
        self.why = ""
        """What was said of that."""


class _Called:
    """A unit that was started at a request, until it is known how it ended."""

    __slots__ = ("kept_at", "started_s", "unit")

    def __init__(self, unit: str, started_s: float, kept_at: int) -> None:
        self.unit = unit
        """The one that was asked."""
        self.started_s = started_s
        self.kept_at: int | None = kept_at
        """As `Hooks._keep` gives it."""


class Hooks:
    """Those of all units of one manager, which are started by names with the unit's own in them."""

    def __init__(self, manager: Manager, ledger: Ledger, report: Report) -> None:
        self._manager = manager
        self._ledger = ledger
        self._report = report
        self._conditions: dict[str, Condition] = {}
        """By the unit that is to be asked."""
        self._called: dict[str, _Called] = {}
        """By hook."""

    def follow_condition(self, unit: str, settings: TargetSettings, since_s: float, now_s: float) -> None:
        """Learn how far the condition of a unit is; what was started before `since_s` is of no use."""
        condition = self._conditions.get(unit)
        if condition is None or condition.is_granted or condition.again_s is not None:
            return
        if condition.started_s < since_s:
            self.forgo(unit)
            return
        try:
            condition.kept_at = self._keep(condition.name, condition.kept_at)
            state = self._manager.hook_units.state(self._manager.unit(condition.name))
        except BusError as error:
            if not error.is_answer:
                return  # It is asked again; without an answer nothing is permitted.
            problem: str | None = str(error)
        else:
            if not state.is_running:
                problem = state.problem
            elif now_s < condition.started_s + settings.condition_timeout_s:
                return
            else:
                problem = "it still runs"
        self._let_go(condition.name, condition.kept_at)
        if problem is None:
            condition.is_granted = True
        else:
            self._refuse(unit, condition, problem, now_s)

    def is_permitted(self, unit: str, settings: TargetSettings, repeat_s: float, now_s: float) -> bool:
        """Whether the condition of a unit permits a request; used up by that. Else it is started."""
        if settings.condition_unit is None:
            return True
        condition = self._conditions.get(unit)
        if condition is not None and condition.is_granted:
            self.forgo(unit)
            return True
        if condition is None or (condition.again_s is not None and now_s >= condition.again_s):
            self._start_condition(unit, settings.condition_unit, repeat_s, now_s)
        return False

    def condition_due_s(self, unit: str, now_s: float) -> float:
        """When to see again whether a unit may be asked."""
        condition = self._conditions.get(unit)
        if condition is None or condition.again_s is None:
            return now_s + _PAUSE_S
        return condition.again_s

    def forgo(self, unit: str) -> None:
        """What its condition said, or will say, is of no use any more."""
        condition = self._conditions.pop(unit, None)
        if condition is not None and not condition.is_granted and condition.again_s is None:
            self._let_go(condition.name, condition.kept_at)
        self._ledger.deciding.discard(unit)

    def call(self, unit: str, pattern: str, now_s: float) -> None:
        """Start what is to know of a request to a unit, unless it still runs for the last one."""
        name = hook_name(pattern, unit)
        if name in self._called:
            return
        try:
            kept_at = self._start(name)
        except BusError as error:
            self._report.warn.hook_failed(unit, name, f"can't be started: {error}")
            return
        self._called[name] = _Called(unit, now_s, kept_at)
        self._report.hook_started(unit, name)

    def follow(self, now_s: float, interval_s: float) -> float:
        """Ask how those ended that were started at a request; when to ask again."""
        for name, called in list(self._called.items()):
            try:
                called.kept_at = self._keep(name, called.kept_at)
                state = self._manager.hook_units.state(self._manager.unit(name))
            except BusError:
                state = None  # It is asked again.
            ended = None if state is None or state.is_running else state
            if ended is None and now_s < called.started_s + _LONGEST_FOLLOWED_S:
                continue
            del self._called[name]
            self._let_go(name, called.kept_at)
            if ended is not None and ended.problem is not None:
                self._report.warn.hook_failed(called.unit, name, ended.problem)
        return now_s + interval_s if self._called else NEVER

    def _start(self, name: str) -> int:
        kept_at = self._keep(name, None)
        try:
            self._manager.hook_units.start(self._manager.unit(name))
        except BusError:
            self._let_go(name, kept_at)
            raise
        return kept_at

    def _keep(self, name: str, kept_at: int | None) -> int:
        """Have systemd remember how a hook ends; `kept_at` is what this gave the last time. BusError.

        What was asked for by a connection ends with it: then it is asked for again.
        """
        hook_units = self._manager.hook_units
        if kept_at != hook_units.losses:
            hook_units.keep(self._manager.unit(name))
        return hook_units.losses

    def _let_go(self, name: str, kept_at: int | None) -> None:
        hook_units = self._manager.hook_units
        if kept_at != hook_units.losses:
            return  # The connection that it was kept by is gone: nothing keeps it any more.
        try:
            hook_units.let_go(self._manager.unit(name))
        except BusError:
            return  # As above.

    def _start_condition(self, unit: str, pattern: str, repeat_s: float, now_s: float) -> None:
        name = hook_name(pattern, unit)
        before = self._conditions.get(unit)
        condition = self._conditions[unit] = Condition(name, now_s, repeat_s)
        condition.why = "" if before is None else before.why
        self._ledger.deciding.add(unit)
        try:
            condition.kept_at = self._start(name)
        except BusError as error:
            self._refuse(unit, condition, f"it can't be started: {error}", now_s)
            if not error.is_answer:
                condition.again_s = now_s + _PAUSE_S

    def _refuse(self, unit: str, condition: Condition, why: str, now_s: float) -> None:
        self._ledger.deciding.discard(unit)
        condition.again_s = now_s + condition.repeat_s
        if why != condition.why:
            condition.why = why
            self._report.warn.condition_refused(unit, condition.name, why)
