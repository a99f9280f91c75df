"""A machine that was suspended: the monotonic clock, by which systemd and the monitor go, stood still.

It is suspended to RAM (ACPI S3), from which QEMU's clock wakes it; once in a run, for the kernel can't take
that event back (6.1: "Could not disable RealTimeClock events") and wakes from the next one at once.
"""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest
from kit import Leaky, Monitor, MonitorUnit, Service, eventually, property_of, run

ASLEEP_S = 40
WATCHDOG_S = 10
REPEAT_S = 20
MIN_AGE_S = 45
START_S = 15
"""From systemd's start of a service, or a fork, to its first words."""


@dataclass(frozen=True)
class Resumed:
    """Services and a monitor that were there before, some seconds old."""

    monitor: MonitorUnit
    pid: int
    """Of the monitor, before."""
    small: Service
    stubborn: Service
    young: Service
    process: Leaky
    by_s: float
    """When it was resumed, on the monotonic clock."""


def slept_s() -> float:
    """How long this machine has been suspended since it was booted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()


@pytest.fixture(scope="module")
def resumed() -> Iterator[Resumed]:
    """All of them, after the suspend."""
    watchdog = (f"WatchdogSec={WATCHDOG_S}",)
    options = ("-m", "30", "--repeat", f"{REPEAT_S}s", "--budget", "1/1h")
    young_only = ("-m", "30", "--min-age", f"{MIN_AGE_S}s", "--repeat", "infinity")
    process = Leaky("sleeper")
    with (
        Service("small.service", restart=True) as small,
        Service("stubborn.service", "ignore", "grow 40") as stubborn,
        MonitorUnit("awake.service", *options, small.unit, stubborn.unit, properties=watchdog) as monitor,
        MonitorUnit("patient.service", *young_only, "young.service", properties=watchdog),
        Monitor("--as", "process", *young_only, "sleeper-mm") as named,
    ):
        stubborn.wait_for("SIGTERM")
        with (
            Service("young.service", "ignore", "grow 40") as young,
            subprocess.Popen(process.command("ignore", "name sleeper-mm", "grow 40")) as child,
        ):
            try:
                process.wait_for("grow 40")
                named.wait_for("held: ")
                pid, before_s = monitor.pid, slept_s()
                run("rtcwake", "--mode", "mem", "--seconds", str(ASLEEP_S))
                assert slept_s() - before_s > ASLEEP_S / 2, "the machine wasn't suspended"
                yield Resumed(monitor, pid, small, stubborn, young, process, time.monotonic())
            finally:
                child.kill()


def test_a_service_that_grows_after_it_is_asked(resumed: Resumed) -> None:
    resumed.small.tell("grow 40")
    resumed.small.wait_for("SIGTERM")
    resumed.small.wait_for("started", 2)


def test_time_asleep_makes_no_unit_and_no_process_older(resumed: Resumed) -> None:
    for leaky in (resumed.young, resumed.process):
        leaky.wait_for("SIGTERM")
        (asked_s,), (started_s,) = leaky.times_s("SIGTERM"), leaky.times_s("started")
        assert started_s < resumed.by_s < asked_s
        assert asked_s - started_s > MIN_AGE_S - START_S


def test_time_asleep_brings_no_repeat_nearer(resumed: Resumed) -> None:
    before = [asked_s for asked_s in resumed.stubborn.times_s("SIGTERM") if asked_s < resumed.by_s]
    resumed.stubborn.wait_for("SIGTERM", len(before) + 2)
    times_s = resumed.stubborn.times_s("SIGTERM")
    assert min(later - sooner for sooner, later in pairwise(times_s)) > REPEAT_S * 0.8


def test_the_watchdog_lets_the_monitor_live(resumed: Resumed) -> None:
    eventually(lambda: time.monotonic() - resumed.by_s > 2 * WATCHDOG_S, "time for the watchdog")
    assert resumed.monitor.pid == resumed.pid
    assert property_of(resumed.monitor.unit, "NRestarts") == "0"
    assert property_of(resumed.monitor.unit, "ActiveState") == "active"
