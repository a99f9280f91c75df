"""Where memory is short the kernel takes what isn't locked, and what start-up left behind is gone.

A settled monitor loses whatever can be taken from it, then walks each path once: nothing faults. Without
the lock, the rehearsal or the reserve something does: each is needed, and the audit sees when it is lost.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.audit.counting import Asked
from tests.audit.fake_systemd import Answer, FakeSystemd
from tests.audit.pressure import run_on_copies, take_away
from tests.audit.units import (
    ALTERED,
    HIGH_BYTES,
    LOW_BYTES,
    FakeUnit,
    Record,
    Start,
    unit_monitor,
    wait_for_count,
)
from tests.process.kit import MINE, MONITOR, ROOT, MonitorProcess
from tests.process.leaker import Crowd, Leaker
from tests.process.namespace import PidNamespace
from tests.process.waiting import eventually

SOON_S = 30.0
NAME = f"{MINE}-calm"
OPTIONS = ("-m", "50", "-i", "0.02", NAME)
A_CROWD = 2000
"""More than come and go at once in the other tests."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Leads a monitor along each path of the loop once."""

    namespace: PidNamespace
    start_leaker: Callable[..., Leaker]
    start_crowd: Callable[..., Crowd]

    def __call__(self, monitor: MonitorProcess, at_once: int) -> None:
        """A target comes, passes the limit, falls and ends; then so many come and go at once."""
        leaker = self.start_leaker(f"{NAME}0", ignore=True, namespace=self.namespace)
        wait_for_count(monitor, "ok: rss", 1)
        leaker.grow(60)
        leaker.wait_for_signals("SIGTERM", 3, SOON_S)
        leaker.shrink(60)
        wait_for_count(monitor, "within again", 1)
        leaker.kill()
        wait_for_count(monitor, "waiting: there is no", 2)
        crowd = self.start_crowd(NAME, at_once, namespace=self.namespace)
        eventually(lambda: monitor.held == at_once, SOON_S, "all are held", monitor.log.__str__)
        crowd.end(at_once)
        eventually(lambda: monitor.held == 0, SOON_S, "none is held", monitor.log.__str__)


@pytest.fixture
def walk(
    namespace: PidNamespace, start_leaker: Callable[..., Leaker], start_crowd: Callable[..., Crowd]
) -> Walk:
    return Walk(namespace, start_leaker, start_crowd)


@pytest.fixture
def start_on_copies(
    start_monitor: Callable[..., MonitorProcess], namespace: PidNamespace, tmp_path: Path
) -> Callable[[tuple[str, ...]], MonitorProcess]:
    """A monitor after READY whose files nobody else has mapped."""

    def start(command: tuple[str, ...]) -> MonitorProcess:
        environment = {"PYTHONPATH": os.fspath(ROOT)}
        another = start_monitor(*OPTIONS, namespace=namespace)
        another.wait_ready()
        prefix = run_on_copies(another.pid, tmp_path / "copies")
        another.stop()
        monitor = start_monitor(
            *OPTIONS, command=command, prefix=prefix, environment=environment, namespace=namespace
        )
        monitor.wait_ready()
        return monitor

    return start


StartOnCopies = Callable[[tuple[str, ...]], MonitorProcess]


def test_a_settled_monitor_loses_nothing_and_faults_on_no_path(
    start_on_copies: StartOnCopies, walk: Walk, record: Record
) -> None:
    monitor = start_on_copies(MONITOR)
    assert take_away(monitor.pid) == 0
    with Asked(monitor.pid) as asked:
        walk(monitor, A_CROWD)
    record(asked)
    assert asked.is_nothing, asked.detail


def test_what_was_rehearsed_suffices_even_when_all_of_start_up_is_evicted(
    start_on_copies: StartOnCopies, walk: Walk, record: Record
) -> None:
    monitor = start_on_copies((*ALTERED, "evicted-start-up"))
    with Asked(monitor.pid) as asked:
        walk(monitor, 200)
    record(asked)
    assert asked.is_nothing, asked.detail


def test_without_the_lock_it_loses_its_code_and_faults_again(
    start_on_copies: StartOnCopies, walk: Walk, record: Record
) -> None:
    monitor = start_on_copies((*ALTERED, "no-lock"))
    assert take_away(monitor.pid) > 1000, "evicted nothing: are the copies on a disk?"
    with Asked(monitor.pid) as asked:
        walk(monitor, 200)
    record(asked)
    assert asked.faults.minor > 0
    assert asked.faults.major > 0


def test_without_the_rehearsal_it_faults_on_what_start_up_needed_not(
    start_on_copies: StartOnCopies, walk: Walk, record: Record
) -> None:
    monitor = start_on_copies((*ALTERED, "evicted-start-up,no-rehearsal"))
    with Asked(monitor.pid) as asked:
        walk(monitor, 200)
    record(asked)
    assert asked.faults.minor + asked.faults.major > 0


def test_without_the_reserve_a_crowd_makes_it_ask_for_memory(
    start_on_copies: StartOnCopies, walk: Walk, record: Record
) -> None:
    monitor = start_on_copies((*ALTERED, "no-reserve"))
    with Asked(monitor.pid) as asked:
        walk(monitor, A_CROWD)
    record(asked)
    assert asked.calls
    assert asked.faults.minor > 0


def walk_units(monitor: MonitorProcess, systemd: FakeSystemd, unit: FakeUnit, leaker: Leaker) -> None:
    """Signals with each of systemd's answers, then a restart."""
    for passes, answer in enumerate(Answer, 1):
        systemd.answer = answer
        unit.use(HIGH_BYTES)
        if answer is Answer.REFUSES:
            wait_for_count(monitor, "not signalled", 1)
        else:
            leaker.wait_for_signals("SIGTERM", leaker.lines.count("SIGTERM") + 2, SOON_S)
        unit.use(LOW_BYTES)
        wait_for_count(monitor, "within again", passes)
    unit.stop()
    wait_for_count(monitor, "waiting: it stopped", 1)
    unit.start()
    wait_for_count(monitor, ": ok: ", 2)


@pytest.fixture
def walk_of_units(
    systemd: FakeSystemd, start_monitor: Start, start_leaker: Callable[..., Leaker], tmp_path: Path
) -> Callable[[str], tuple[int, Asked]]:
    """Starts a monitor with changes, takes away what can be, leads it along: KiB taken, what it asked."""
    leaker = start_leaker("main", ignore=True)
    unit = FakeUnit(systemd.top, "leaky.service", leaker.pid)
    options = ("-i", "10ms", "--repeat", "10ms", "leaky.service")
    another = unit_monitor(start_monitor, systemd, *options)
    prefix = run_on_copies(another.pid, tmp_path / "copies")
    another.stop()

    def start_and_walk(changes: str) -> tuple[int, Asked]:
        monitor = unit_monitor(
            start_monitor, systemd, *options, changes=f"clock-times=10,{changes}", prefix=prefix
        )
        taken_kib = take_away(monitor.pid)
        with Asked(monitor.pid) as asked:
            walk_units(monitor, systemd, unit, leaker)
        return taken_kib, asked

    return start_and_walk


WalkOfUnits = Callable[[str], tuple[int, Asked]]


def test_what_was_rehearsed_of_units_suffices_even_when_all_of_start_up_is_evicted(
    walk_of_units: WalkOfUnits, record: Record
) -> None:
    _, asked = walk_of_units("evicted-start-up")
    record(asked)
    assert asked.is_nothing, asked.detail


def test_without_the_rehearsal_a_unit_can_not_be_signalled_without_faults(
    walk_of_units: WalkOfUnits, record: Record
) -> None:
    _, asked = walk_of_units("evicted-start-up,no-rehearsal")
    record(asked)
    assert asked.faults.major > 10, asked.detail


def test_without_the_lock_a_monitor_of_units_loses_its_code_and_faults_again(
    walk_of_units: WalkOfUnits, record: Record
) -> None:
    taken_kib, asked = walk_of_units("no-lock")
    record(asked)
    assert taken_kib > 1000, "evicted nothing: are the copies on a disk?"
    assert asked.faults.major > 0
