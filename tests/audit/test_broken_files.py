"""10,000 broken readings of each file: the monitor goes on, counts them, and signals nobody else."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from memmon_systemd import cgroup, finder, proc, unitgauge, unittarget
from memmon_systemd.bus import BusError
from memmon_systemd.prefix import PrefixSource
from memmon_systemd.processes import Process, ProcessTable, by_proc
from tests.audit.breaking import BreakableFile, BreakableOs, Breaker, breakable_text
from tests.audit.units import Record
from tests.process.kit import MINE
from tests.process.leaker import Leaker
from tests.unit import trees
from tests.unit.trees import MIB, House, use

READINGS = 10_000
SEED = 20261125
LONG_NAME = f"{MINE}-with-a-name-of-more-than-15-bytes"


class Guard:
    """A table of real processes that lets nobody else be opened, and keeps who was tried."""

    def __init__(self, *allowed: int) -> None:
        self.allowed = allowed
        self.tried: set[int] = set()

    def table(self) -> ProcessTable:
        return replace(by_proc(), open=self.open)

    def open(self, pid: int) -> Process:
        self.tried.add(pid)
        if pid not in self.allowed:
            raise ProcessLookupError(3, "not of this test")
        return by_proc().open(pid)


def bugs(house: House) -> list[str]:
    return [line for line in house.log.lines if "it goes on" in line]


def look(house: House) -> None:
    """One round of the loop, a second later."""
    house.clock.now_s += 1.0
    house.monitor.turn()


@pytest.mark.parametrize("name", ["memory.current", "memory.stat", "memory.events", "cgroup.procs"])
def test_of_a_file_of_a_unit(
    name: str,
    tmp_path: Path,
    start_leaker: Callable[..., Leaker],
    monkeypatch: pytest.MonkeyPatch,
    record: Record,
) -> None:
    victim, bystander = start_leaker("victim", ignore=True), start_leaker("bystander", ignore=True)
    guard, breaker = Guard(victim.pid, bystander.pid), Breaker(name, SEED)
    monkeypatch.setattr(trees, "by_proc", guard.table)
    for module in (unitgauge, unittarget):
        monkeypatch.setattr(
            module, "open_file", lambda directory, file: BreakableFile(f"{directory}/{file}", breaker)
        )
    monkeypatch.setattr(cgroup, "_read", breakable_text(breaker))
    house = House(tmp_path, "-m 100 -i 1 --repeat 1 -s USR1 quiet.service broken.service")
    house.manager.failure = BusError(13, "refused")
    house.make("quiet.service", 10, pids=[bystander.pid])
    broken = house.make("broken.service", 10, pids=[victim.pid])
    look(house)
    counted = 0
    breaker.breaks = True
    while breaker.done.total() < READINGS:
        if breaker.done.total() // 40 % 2:
            use(broken, (10, 90, 200)[breaker.done.total() // 80 % 3] * MIB)
        house.waiter.events.append(house.target("broken.service"))  # as if memory.events had changed
        before = house.target("broken.service").unreadable
        look(house)
        counted += house.target("broken.service").unreadable > before
    breaker.breaks = False
    record(f"{breaker.done.total()} broken readings, {counted} counted")
    assert not bugs(house)
    assert not bystander.lines.count("SIGUSR1")
    use(broken, 200 * MIB)
    before = victim.lines.count("SIGUSR1")
    house.advance(3)
    victim.wait_for_signals("SIGUSR1", before + 1, 10)
    house.close()
