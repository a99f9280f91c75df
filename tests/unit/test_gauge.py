import errno
import os
from pathlib import Path

import pytest

from memmon_systemd.arguments import parse
from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.schedule import (
    GONE,
    OVER,
    SHORTEST_WAIT_S,
    UNREADABLE,
    WITHIN,
    LookResult,
    schedule_for,
)
from memmon_systemd.processes.gauge import ProcessGauge
from memmon_systemd.settings import Metric
from memmon_systemd.units.gauge import open_sum_gauge
from tests.unit.trees import MIB, NO_PROCESS, linux_only, make_cgroup

SCHEDULE = schedule_for(1000, 2.0, None)


class Failing(Gauge):
    def __init__(self, number: int) -> None:
        super().__init__(Metric.CURRENT, SCHEDULE)
        self.number = number

    def measure(self) -> int:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    ("number", "result"),
    [(errno.ENODEV, GONE), (errno.ENOENT, GONE), (errno.ESRCH, GONE), (errno.EIO, UNREADABLE)],
)
def test_the_error_tells_the_end_from_a_moments_trouble(number: int, result: LookResult) -> None:
    assert Failing(number).look() is result


class Process:
    """One that shares 600 bytes with another, and has 50 in swap."""

    pid = 1
    name = "app"

    def __init__(self, rss: int) -> None:
        self.rss = rss
        self.pss_reads = 0
        self.is_young_fork = False

    def rss_bytes(self) -> int:
        return self.rss

    def pss_bytes(self) -> int:
        self.pss_reads += 1
        return self.rss - 300

    def swap_bytes(self) -> int:
        return 50

    def may_execute(self) -> bool:
        return self.is_young_fork

    def age_s(self) -> float:
        raise NotImplementedError

    def is_still(self, prefix: bytes) -> bool:
        raise NotImplementedError

    def send(self, signal_number: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("metric", "swap", "rss", "usage"),
    [
        (Metric.RSS, False, 900, 900),
        (Metric.RSS, True, 900, 950),
        (Metric.PSS, False, 900, 600),
        (Metric.PSS, True, 900, 650),
    ],
)
def test_a_process_is_counted_by_rss_or_pss(metric: Metric, swap: bool, rss: int, usage: int) -> None:
    assert ProcessGauge(Process(rss), metric, swap, SCHEDULE).measure() == usage


@pytest.mark.parametrize(("rss", "pss_reads"), [(750, 0), (751, 1)])
def test_pss_is_only_read_where_rss_its_upper_bound_does_not_settle_it(rss: int, pss_reads: int) -> None:
    process = Process(rss)
    gauge = ProcessGauge(process, Metric.PSS, False, SCHEDULE)
    assert gauge.look() is WITHIN
    assert process.pss_reads == pss_reads
    assert 0 < gauge.wait_s <= SCHEDULE.wait_s(rss - 300)


def test_what_may_be_about_to_execute_another_program_isnt_above_and_looked_at_again_at_once() -> None:
    process = Process(SCHEDULE.threshold_bytes + 1)
    gauge = ProcessGauge(process, Metric.RSS, False, SCHEDULE)
    process.is_young_fork = True
    assert gauge.look() is WITHIN
    assert gauge.wait_s == SHORTEST_WAIT_S
    process.is_young_fork = False
    assert gauge.look() is OVER


@linux_only
def test_the_sum_of_a_units_processes_leaves_out_those_that_ended(tmp_path: Path) -> None:
    unit = make_cgroup(tmp_path / "app.service", 0)
    settings = parse(["-m", "100", "app.service"]).target
    hierarchy = Hierarchy(str(unit.parent), memory=False)
    gauge = open_sum_gauge(str(unit), hierarchy, settings)
    assert gauge.measure() == 0
    (unit / "cgroup.procs").write_text(f"{os.getpid()}\n{NO_PROCESS}\n")
    one = gauge.measure()
    assert one > 10 * MIB
    make_cgroup(unit / "inner", 0, pids=(os.getpid(),))
    assert gauge.measure() > 1.5 * one
    unit.rename(unit.with_name("gone"))
    assert gauge.look() is GONE
