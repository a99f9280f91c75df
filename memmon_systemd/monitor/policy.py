"""When to ask: pure functions of state, readings, settings and time.

Above the threshold is necessary, not sufficient. `decide` says what a look leads to; where that is a request,
`hold` says whether now is the moment, by the rules in their order: the first that says no decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class State(Enum):
    """Where a target stands; the words are those of the log lines."""

    WAITING = "waiting"
    OK = "ok"
    OVER = "over"
    HELD = "held"
    SIGNALLED = "signalled"


class Decision(Enum):
    """What a look leads to."""

    STAY = "stay"
    RISE = "rise"
    """Newly above the threshold; `--for` begins to run."""
    REQUEST = "request"
    """Ask, unless a rule holds it back."""
    ESCALATE = "escalate"
    """It hasn't followed within `--then-restart`: have systemd restart it."""
    FALL = "fall"
    """Back within the threshold."""


class Activity(Enum):
    """What a target does at this moment."""

    RUNNING = "running"
    UNKNOWN = "unknown"
    """systemd doesn't answer: the cgroup, which is there, decides."""
    STARTING = "starting"
    STOPPING = "stopping"
    RELOADING = "reloading"
    FROZEN = "frozen"
    DOWN = "down"
    """It has stopped, and processes of it are left."""
    CHANGED = "changed"
    """Another invocation, or another process, than the one that was measured."""


class Hold(Enum):
    """Why a request is held back; the words are those of the field MEMORY_MONITOR_REASON."""

    STARTING = "starting"
    STOPPING = "stopping"
    RELOADING = "reloading"
    FROZEN = "frozen"
    NOT_RUNNING = "not-running"
    MIN_AGE = "min-age"
    BUDGET = "budget"
    AT_MOST = "at-most"
    CONDITION = "condition"
    PAUSED = "paused"
    KILL_MODE = "kill-mode"


_BY_ACTIVITY: Final = {
    Activity.STARTING: Hold.STARTING,
    Activity.STOPPING: Hold.STOPPING,
    Activity.RELOADING: Hold.RELOADING,
    Activity.FROZEN: Hold.FROZEN,
    Activity.DOWN: Hold.NOT_RUNNING,
}


@dataclass(frozen=True, slots=True)
class Situation:
    """What `hold` decides by; None where there is no such rule for the target."""

    activity: Activity
    is_hard: bool = False
    """Whether the usage is above `--hard`: then only what it does, is, and its budget hold it back."""
    age_s: float = 0.0
    """Since the start of the invocation."""
    min_age_s: float = 0.0
    has_budget: bool = True
    """Whether another first request of an invocation is within `--budget`."""
    is_its_turn: bool = True
    """Whether `--at-most` leaves room, and nobody in the queue is nearer to its threshold."""
    is_permitted: bool = True
    """Whether `--condition-unit` has succeeded, for this request."""
    leaves_memory: bool = False
    """Whether its main process would end and leave those that use the memory, to be started again."""


def hold(situation: Situation) -> Hold | None:
    """The first rule that says no, in their order; None: ask now."""
    by_activity = _BY_ACTIVITY.get(situation.activity)
    if by_activity is not None:
        return by_activity
    if situation.leaves_memory:
        return Hold.KILL_MODE
    if not situation.is_hard and situation.age_s < situation.min_age_s:
        return Hold.MIN_AGE
    if not situation.has_budget:
        return Hold.BUDGET
    if not situation.is_hard and not situation.is_its_turn:
        return Hold.AT_MOST
    if not situation.is_hard and not situation.is_permitted:
        return Hold.CONDITION
    return None


@dataclass(frozen=True, slots=True)
class Timing:
    """What `decide` decides by: seconds since, and the times that were set; infinite: never."""

    over_s: float
    """Since it was first above its threshold."""
    asked_s: float | None
    """Since the last request in this invocation; None: there was none."""
    first_asked_s: float | None
    """Since the first one."""
    for_s: float
    repeat_s: float
    then_restart_s: float | None
    """None: off, or it was done already."""


def decide(state: State, is_over: bool, is_hard: bool, timing: Timing) -> Decision:
    """The decision for a target that is above or within its threshold.

    Requests are made once in an invocation, and again after `repeat_s`, whatever the readings between.
    """
    if not is_over:
        return Decision.STAY if state is State.OK else Decision.FALL
    if timing.asked_s is not None and timing.first_asked_s is not None:
        if timing.then_restart_s is not None and timing.first_asked_s >= timing.then_restart_s:
            return Decision.ESCALATE
        return Decision.REQUEST if timing.asked_s >= timing.repeat_s else Decision.STAY
    if is_hard or timing.over_s >= timing.for_s:
        return Decision.REQUEST
    return Decision.RISE if state is State.OK else Decision.STAY
