"""10,000 broken readings of each file: the monitor goes on, counts them, and signals nobody else."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from memmon_systemd.linux import cgroup, limits, proc
from memmon_systemd.processes import finder, linux
from memmon_systemd.processes.source import PrefixSource
from memmon_systemd.processes.table import Process, ProcessTable, by_proc
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.units import gauge as unitgauge
from memmon_systemd.units import oom_kills
from tests.audit.breaking import ERRORS, SAY_GONE, BreakableFile, BreakableOs, Breaker, breakable_whole
from tests.audit.counting import IN_MEMORY
from tests.audit.units import Record
from tests.process.kit import MINE
from tests.process.leaker import Leaker
from tests.unit import trees
from tests.unit.trees import MIB, Tree, use

READINGS = 10_000
SEED = 20261125
MUST_COUNT: dict[str, set[str]] = {
    "memory.current": {*ERRORS, "empty", "negative", "blank"},
    "memory.stat": {*ERRORS, "empty", "blank", "binary", "digits"},
    "memory.events": {*ERRORS},
    "cgroup.procs": {*ERRORS, "negative", "blank", "binary", "digits"},
    "statm": {*ERRORS, "empty", "blank", "digits"},
    "loadavg": {*ERRORS, "empty", "blank"},
}
"""What can't be taken for a true reading; of memory.events nothing is needed but that it can be read.

A search for processes that fails is counted, too. The other files of a process say who it is: broken they are
those of somebody else, who isn't meant.
"""
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


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A directory that is written to faster than any on a disk."""
    with TemporaryDirectory(dir=IN_MEMORY) as directory:
        yield Path(directory)


def bugs(tree: Tree) -> list[str]:
    return [line for line in tree.log.lines if line.endswith("; continuing")]


def look(tree: Tree) -> None:
    """One round of the loop, and a second goes by."""
    tree.poller.end_s = tree.clock.now_s + 1.0
    tree.monitor.turn()


def begin_to_count(tree: Tree, breaker: Breaker) -> None:
    """From here on what is counted, and what is broken, are those of one look."""
    breaker.last.clear()
    for target in tree.targets:
        target.unreadable, target.failure = 0, None


def has_counted(tree: Tree, breaker: Breaker, failed_searches: int = 0) -> bool:
    """Whether a broken reading was counted; AssertionError if one had to be and none was."""
    # A list of processes is only read to signal them, which is said to have failed then.
    counted = bool(failed_searches) or any(target.unreadable or target.failure for target in tree.targets)
    # A unit or process that was said to be gone begins anew, and so does its count.
    is_gone = not breaker.last.isdisjoint(SAY_GONE)
    assert counted or is_gone or breaker.last.isdisjoint(MUST_COUNT.get(breaker.name, ())), breaker.last
    return counted


@pytest.mark.parametrize("name", ["memory.current", "memory.stat", "memory.events", "cgroup.procs"])
def test_of_a_file_of_a_unit(
    name: str,
    in_memory: Path,
    start_leaker: Callable[..., Leaker],
    monkeypatch: pytest.MonkeyPatch,
    record: Record,
) -> None:
    victim, bystander = start_leaker("victim", ignore=True), start_leaker("bystander", ignore=True)
    guard, breaker = Guard(victim.pid, bystander.pid), Breaker(name, SEED)
    monkeypatch.setattr(trees, "by_proc", guard.table)
    monkeypatch.setattr(
        unitgauge, "open_file", lambda directory, file: BreakableFile(f"{directory}/{file}", breaker)
    )
    monkeypatch.setattr(oom_kills, "os", BreakableOs(os, breaker))
    for module in (cgroup, limits):
        monkeypatch.setattr(module, "read_bytes", breakable_whole(breaker))
    tree = Tree(in_memory, "-m 100 -i 1 --repeat 1 --budget infinity -s USR1 quiet.service broken.service")
    tree.manager.failure = BusError(110, "no answer within 1 s")
    tree.make("quiet.service", 10, pids=[bystander.pid])
    broken = tree.make("broken.service", 10, pids=[victim.pid])
    look(tree)
    counted = 0
    breaker.breaks = True
    for turn in count():
        if turn % 20 == 0:
            use(broken, (90, 200, 10)[turn // 20 % 3] * MIB)
        begin_to_count(tree, breaker)
        listener = tree.target("broken.service").events
        if name == "memory.events" and listener is not None:
            listener.listen(tree.clock.now_s)  # as an interval after each event
        look(tree)
        counted += has_counted(tree, breaker)
        if breaker.done.total() >= READINGS:
            break
        assert breaker.done.total() or turn < READINGS, (
            "it is read by another way than the one that is broken"
        )
    breaker.breaks = False
    record(f"{breaker.done.total()} broken readings in {turn + 1} looks, of which {counted} counted one")
    assert not bugs(tree)
    assert not bystander.lines.count("SIGUSR1")
    use(broken, 200 * MIB)
    before = victim.lines.count("SIGUSR1")
    tree.advance(3)
    victim.wait_for_signals("SIGUSR1", before + 1, 10)
    tree.close()


@pytest.mark.parametrize("name", ["stat", "statm", "comm", "status", "cmdline", "loadavg"])
def test_of_a_file_of_a_process(
    name: str,
    start_leaker: Callable[..., Leaker],
    monkeypatch: pytest.MonkeyPatch,
    in_memory: Path,
    record: Record,
) -> None:
    victim = start_leaker(LONG_NAME, mib=30, ignore=True)
    bystander = start_leaker(f"{MINE}-another", mib=30, ignore=True)
    guard, breaker = Guard(victim.pid, bystander.pid), Breaker(name, SEED)
    for module in (proc, finder, linux):
        monkeypatch.setattr(module, "os", BreakableOs(os, breaker))
    monkeypatch.setattr(proc, "pids", lambda: iter((victim.pid, bystander.pid)))  # hundreds take too long
    monkeypatch.setattr(finder, "_MANY_NEW", 20)  # as well as 500 tries at each broken loadavg
    tree = Tree(in_memory, f"-m 20 -i 1 --repeat 1 -s USR1 --swap --as process {LONG_NAME}", names=())
    source = PrefixSource(LONG_NAME, tree.settings.target, guard.table(), None, tree.context)
    tree.monitor = tree.monitor_of([source])
    look(tree)
    victim.wait_for_signals("SIGUSR1", 1, 10)
    counted = 0
    breaker.breaks = True
    for turn in count():
        begin_to_count(tree, breaker)
        if turn % 3 == 0:  # find it afresh
            for target in tree.targets:
                target.lost(tree.clock.now_s)
            tree.context.targets.sweep()
            source._finder.close()
            monkeypatch.setattr(source, "_finder", guard.table().finder(LONG_NAME.encode(), 1.0))
        look(tree)
        counted += has_counted(tree, breaker, source._failed_searches)
        if breaker.done.total() >= READINGS:
            break
    breaker.breaks = False
    record(f"{breaker.done.total()} broken readings in {turn + 1} looks, of which {counted} counted one")
    assert not bugs(tree)
    assert not bystander.lines.count("SIGUSR1")
    before = victim.lines.count("SIGUSR1")
    tree.clock.now_s += 60
    tree.advance(60)
    victim.wait_for_signals("SIGUSR1", before + 1, 10)
    for target in tree.targets:
        target.lost(tree.clock.now_s)
    source._finder.close()
