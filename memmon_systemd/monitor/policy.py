"""What to do after a look: a pure function of state, reading and time."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a target stands; the words are those of the log lines."""

    WAITING = "waiting"
    OK = "ok"
    OVER = "over"
    SIGNALLED = "signalled"


class Decision(Enum):
    """What a look leads to."""

    STAY = "stay"
    RISE = "rise"
    """Newly above the threshold; `--for` begins to run."""
    REQUEST = "request"
    FALL = "fall"
    """Back within the threshold."""


def decide(
    state: State, is_over: bool, since_s: float, now_s: float, for_s: float, repeat_s: float
) -> Decision:
    """The decision for a target that is above or within its threshold, in `state` since `since_s`.

    In `SIGNALLED`, `since_s` is the time of the last signal. Times are seconds of one clock.
    """
    if not is_over:
        return Decision.STAY if state is State.OK else Decision.FALL
    if state is State.OVER:
        return Decision.REQUEST if now_s - since_s >= for_s else Decision.STAY
    if state is State.SIGNALLED:
        return Decision.REQUEST if now_s - since_s >= repeat_s else Decision.STAY
    return Decision.RISE if for_s > 0 else Decision.REQUEST
