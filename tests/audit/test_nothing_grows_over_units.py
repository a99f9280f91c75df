"""However often it looked, its units restarted and systemd refused: it holds what it held at first.

RSS alone would say little: the reserve hides half a megabyte. So the blocks are counted, too, which were
taken and not given back. pystemd makes a cycle of each array, for the garbage collector to find: that is
told to come sooner than usual. CPython keeps some objects of each kind for the next one, at most 100.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pytest

from tests.audit.altered import COLLECTED
from tests.audit.counting import CountFile, held_by
from tests.audit.fake_systemd import Answer, FakeSystemd
from tests.audit.pressure import rss_kib
from tests.audit.units import (
    HIGH_BYTES,
    LOW_BYTES,
    FakeUnit,
    Record,
    Start,
    unit_monitor,
    wait_for_count,
)
from tests.process.kit import MonitorProcess
from tests.process.leaker import Leaker
from tests.process.waiting import eventually

DEADLINE_S = 120.0
CLOCK_TIMES = 100_000
FREE_LISTS = 200
GARBAGE = 700
"""What may still wait for the collector at either end; less than one block for each signal."""
RELOADED = 10
RELOADS = 60
SCHEDULES_KEPT = 32
"""Of the last thresholds; so many reloads fill that."""
REFUSAL_BLOCKS = 7
"""What pystemd never frees of a call that was answered with an error."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What a process holds at one moment."""

    rss_kib: int
    locked: str
    descriptors: int
    inotify_watches: int
    blocks: int

    @classmethod
    def of(cls, monitor: MonitorProcess, counts: CountFile) -> Self:
        status = Path(f"/proc/{monitor.pid}/status").read_text()
        locked = next(line for line in status.splitlines() if "VmLck" in line)
        return cls(rss_kib(monitor.pid), locked, *held_by(monitor.pid), counts.read().living_blocks)

    def but_for_blocks(self) -> Self:
        """What must stay the same to the last page."""
        return replace(self, blocks=0)


@pytest.fixture
def counts(library: Path) -> Iterator[CountFile]:
    with CountFile(library) as counts:
        yield counts


def test_over_10000_looks_and_500_restarts(
    counts: CountFile, systemd: FakeSystemd, start_monitor: Start, record: Record
) -> None:
    FakeUnit(systemd.top, "steady@1.service")
    unit = FakeUnit(systemd.top, "steady@2.service")
    monitor = unit_monitor(
        start_monitor,
        systemd,
        *("-i", "10ms", "steady@*.service"),
        changes="collects-soon,clock-times=10",
        environment=counts.environment,
    )
    restarts = 0

    def restart() -> None:
        nonlocal restarts
        restarts += 1
        unit.stop()
        wait_for_count(monitor, "steady@2.*waiting: it stopped", restarts)
        unit.start()
        wait_for_count(monitor, "steady@2.*: ok: ", restarts + 1)

    restart()
    before, looks = Holding.of(monitor, counts), counts.read().looks
    while restarts <= 500:
        restart()
    eventually(lambda: counts.read().looks - looks >= 10_000, DEADLINE_S, "10,000 looks")
    after = Holding.of(monitor, counts)
    record(f"{counts.read().looks - looks} looks, {restarts} restarts: {before} -> {after}")
    assert after.but_for_blocks() == before.but_for_blocks()
    assert after.blocks - before.blocks < FREE_LISTS


def test_over_2000_signals_in_50_hours_where_systemd_is_gone_each_time_the_back_off_lets_it_be_asked(
    counts: CountFile,
    systemd: FakeSystemd,
    start_monitor: Start,
    start_leaker: Callable[..., Leaker],
    record: Record,
) -> None:
    leaker = start_leaker("main", ignore=True)
    unit = FakeUnit(systemd.top, "missed.service", leaker.pid)
    systemd.answer = Answer.IS_GONE
    # One signal each 90 s, 2,000 in some 50 hours: how often systemd is asked is for the back-off to say.
    monitor = unit_monitor(
        start_monitor,
        systemd,
        *("-i", "90", "--repeat", "90", "missed.service"),
        changes=f"collects-soon,clock-times={CLOCK_TIMES}",
        environment=counts.environment,
    )
    holding, refusals, times_s = [], [], []
    for passes, signals in enumerate((100, 2000), 1):
        unit.use(HIGH_BYTES)
        leaker.wait_for_signals("SIGTERM", leaker.lines.count("SIGTERM") + signals, DEADLINE_S)
        unit.use(LOW_BYTES)
        wait_for_count(monitor, "within again", passes)
        holding.append(Holding.of(monitor, counts))
        refusals.append(len(systemd.kills))
        times_s.append(time.monotonic())
    before, after = holding
    refused = refusals[1] - refusals[0]
    hours = (times_s[1] - times_s[0]) * CLOCK_TIMES / 3600
    record(f"2,000 signals, {refused} times KillUnit failed in {hours:.0f} hours: {before} -> {after}")
    # Once an hour, and a little more often at first. What the fake takes to answer is 100,000 times as long.
    assert 20 < refused <= hours + 12
    assert after.but_for_blocks() == before.but_for_blocks()
    assert after.blocks - before.blocks < FREE_LISTS + GARBAGE + refused * REFUSAL_BLOCKS


def test_over_60_reloads_of_10_units_with_other_settings_each_time(
    counts: CountFile, systemd: FakeSystemd, start_monitor: Start, record: Record
) -> None:
    units = [FakeUnit(systemd.top, f"configured@{number}.service") for number in range(RELOADED)]
    FakeUnit(systemd.top, "wrong.service")
    (systemd.runtime / "systemd").mkdir(parents=True)
    configure(systemd, units, 500)
    monitor = unit_monitor(
        start_monitor,
        systemd,
        *("-i", "10ms", "--configured"),
        changes=f"collects-when-told,clock-times=10,runtime-in={systemd.runtime}",
        environment=counts.environment,
    )
    wait_for_count(monitor, "configured@.*: ok: ", RELOADED)
    holding: list[Holding] = []
    for threshold_mib in range(501, 501 + SCHEDULES_KEPT + RELOADS):
        configure(systemd, units, threshold_mib)
        systemd.reload()
        wait_for_count(monitor, f"settings changed: Threshold={threshold_mib}MiB", RELOADED)
        wait_for_count(monitor, f"'{threshold_mib} apples' is not a size", 1)
        if threshold_mib - 500 in (SCHEDULES_KEPT, SCHEDULES_KEPT + RELOADS):
            os.kill(monitor.pid, signal.SIGUSR2)
            wait_for_count(monitor, f"^{COLLECTED}$", len(holding) + 1)
            holding.append(Holding.of(monitor, counts))
    before, after = holding
    record(f"{RELOADS} reloads of {RELOADED} units: {before} -> {after}")
    assert after.but_for_blocks() == before.but_for_blocks()
    assert after.blocks - before.blocks < RELOADS


def configure(systemd: FakeSystemd, units: list[FakeUnit], threshold_mib: int) -> None:
    """Write the files of all units, and a wrong one."""
    for unit in units:
        metric = "current" if threshold_mib % 2 else "anon"
        systemd.configure(unit.name, f"Threshold={threshold_mib}M", f"Metric={metric}")
    systemd.configure("wrong.service", f"Threshold={threshold_mib} apples", f"Treshold={threshold_mib}M")
