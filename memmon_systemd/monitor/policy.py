"""What to do after a look: a pure function of state, reading and time."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a target stands; the words are those of the log lines."""

    WAITING = "waiting"
    OK = "ok"
    OVER = "over"
    SIGNALLED = "signalled"


class Step(Enum):
    """What a look leads to."""

    STAY = "stay"
    RISE = "rise"
    """Newly above the limit; `--for` begins to run."""
    ACT = "act"
    FALL = "fall"
    """Back within the limit."""


def decide(state: State, over: bool, since_s: float, now_s: float, for_s: float, repeat_s: float) -> Step:
    """The step for a target that is `over` or within its limit, in `state` since `since_s`.

    In `SIGNALLED`, `since_s` is the time of the last signal. Times are seconds of one clock.
    """
    if not over:
        return Step.STAY if state is State.OK else Step.FALL
    if state is State.OVER:
        return Step.ACT if now_s - since_s >= for_s else Step.STAY
    if state is State.SIGNALLED:
        return Step.ACT if now_s - since_s >= repeat_s else Step.STAY
    return Step.RISE if for_s > 0 else Step.ACT
