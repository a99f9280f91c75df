"""When to ask: each rule is a row."""

import pytest

from memmon_systemd.monitor.policy import Activity, Decision, Hold, Situation, State, Timing, decide, hold

INFINITE = float("inf")
WITHIN, OVER, HARD = (False, False), (True, False), (True, True)


def timing(
    over: float = 0.0,
    asked: float | None = None,
    first_asked: float | None = None,
    for_: float = 0.0,
    repeat: float = 30.0,
    then_restart: float | None = None,
) -> Timing:
    return Timing(over, asked, first_asked or asked, for_, repeat, then_restart)


@pytest.mark.parametrize(
    ("state", "reading", "times", "decision"),
    [
        # Not asked yet in this invocation.
        (State.OK, WITHIN, timing(), Decision.STAY),
        (State.OK, OVER, timing(), Decision.REQUEST),
        (State.OK, OVER, timing(for_=5), Decision.RISE),
        (State.OK, HARD, timing(for_=5), Decision.REQUEST),
        (State.OVER, OVER, timing(over=4.9, for_=5), Decision.STAY),
        (State.OVER, OVER, timing(over=5, for_=5), Decision.REQUEST),
        (State.OVER, HARD, timing(over=1, for_=5), Decision.REQUEST),
        (State.OVER, WITHIN, timing(over=4.9, for_=5), Decision.FALL),
        (State.OVER, WITHIN, timing(over=5, for_=5), Decision.FALL),
        # Held back: asked as soon as nothing says no.
        (State.HELD, OVER, timing(over=5, for_=5), Decision.REQUEST),
        (State.HELD, OVER, timing(over=1, for_=5), Decision.STAY),
        (State.HELD, HARD, timing(over=1, for_=5), Decision.REQUEST),
        (State.HELD, WITHIN, timing(over=5), Decision.FALL),
        # Asked in this invocation: again after --repeat, whatever the readings between.
        (State.SIGNALLED, OVER, timing(asked=29.9), Decision.STAY),
        (State.SIGNALLED, OVER, timing(asked=30), Decision.REQUEST),
        (State.SIGNALLED, OVER, timing(asked=30, for_=60), Decision.REQUEST),
        (State.SIGNALLED, HARD, timing(asked=29.9), Decision.STAY),
        (State.SIGNALLED, WITHIN, timing(asked=30), Decision.FALL),
        (State.OK, OVER, timing(asked=29.9), Decision.STAY),
        (State.OK, OVER, timing(asked=30), Decision.REQUEST),
        (State.SIGNALLED, OVER, timing(asked=1e9, repeat=INFINITE), Decision.STAY),
        # It doesn't follow.
        (State.SIGNALLED, OVER, timing(asked=10, first_asked=59.9, then_restart=60), Decision.STAY),
        (State.SIGNALLED, OVER, timing(asked=10, first_asked=60, then_restart=60), Decision.ESCALATE),
        (State.SIGNALLED, OVER, timing(asked=60, repeat=INFINITE, then_restart=60), Decision.ESCALATE),
        (State.SIGNALLED, WITHIN, timing(asked=10, first_asked=60, then_restart=60), Decision.FALL),
    ],
)
def test_a_look_leads_to_one_decision(
    state: State, reading: tuple[bool, bool], times: Timing, decision: Decision
) -> None:
    assert decide(state, *reading, times) is decision


RUNNING = Activity.RUNNING


@pytest.mark.parametrize(
    ("situation", "reason"),
    [
        (Situation(RUNNING), None),
        (Situation(Activity.UNKNOWN), None),
        # It isn't running: whatever else holds.
        (Situation(Activity.STARTING, is_hard=True), Hold.STARTING),
        (Situation(Activity.STOPPING, is_hard=True), Hold.STOPPING),
        (Situation(Activity.RELOADING, is_hard=True), Hold.RELOADING),
        (Situation(Activity.FROZEN, is_hard=True), Hold.FROZEN),
        (Situation(Activity.DOWN, is_hard=True), Hold.NOT_RUNNING),
        (Situation(Activity.STOPPING, has_budget=False, is_its_turn=False, min_age_s=9.0), Hold.STOPPING),
        # What it would leave behind; above --hard, too.
        (Situation(RUNNING, leaves_memory=True, is_hard=True), Hold.KILL_MODE),
        (Situation(RUNNING, leaves_memory=True, has_budget=False, min_age_s=9.0), Hold.KILL_MODE),
        (Situation(Activity.STOPPING, leaves_memory=True), Hold.STOPPING),
        # Old enough.
        (Situation(RUNNING, age_s=8.9, min_age_s=9.0), Hold.MIN_AGE),
        (Situation(RUNNING, age_s=9.0, min_age_s=9.0), None),
        (Situation(RUNNING, age_s=8.9, min_age_s=9.0, is_hard=True), None),
        (Situation(RUNNING, age_s=8.9, min_age_s=9.0, has_budget=False, is_its_turn=False), Hold.MIN_AGE),
        # Not too often, above --hard neither.
        (Situation(RUNNING, has_budget=False), Hold.BUDGET),
        (Situation(RUNNING, has_budget=False, is_hard=True), Hold.BUDGET),
        (Situation(RUNNING, has_budget=False, is_its_turn=False), Hold.BUDGET),
        (Situation(Activity.UNKNOWN, has_budget=False), Hold.BUDGET),
        # Not all at once; --hard jumps the queue.
        (Situation(RUNNING, is_its_turn=False), Hold.AT_MOST),
        (Situation(RUNNING, is_its_turn=False, is_hard=True), None),
        # By the leave of another unit, the last rule; --hard needs none.
        (Situation(RUNNING, is_permitted=False), Hold.CONDITION),
        (Situation(RUNNING, is_permitted=False, is_hard=True), None),
        (Situation(RUNNING, is_permitted=False, is_its_turn=False), Hold.AT_MOST),
        (Situation(RUNNING, is_permitted=False, has_budget=False), Hold.BUDGET),
    ],
)
def test_the_first_rule_that_says_no_decides(situation: Situation, reason: Hold | None) -> None:
    assert hold(situation) is reason
