"""No memory left, no swap, the monitor's cgroup at its limit: who leaks is asked in time all the same."""

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from kit import CGROUPS, eventually, faults_of, messages, properties_of, property_of, run, write_unit

HERE: Final = Path(__file__).parent
MONITOR: Final = "memory-monitor@starved.service"
NAIVE: Final = "naive.service"
# See starve.py.
INTERPRETER: Final = Path("/usr/bin/python3-starve")
SAID: Final = Path("/run/starved")
LIMIT_MIB: Final = 14
ROUNDS: Final = 20
CONTROL_ROUNDS: Final = 2
FRESH_STARTS: Final = 5
DROP_CACHES: Final = Path("/proc/sys/vm/drop_caches")
LEFT_KIB: Final = 19_000
"""So much shows as available while the target has most of its limit. Nearly all of that is code in use: a few
MiB above the limit memory is gone."""
PAGE_CACHE: Final = ("keep", "drop")
ALL_IS_LEFT_KIB: Final = 1 << 30


@pytest.fixture(scope="module", autouse=True)
def target() -> Iterator[None]:
    """starved.service, the first that the kernel kills; pytest is the last."""
    Path("/proc/self/oom_score_adj").write_text("-1000")
    shutil.copy(Path(sys.executable).resolve(), INTERPRETER)
    write_unit(
        "starved.service",
        f"[Service]\nExecStart={INTERPRETER} -S {HERE}/starve.py target {SAID}\n"
        "MemoryMax=40M\nOOMScoreAdjust=1000\nRestart=always\nRestartSec=100ms\nKillSignal=SIGKILL\n"
        "[Unit]\nStartLimitIntervalSec=0\n",
    )
    run("systemctl", "start", "starved.service")
    eventually(SAID.exists, "starved.service has started")
    yield
    run("systemctl", "stop", "starved.service")


@pytest.fixture
def monitor() -> Iterator[int]:
    """The shipped unit with nothing to spare: its limit is what it has. Its PID."""
    Path("/etc/memory-monitor").mkdir(exist_ok=True)
    Path("/etc/memory-monitor/starved.conf").write_text(
        f"MAX_MEMORY={LIMIT_MIB}\nINTERVAL=1\nSIGNAL=SIGTERM\nOPTIONS=--budget infinity --repeat 1s\n"
    )
    run("systemctl", "start", MONITOR)
    limit_to_what_it_has(MONITOR)
    yield int(property_of(MONITOR, "MainPID"))
    run("systemctl", "stop", MONITOR)


def limit_to_what_it_has(unit: str) -> None:
    """memory.max = memory.current."""
    cgroup = CGROUPS / property_of(unit, "ControlGroup").strip("/")
    (cgroup / "memory.max").write_text((cgroup / "memory.current").read_text())


def became_of(rounds: int, left_kib: int, page_cache: str) -> list[str]:
    """What became of each leak; nothing else of it is left to chance: who takes the memory isn't killed."""
    script = (INTERPRETER, "-S", HERE / "starve.py", "rounds", SAID, rounds, left_kib, page_cache)
    said = run("choom", "-n", "-1000", "--", *map(str, script))
    print(said)
    return [line.partition(": ")[2] for line in said.splitlines() if line.startswith("round ")]


def signalled(outcomes: list[str]) -> list[str]:
    """Those who got the signal, and nobody was killed before."""
    return [outcome for outcome in outcomes if re.match(r"signalled [\d.]+, 0 killed", outcome)]


@contextmanager
def untouched(pid: int) -> Iterator[None]:
    """The same process all the time, of which no page was taken away."""
    faults = faults_of(pid)
    yield
    assert properties_of(MONITOR, "MainPID", "NRestarts") == {"MainPID": str(pid), "NRestarts": "0"}
    assert faults_of(pid) == faults


@pytest.mark.parametrize("page_cache", PAGE_CACHE)
def test_20_of_20_are_asked_before_any_process_is_killed(monitor: int, page_cache: str) -> None:
    with untouched(monitor):
        outcomes = became_of(ROUNDS, LEFT_KIB, page_cache)
    assert len(signalled(outcomes)) == ROUNDS, "\n".join([*outcomes, *messages(MONITOR)])


def test_after_fresh_starts_it_isnt_killed_as_it_asks(monitor: int) -> None:
    """The first start has Python's files charged to it, which can be dropped; the later ones have nothing."""
    del monitor
    outcomes = []
    for _ in range(FRESH_STARTS):
        run("systemctl", "restart", MONITOR)
        DROP_CACHES.write_text("1")
        limit_to_what_it_has(MONITOR)
        outcomes += became_of(1, LEFT_KIB, "drop")
        assert property_of(MONITOR, "NRestarts") == "0", "\n".join([*outcomes, *messages(MONITOR)])
    assert len(signalled(outcomes)) == FRESH_STARTS, "\n".join([*outcomes, *messages(MONITOR)])


@contextmanager
def naive_monitor() -> Iterator[None]:
    """psutil in a loop, with the shipped unit's rights to memory, and looking 10 times a second."""
    write_unit(
        NAIVE,
        f"[Service]\nExecStart={sys.executable} {HERE}/naive.py starved {LIMIT_MIB << 20} 0.1\n"
        "OOMScoreAdjust=-900\nMemoryMin=32M\nMemoryMax=128M\nRestart=on-failure\nRestartSec=2\n"
        "[Unit]\nStartLimitIntervalSec=0\n",
    )
    run("systemctl", "start", NAIVE)
    try:
        yield
    finally:
        run("systemctl", "stop", NAIVE)


def test_the_control_works_while_there_is_memory_and_what_becomes_of_it_then_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with naive_monitor():
        fed = became_of(CONTROL_ROUNDS, ALL_IS_LEFT_KIB, "keep")
        assert len(signalled(fed)) == CONTROL_ROUNDS, "\n".join(fed)
        limit_to_what_it_has(NAIVE)
        starved = {page_cache: became_of(CONTROL_ROUNDS, LEFT_KIB, page_cache) for page_cache in PAGE_CACHE}
    with capsys.disabled():
        print(f"\ncontrol, psutil in a loop: {len(signalled(fed))} of {CONTROL_ROUNDS} with memory")
        for page_cache, outcomes in starved.items():
            asked = f"{len(signalled(outcomes))} of {CONTROL_ROUNDS} without"
            print(f"control, psutil in a loop: {asked}, page cache {page_cache}: {'; '.join(outcomes)}")
