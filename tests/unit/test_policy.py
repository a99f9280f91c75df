import pytest

from memmon_systemd.monitor.policy import State, Step, decide

WITHIN, OVER = False, True


@pytest.mark.parametrize(
    ("state", "reading", "for_s", "seconds_in_state", "step"),
    [
        (State.OK, WITHIN, 0.0, 100.0, Step.STAY),
        (State.OK, OVER, 0.0, 0.0, Step.ACT),
        (State.OK, OVER, 5.0, 100.0, Step.RISE),
        (State.OVER, OVER, 5.0, 4.9, Step.STAY),
        (State.OVER, OVER, 5.0, 5.0, Step.ACT),
        (State.OVER, WITHIN, 5.0, 4.9, Step.FALL),
        (State.OVER, WITHIN, 5.0, 5.0, Step.FALL),
        (State.SIGNALLED, OVER, 0.0, 29.9, Step.STAY),
        (State.SIGNALLED, OVER, 0.0, 30.0, Step.ACT),
        (State.SIGNALLED, OVER, 60.0, 30.0, Step.ACT),
        (State.SIGNALLED, WITHIN, 0.0, 30.0, Step.FALL),
    ],
)
def test_a_look_leads_to_one_step(
    state: State, reading: bool, for_s: float, seconds_in_state: float, step: Step
) -> None:
    since_s = 1000.0
    assert decide(state, reading, since_s, since_s + seconds_in_state, for_s, repeat_s=30.0) is step
