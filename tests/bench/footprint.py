"""Memory of a settled monitor, what each further target adds, and how long it takes to be ready."""

from pathlib import Path
from typing import Final

from tests.bench.gauging import Footprint, Spread, footprint, megabytes
from tests.bench.subjects import (
    monitor,
    monitor_of_units,
    seconds_of_bare_python,
    seconds_to_ready,
)
from tests.bench.table import Row, held_against
from tests.process.leaker import Crowd, Leaker
from tests.process.namespace import PidNamespace

STARTS: Final = 15
MOST_RSS_KB: Final = 16 * 1024
MOST_PER_UNIT_BYTES: Final = 2048
MOST_READY_S: Final = 0.150
FEW, MANY = 500, 4500
"""Far apart: memory comes in arenas of 1 MiB, which over 1,000 units would be 1 KB for each."""
NAME: Final = "mmbench"
PLAYED: Final = "the whole monitor; cgroups of plain files, a systemd played to it"


def rows(directory: Path, program: Path) -> list[Row]:
    """The section; `program` is the compiled leaker.c."""
    unit = _on_units(directory, 1)
    few, many = _on_units(directory, FEW), _on_units(directory, MANY)
    per_unit_bytes = (many.rss - few.rss) * 1024 / (MANY - FEW)
    found = [
        *_of("one unit", unit, f"{PLAYED}; smaps_rollup at READY"),
        held_against(
            "each further unit",
            f"{per_unit_bytes:.0f} bytes",
            f"RSS with {MANY:,} units less that with {FEW}; the first ones take what the start left over",
            per_unit_bytes,
            MOST_PER_UNIT_BYTES,
            "≤ 2 KB",
        ),
    ]
    process, fewer, more = (_on_processes(directory, program, count) for count in (1, FEW, MANY))
    per_process_bytes = (more.rss - fewer.rss) * 1024 / (MANY - FEW)
    found += [
        *_of("one process", process, "the installed command, -m 100 NAME; smaps_rollup at READY"),
        Row(
            "each further process",
            f"{per_process_bytes:.0f} bytes",
            f"RSS with {MANY:,} processes less that with {FEW}",
        ),
        *_start(directory, program),
    ]
    return found


def _of(what: str, memory: Footprint, how: str) -> list[Row]:
    """Each page that is there is locked: what isn't would be in RSS and PSS, but not in Locked."""
    unlocked_kb = memory.pss - memory.locked
    return [
        held_against(f"RSS, {what}", megabytes(memory.rss), how, memory.rss, MOST_RSS_KB, "≤ 16 MB"),
        Row(f"PSS, {what}", megabytes(memory.pss), "shared pages divided by those who share them"),
        Row(f"anonymous, {what}", megabytes(memory.anonymous), "what no other process shares"),
        held_against(
            f"not locked, {what}",
            f"{unlocked_kb} kB",
            "Pss less Locked, both of smaps_rollup; the vdso can't be locked",
            unlocked_kb,
            8,
            "all locked",
        ),
    ]


def _on_units(directory: Path, count: int) -> Footprint:
    with monitor_of_units(directory, count, 2.0) as process:
        return footprint(process.pid)


def _on_processes(directory: Path, program: Path, count: int) -> Footprint:
    inside = directory / f"crowd-{count}"
    inside.mkdir()
    with PidNamespace(program, inside) as namespace:
        crowd = Crowd.start(program, inside, NAME, count, namespace=namespace)
        try:
            with monitor(inside, "-m", "100", NAME, namespace=namespace) as process:
                return footprint(process.pid)
        finally:
            crowd.kill()


def _start(directory: Path, program: Path) -> list[Row]:
    leaker = Leaker.start(program, directory, NAME)
    try:
        seconds_to_ready(directory, "-m", "100", NAME)
        starts = [seconds_to_ready(directory, "-m", "100", NAME) for _ in range(STARTS)]
        bare = Spread(tuple(seconds_of_bare_python() * 1000 for _ in range(STARTS)))
    finally:
        leaker.kill()
    ready, cpu = (Spread(tuple(times_s[which] * 1000 for times_s in starts)) for which in (0, 1))
    return [
        held_against(
            "start to READY, one process",
            ready.text(" ms", 0),
            f"exec of the command to READY=1, {STARTS} starts, nice -20; median (least to greatest)",
            ready.median,
            MOST_READY_S * 1000,
            "≤ 150 ms",
        ),
        Row("CPU time of that", cpu.text(" ms", 0), "schedstat at READY"),
        Row("`python3 -c pass`, beside it", bare.text(" ms", 0), f"{STARTS} starts"),
    ]
