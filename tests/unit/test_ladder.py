from collections.abc import Iterator

from hypothesis import example, given
from hypothesis import strategies as st

from memmon_systemd.monitor.schedule import NEARER, SHORTEST_WAIT_S, Ladder, Rung

ROUNDING = 1 + 1e-9
"""Of floats; a byte more comes from readings, which are whole bytes."""

sizes = st.integers(1, (1 << 63) - 1)
intervals_s = st.floats(0.01, 365 * 86400.0)
ladders = st.builds(Ladder.climb, sizes, intervals_s, st.none() | sizes)


def cheap_rungs(ladder: Ladder) -> Iterator[tuple[int, Rung]]:
    """From the lowest readings up: the highest reading at which each holds, and the rung."""
    rung = ladder.first
    while rung is not NEARER:
        yield int(rung.bound[:-1]), rung
        rung = rung.next


def wait_s(ladder: Ladder, usage_bytes: int) -> float:
    """What a look within the limit answers."""
    for highest_bytes, rung in cheap_rungs(ladder):
        if usage_bytes <= highest_bytes:
            return rung.wait_s
    return ladder.wait_s(usage_bytes)


@given(ladders)
@example(Ladder.climb((1 << 62) + 1, 2.0, 1))
def test_a_rung_never_waits_longer_than_the_headroom_takes_to_fill(ladder: Ladder) -> None:
    for highest_bytes, rung in cheap_rungs(ladder):
        assert highest_bytes <= ladder.limit_bytes
        assert rung.wait_s <= ladder.wait_s(highest_bytes) * ROUNDING


@given(ladders)
def test_the_rungs_rise_and_end_at_the_closer_look(ladder: Ladder) -> None:
    rungs = list(cheap_rungs(ladder))
    assert [highest for highest, _ in rungs] == sorted(highest for highest, _ in rungs)
    assert [rung.wait_s for _, rung in rungs] == sorted((rung.wait_s for _, rung in rungs), reverse=True)
    assert all(rung.length == len(b"%d\n" % highest) for highest, rung in rungs)


@given(ladders, st.floats(0, 1))
def test_the_wait_is_at_least_50_ms_and_at_most_the_interval(ladder: Ladder, share: float) -> None:
    wait = wait_s(ladder, int(ladder.limit_bytes * share))
    assert min(SHORTEST_WAIT_S, ladder.interval_s) <= wait <= ladder.interval_s


def test_with_nothing_used_the_wait_is_the_interval_and_it_falls_as_the_limit_comes_near() -> None:
    ladder = Ladder.climb(800, interval_s=2.0, growth=None)
    readings = (0, 100, 400, 600, 700, 790, 800)
    assert [wait_s(ladder, reading) for reading in readings] == [2.0, 1.75, 1.0, 0.5, 0.25, 0.05, 0.05]


def test_memory_current_alone_settles_it_up_to_three_quarters_of_the_limit() -> None:
    highest_bytes, _ = list(cheap_rungs(Ladder.climb(1000, interval_s=2.0, growth=None)))[-1]
    assert highest_bytes == 750


def test_a_growth_that_fills_the_limit_within_an_interval_leaves_only_near_looks() -> None:
    assert wait_s(Ladder.climb(100, interval_s=60.0, growth=200), usage_bytes=0) == 0.5


@given(ladders, st.floats(0, 1), st.lists(st.floats(0, 1), max_size=20))
@example(Ladder.climb(1000, 2.0, None), 0.0, [1.0] * 20)
@example(Ladder.climb(1 << 40, 10.0, 1 << 30), 0.0, [1.0] * 200)
def test_a_target_within_its_growth_passes_the_limit_by_50_ms_of_it_at_most(
    ladder: Ladder, start: float, growths: list[float]
) -> None:
    usage_bytes = int(ladder.limit_bytes * start)
    for growth in [*growths, *[1.0] * 100]:
        if usage_bytes > ladder.limit_bytes:
            break
        usage_bytes += int(wait_s(ladder, usage_bytes) * ladder.growth_bytes_per_s * growth)
    overshoot_bytes = usage_bytes - ladder.limit_bytes
    # A float has 53 bits: what grows in a wait is rounded in the last of them.
    rounding_bytes = 1 + usage_bytes / 2**50
    assert overshoot_bytes <= ladder.growth_bytes_per_s * SHORTEST_WAIT_S + rounding_bytes
