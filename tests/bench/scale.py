"""One monitor of 1,000 units on a real systemd, 300 of them configured: prints a row of the table per line.

    python3 -m tests.bench.scale      in the test machine, as vm.py runs it

The processor is emulated: times are about ten times too long.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

import kit

from tests.audit.counting import Trace
from tests.bench.gauging import Spread, cpu_s, footprint, megabytes, waits
from tests.bench.in_machine import EMULATED, seconds_of_bare_python
from tests.bench.table import Row, held_against, say_rows

UNITS: Final = 1000
CONFIGURED: Final = 300
MOST_RSS_KB: Final = 20 * 1024
STARTS: Final = 3
REST_S: Final = 60.0
NEW: Final = 5
MONITOR: Final = "memory-monitor.service"
ONE: Final = "configured@one.service"
SETTINGS: Final = Path("/etc/memory-monitor")
SECTION: Final = "[X-MemoryMonitor]\nThreshold={}M\n"
CHANGED: Final = "settings changed"
LONG_S: Final = 600.0
LIST: Final = ("memmonctl", "list")
BARE: Final = ("python3", "-c", "pass")


def write_units(threshold_mib: int) -> None:
    """The templates, with that threshold for those that are configured, and systemd's reading of them."""
    sleeps = "[Service]\nExecStart=sleep infinity\n"
    kit.write_unit("plain@.service", sleeps)
    kit.write_unit("configured@.service", sleeps + SECTION.format(threshold_mib))
    kit.run("systemctl", "daemon-reload")


@contextmanager
def monitored(monitor: str = MONITOR) -> Iterator[int]:
    """The shipped unit, READY; its PID."""
    kit.run("systemctl", "start", monitor)
    try:
        yield int(kit.property_of(monitor, "MainPID"))
    finally:
        kit.run("systemctl", "stop", monitor)


def few() -> Iterator[Row]:
    """What both take with one unit, or none, at the second start since the boot."""
    write_units(100)
    kit.run("systemctl", "start", ONE)
    SETTINGS.mkdir(exist_ok=True)
    (SETTINGS / f"{ONE}.conf").write_text("MAX_MEMORY=100M\n")
    own = f"memory-monitor@{ONE}"
    for monitor, what in ((own, "RSS, memory-monitor@ of one unit"), (MONITOR, "RSS, no unit is configured")):
        with monitored(monitor):
            pass
        with monitored(monitor) as pid:
            memory = footprint(pid)
            yield Row(what, megabytes(memory.rss), f"PSS {megabytes(memory.pss)}; {_how()}")
    kit.run("systemctl", "stop", ONE)


def full() -> Iterator[Row]:
    """What it takes with all of them."""
    _start([f"plain@{number}" for number in range(UNITS - CONFIGURED)])
    _start([f"configured@{number}" for number in range(CONFIGURED)])
    ready = Spread(tuple(_seconds_to_ready() for _ in range(STARTS)))
    bare = Spread(tuple(seconds_of_bare_python() for _ in range(STARTS)))
    yield Row(
        "start to READY, in starts of `python3 -c pass`",
        f"{ready.median / bare.median:.0f}",
        f"medians of {STARTS}: {ready.median:.1f} s and {bare.median * 1000:.0f} ms; {EMULATED}",
    )
    with monitored() as pid:
        memory = footprint(pid)
        what = f"RSS, {CONFIGURED} configured of {UNITS:,} units"
        yield held_against(what, megabytes(memory.rss), _how(), memory.rss, MOST_RSS_KB, "≤ 20 MB")
        yield from _at_rest(pid)
        yield _list()
        yield _new_units()
        yield _reload(pid)
        yield Row("RSS after that", megabytes(footprint(pid).rss), _how())
        kit.run("systemctl", "reload", MONITOR)
        time.sleep(REST_S)
        yield _cpu_at_rest(pid, "CPU at rest, after systemctl reload")


def _start(names: list[str]) -> None:
    for first in range(0, len(names), 100):
        kit.run("systemctl", "start", *names[first : first + 100])


def _seconds_to_ready() -> float:
    begun_s = time.monotonic()
    with monitored():
        return time.monotonic() - begun_s


def _cpu_at_rest(pid: int, what: str) -> Row:
    slept, used_s = waits(pid), cpu_s(pid)
    time.sleep(REST_S)
    share = (cpu_s(pid) - used_s) / REST_S
    return Row(
        what, f"{share:.2%}", f"of one processor, {REST_S:g} s, {waits(pid) - slept} wake-ups; {EMULATED}"
    )


def _at_rest(pid: int) -> list[Row]:
    faults = kit.faults_of(pid)
    cpu = _cpu_at_rest(pid, "CPU at rest")
    faulted = sum(kit.faults_of(pid)) - sum(faults)
    with Trace(pid, ("sendmsg",)) as trace:
        time.sleep(REST_S)
    calls = trace.calls["sendmsg"]
    return [
        cpu,
        Row("page faults at rest", f"{faulted}", f"/proc/PID/stat, {REST_S:g} s"),
        held_against("D-Bus calls at rest", f"{calls}", f"sendmsg(2) in {REST_S:g} s", calls, 0, "none"),
    ]


def _list() -> Row:
    """What it takes to look at all of them."""
    took, bare = (Spread(tuple(_cpu_s_of(command) for _ in range(STARTS))) for command in (LIST, BARE))
    lines = len(kit.run(*LIST).splitlines())
    how = (
        f"CPU of {lines} lines, medians of {STARTS}: {took.median:.2f} s and {bare.median:.2f} s; {EMULATED}"
    )
    return Row("`memmonctl list`, in starts of `python3 -c pass`", f"{took.median / bare.median:.1f}", how)


def _cpu_s_of(command: Sequence[str]) -> float:
    """CPU time of a program, in it and in the kernel."""
    before = os.times()
    kit.run(*command)
    after = os.times()
    return (after.children_user + after.children_system) - (before.children_user + before.children_system)


def _new_units() -> Row:
    took_ms = []
    for number in range(NEW):
        unit = f"configured@new-{number}.service"
        kit.run("systemctl", "start", unit)
        said_us = kit.eventually(partial(_said, unit, "ok: "), f"{unit} is measured")[0]
        took_ms.append((said_us - int(kit.property_of(unit, "ActiveEnterTimestampMonotonic"))) / 1000)
    how = f"from active to its first line, {NEW} times; {EMULATED}"
    return Row("a new unit is measured after", Spread(tuple(took_ms)).text(" ms", 0), how)


def _reload(pid: int) -> Row:
    write_units(110)
    begun_us = time.monotonic_ns() // 1000
    used_s = cpu_s(pid)

    count = CONFIGURED + NEW

    def all_said() -> list[int]:
        entries = [entry for entry in kit.journal(f"_PID={pid}") if CHANGED in str(entry["MESSAGE"])]
        times = [int(entry["__MONOTONIC_TIMESTAMP"]) for entry in entries]
        return times if len(times) >= count else []

    last_us = max(kit.eventually(all_said, f"{count} units have new settings", LONG_S))
    how = f"systemctl daemon-reload has returned, to the last of {count} lines; {EMULATED}"
    used = f"{cpu_s(pid) - used_s:.1f} s of CPU"
    return Row("changed settings are in force after", f"{(last_us - begun_us) / 1e6:.1f} s, {used}", how)


def _said(unit: str, words: str) -> list[int]:
    """When it was said of a unit, in microseconds of the monotonic clock."""
    entries = kit.journal(f"--unit={MONITOR}", f"MEMORY_MONITOR_UNIT={unit}")
    return [int(entry["__MONOTONIC_TIMESTAMP"]) for entry in entries if words in str(entry["MESSAGE"])]


def _how() -> str:
    version = Path("/etc/debian_version").read_text().strip()
    return f"the shipped unit, Debian {version}, Python {sys.version.split()[0]}; smaps_rollup"


if __name__ == "__main__":
    say_rows(chain(few(), full()))
