import pytest

from memmon_systemd.monitor.policy import Decision, State, decide

WITHIN, OVER = False, True


@pytest.mark.parametrize(
    ("state", "reading", "for_s", "seconds_in_state", "decision"),
    [
        (State.OK, WITHIN, 0.0, 100.0, Decision.STAY),
        (State.OK, OVER, 0.0, 0.0, Decision.REQUEST),
        (State.OK, OVER, 5.0, 100.0, Decision.RISE),
        (State.OVER, OVER, 5.0, 4.9, Decision.STAY),
        (State.OVER, OVER, 5.0, 5.0, Decision.REQUEST),
        (State.OVER, WITHIN, 5.0, 4.9, Decision.FALL),
        (State.OVER, WITHIN, 5.0, 5.0, Decision.FALL),
        (State.SIGNALLED, OVER, 0.0, 29.9, Decision.STAY),
        (State.SIGNALLED, OVER, 0.0, 30.0, Decision.REQUEST),
        (State.SIGNALLED, OVER, 60.0, 30.0, Decision.REQUEST),
        (State.SIGNALLED, WITHIN, 0.0, 30.0, Decision.FALL),
    ],
)
def test_a_look_leads_to_one_decision(
    state: State, reading: bool, for_s: float, seconds_in_state: float, decision: Decision
) -> None:
    since_s = 1000.0
    assert decide(state, reading, since_s, since_s + seconds_in_state, for_s, repeat_s=30.0) is decision
