from collections.abc import Iterator

from hypothesis import example, given
from hypothesis import strategies as st

from memmon_systemd.monitor.schedule import NEARER, SHORTEST_WAIT_S, Schedule, Step, schedule_for

ROUNDING = 1 + 1e-9
"""Of floats; a byte more comes from readings, which are whole bytes."""

sizes = st.integers(1, (1 << 63) - 1)
intervals_s = st.floats(0.01, 365 * 86400.0)
schedules = st.builds(schedule_for, sizes, intervals_s, st.none() | sizes)


def steps(schedule: Schedule) -> Iterator[tuple[int, Step]]:
    """From the lowest readings up: the highest reading at which each holds, and the step."""
    step = schedule.first
    while step is not NEARER:
        yield int(step.bound[:-1]), step
        step = step.next


def wait_s(schedule: Schedule, usage_bytes: int) -> float:
    """What a look within the threshold answers."""
    for highest_bytes, step in steps(schedule):
        if usage_bytes <= highest_bytes:
            return step.wait_s
    return schedule.wait_s(usage_bytes)


@given(schedules)
@example(schedule_for((1 << 62) + 1, 2.0, 1))
def test_a_step_never_waits_longer_than_the_headroom_takes_to_fill(schedule: Schedule) -> None:
    for highest_bytes, step in steps(schedule):
        assert highest_bytes <= schedule.threshold_bytes
        assert step.wait_s <= schedule.wait_s(highest_bytes) * ROUNDING


@given(schedules)
def test_the_steps_rise_and_end_at_the_closer_look(schedule: Schedule) -> None:
    found = list(steps(schedule))
    assert [highest for highest, _ in found] == sorted(highest for highest, _ in found)
    assert [step.wait_s for _, step in found] == sorted((step.wait_s for _, step in found), reverse=True)
    assert all(step.length == len(b"%d\n" % highest) for highest, step in found)


@given(schedules, st.floats(0, 1))
def test_the_wait_is_at_least_50_ms_and_at_most_the_interval(schedule: Schedule, share: float) -> None:
    wait = wait_s(schedule, int(schedule.threshold_bytes * share))
    assert min(SHORTEST_WAIT_S, schedule.interval_s) <= wait <= schedule.interval_s


def test_with_nothing_used_the_wait_is_the_interval_and_it_falls_as_the_threshold_comes_near() -> None:
    schedule = schedule_for(800, interval_s=2.0, growth_bytes_per_s=None)
    readings = (0, 100, 400, 600, 700, 790, 800)
    assert [wait_s(schedule, reading) for reading in readings] == [2.0, 1.75, 1.0, 0.5, 0.25, 0.05, 0.05]


def test_memory_current_alone_settles_it_up_to_three_quarters_of_the_threshold() -> None:
    highest_bytes, _ = list(steps(schedule_for(1000, interval_s=2.0, growth_bytes_per_s=None)))[-1]
    assert highest_bytes == 750


def test_a_growth_that_fills_the_threshold_within_an_interval_leaves_only_near_looks() -> None:
    assert wait_s(schedule_for(100, interval_s=60.0, growth_bytes_per_s=200), usage_bytes=0) == 0.5


@given(schedules, st.floats(0, 1), st.lists(st.floats(0, 1), max_size=20))
@example(schedule_for(1000, 2.0, None), 0.0, [1.0] * 20)
@example(schedule_for(1 << 40, 10.0, 1 << 30), 0.0, [1.0] * 200)
def test_a_target_within_its_growth_passes_the_threshold_by_50_ms_of_it_at_most(
    schedule: Schedule, start: float, growths: list[float]
) -> None:
    usage_bytes = int(schedule.threshold_bytes * start)
    for growth in [*growths, *[1.0] * 100]:
        if usage_bytes > schedule.threshold_bytes:
            break
        usage_bytes += int(wait_s(schedule, usage_bytes) * schedule.growth_bytes_per_s * growth)
    overshoot_bytes = usage_bytes - schedule.threshold_bytes
    # A float has 53 bits: what grows in a wait is rounded in the last of them.
    rounding_bytes = 1 + usage_bytes / 2**50
    assert overshoot_bytes <= schedule.growth_bytes_per_s * SHORTEST_WAIT_S + rounding_bytes
