import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memmon_systemd.arguments import parse
from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.monitor.schedule import (
    GONE,
    NEARER,
    OVER,
    UNREADABLE,
    WITHIN,
    Schedule,
    Step,
    schedule_for,
)
from memmon_systemd.settings import Metric
from memmon_systemd.units.gauge import UnitGauge, unit_schedule
from tests.unit.trees import MIB, linux_only, make_cgroup, use

THRESHOLD = 1000
STAT = {"anon": 300, "inactive_file": 200, "active_file": 100, "slab_reclaimable": 50, "file": 320}
readings = st.integers(0, 1 << 65)


def unit_gauge(directory: Path, metric: Metric = Metric.UNRECLAIMABLE, swap: bool = False) -> UnitGauge:
    return UnitGauge(str(directory), metric, swap, schedule_for(THRESHOLD, 2.0, None))


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    return make_cgroup(tmp_path / "app.service", 0)


@pytest.fixture
def gauge(unit: Path) -> Iterator[UnitGauge]:
    with closing(unit_gauge(unit)) as made:
        yield made


@pytest.mark.parametrize(
    ("metric", "usage"),
    [
        (Metric.CURRENT, 800),
        (Metric.UNRECLAIMABLE, 800 - 200 - 100 - 50),
        (Metric.WORKING_SET, 800 - 200),
        (Metric.ANON, 300),
    ],
)
@pytest.mark.parametrize(("swap", "swapped"), [(False, 0), (True, 70)])
def test_a_metric_counts_what_its_name_says(
    unit: Path, metric: Metric, usage: int, swap: bool, swapped: int
) -> None:
    use(unit, 800, **STAT)
    (unit / "memory.swap.current").write_text("70\n")
    with closing(unit_gauge(unit, metric, swap)) as gauge:
        assert gauge.measure() == usage + swapped
        assert gauge.look().is_within
        use(unit, 800 + THRESHOLD, **STAT | {"anon": 300 + THRESHOLD})
        assert gauge.look() is OVER
        assert gauge.usage_bytes == usage + swapped + THRESHOLD


def test_swap_alone_can_put_a_unit_above_its_threshold(unit: Path) -> None:
    use(unit, 1)
    (unit / "memory.swap.current").write_text(f"{THRESHOLD}\n")
    with closing(unit_gauge(unit, Metric.CURRENT, swap=True)) as gauge:
        assert gauge.look() is OVER


def test_without_swap_accounting_memory_alone_is_counted(unit: Path) -> None:
    use(unit, 800)
    with closing(unit_gauge(unit, swap=True)) as gauge:
        assert gauge.measure() == 800


def test_page_cache_far_above_the_threshold_is_no_reason_to_act(unit: Path, gauge: UnitGauge) -> None:
    use(unit, 50 * THRESHOLD, active_file=50 * THRESHOLD - 10)
    assert gauge.look() is WITHIN
    assert gauge.wait_s == pytest.approx(2.0 * 990 / THRESHOLD)
    assert gauge.usage_bytes == 10


def test_counters_that_disagree_for_a_moment_never_make_a_usage_below_zero(unit: Path) -> None:
    use(unit, 800, inactive_file=900)
    with closing(unit_gauge(unit)) as gauge:
        assert gauge.measure() == 0


def test_memory_stat_is_left_alone_while_memory_current_settles_it(unit: Path, gauge: UnitGauge) -> None:
    poison = unit / "memory.stat"
    for current, rung_is_cheap in ((0, True), (THRESHOLD * 3 // 4, True), (THRESHOLD * 3 // 4 + 1, False)):
        use(unit, current)
        poison.write_bytes(b"")
        assert (gauge.look() is not UNREADABLE) is rung_is_cheap, current


def test_only_strictly_above_the_threshold_is_over(unit: Path, gauge: UnitGauge) -> None:
    use(unit, THRESHOLD)
    assert gauge.look().is_within
    use(unit, THRESHOLD + 1)
    assert gauge.look() is OVER


def test_numbers_that_became_shorter_leave_nothing_behind(unit: Path, gauge: UnitGauge) -> None:
    use(unit, 9_000_000, inactive_file=8_999_999, active_file=1)
    assert gauge.measure() == 0
    use(unit, 90, inactive_file=7)
    assert gauge.measure() == 83


@given(
    limit=st.integers(1, (1 << 63) - 1),
    growth=st.none() | st.integers(1, 1 << 40),
    currents=st.lists(readings, min_size=1, max_size=8),
)
@example(limit=1000, growth=None, currents=[99_999_999, 5, 750, 751, 1000, 1001])
@example(limit=9, growth=None, currents=[1 << 64, 9, 10, 0])
def test_comparing_text_says_what_comparing_numbers_would(
    limit: int, growth: int | None, currents: list[int]
) -> None:
    schedule = schedule_for(limit, 2.0, growth)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "memory.current")
        file.write_text("0\n")
        with closing(UnitGauge(name, Metric.CURRENT, False, schedule)) as gauge:
            for current in currents:
                file.write_text(f"{current}\n")
                said = gauge.look()
                assert (said is OVER) == (current > limit), current
                expected = step_at(schedule, current)
                if expected is not None:
                    assert said is expected, current
                elif said is not OVER:
                    assert gauge.wait_s == schedule.wait_s(current), current


def step_at(schedule: Schedule, current: int) -> Step | None:
    """The step for a reading by comparing numbers; None where the closer look decides."""
    step = schedule.first
    while step is not NEARER and current > int(step.bound[:-1]):
        step = step.next
    return None if step is NEARER else step


GARBAGE = [b"", b"\n", b"x\n", b"-5\n", b"\0\0\0\n", b"12", b"1" * 30, b"7 7\n" * 9, b"\xff" * 23 + b"\n"]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_in_memory_current_is_unreadable_and_no_reading(
    unit: Path, gauge: UnitGauge, garbage: bytes
) -> None:
    (unit / "memory.current").write_bytes(garbage)
    assert gauge.look() is UNREADABLE
    assert gauge.look_closer() is UNREADABLE
    use(unit, THRESHOLD + 1)
    assert gauge.look() is OVER


@pytest.mark.parametrize("garbage", [b"", b"anon 5\ninactive_file x\n", b"inactive_file \n"])
def test_garbage_in_memory_stat_is_unreadable_and_no_reading(
    unit: Path, gauge: UnitGauge, garbage: bytes
) -> None:
    use(unit, THRESHOLD + 1)
    (unit / "memory.stat").write_bytes(garbage)
    assert gauge.look() is UNREADABLE


@linux_only
def test_a_reading_that_fails_is_unreadable(unit: Path) -> None:
    (unit / "memory.current").unlink()
    (unit / "memory.current").symlink_to("/proc/self/mem")  # EIO at address 0
    with closing(unit_gauge(unit)) as gauge:
        assert gauge.look() is UNREADABLE
        assert gauge.look_closer() is UNREADABLE


@linux_only
def test_what_is_no_more_is_gone_and_not_unreadable(unit: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        (unit / "memory.current").unlink()
        (unit / "memory.current").symlink_to(f"/proc/{child.pid}/oom_score")
        with closing(unit_gauge(unit)) as gauge:
            assert gauge.look().is_within
            child.kill()
            child.wait()
            assert gauge.look() is GONE
            assert gauge.look_closer() is GONE


@pytest.mark.parametrize("missing", ["memory.current", "memory.stat"])
def test_a_cgroup_without_the_files_is_refused_and_leaves_no_descriptor_open(
    unit: Path, missing: str
) -> None:
    (unit / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing):  # one left open would be a ResourceWarning
        unit_gauge(unit)


@pytest.mark.parametrize(("size", "threshold_mib"), [("80%", 240), ("50", 50)])
def test_a_share_is_one_of_the_limit_that_applies_to_the_unit(
    unit: Path, size: str, threshold_mib: int
) -> None:
    (unit.parent / "memory.max").write_text(f"{300 * MIB}\n")
    schedule = unit_schedule(
        str(unit), Hierarchy(str(unit.parent), memory=True), parse(["-m", size, "app.service"]).target
    )
    assert schedule.threshold_bytes == threshold_mib * MIB
