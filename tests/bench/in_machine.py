"""The part of the bench that runs in the test machine, by a real systemd: prints a row of the table per line.

    python3 -m tests.bench.in_machine PROGRAMS      the directory with wake and leak, compiled

vm.py ships it there and reads what it prints. The processor is emulated: times are about ten times too long.
"""

import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import kit

from tests.bench.gauging import (
    Footprint,
    Spread,
    cpu_us_per_wake,
    footprint,
    megabytes,
    ratios,
    system_calls_per_wake,
)
from tests.bench.table import Row, held_against, say_rows

INTERVAL_S: Final = 0.1
WINDOWS: Final = 5
WINDOW_S: Final = 4.0
WAKES: Final = 40
STARTS: Final = 5
LEAKS: Final = ((10, 60, 6), (50, 160, 6))
"""MB/s, MiB, runs."""
SIGNALS: Final = 4
EMULATED: Final = "emulated"


def main() -> None:
    programs = Path(sys.argv[1])
    wake, leak = str(programs / "wake"), str(programs / "leak")
    say_rows(looks(wake))
    say_rows(starts())
    say_rows(reaction(leak))
    say_rows(signals(leak))


@contextmanager
def units(count: int, wake: str) -> Iterator[None]:
    """So many units count@N.service, each a program that only sleeps."""
    template = f"bench{count}@"
    kit.write_unit(f"{template}.service", f"[Service]\nExecStart={wake} 1000000000\n")
    names = [f"{template}{number}.service" for number in range(count)]
    kit.run("systemctl", "start", *names)
    try:
        yield
    finally:
        kit.run("systemctl", "stop", *names)


def looks(wake: str) -> list[Row]:
    """Memory, CPU beside a program that only sleeps, system calls and faults, for 1 to 100 real units."""
    rows: list[Row] = []
    prints: dict[int, Footprint] = {}
    for count in (1, 10, 100):
        options = ("-m", "100", "-i", f"{INTERVAL_S:g}", f"bench{count}@*.service")
        with units(count, wake), kit.MonitorUnit("bench-monitor.service", *options) as monitor:
            pid = monitor.pid
            with subprocess.Popen((wake, f"{INTERVAL_S * 1000:.0f}")) as sleeper:
                faults = kit.faults_of(pid)
                look, sleep = cpu_us_per_wake((pid, sleeper.pid), WINDOWS, WINDOW_S)
                faulted = [b - a for a, b in zip(faults, kit.faults_of(pid), strict=True)]
                sleeper.kill()
            prints[count] = footprint(pid)
            calls = system_calls_per_wake(pid, WAKES)
        rows += _of_looks(count, look, sleep, calls, faulted)
    return [*_of_memory(prints), *rows]


def _of_looks(
    count: int, look: Spread, sleep: Spread, calls: dict[str, float], faulted: list[int]
) -> list[Row]:
    what = f"{count} unit{'s' if count > 1 else ''}"
    each = ", ".join(f"{name} {number:.2f}" for name, number in sorted(calls.items()))
    value, total, ratio = f"{sum(calls.values()):.2f} ({each})", sum(calls.values()), ratios(look, sleep)
    strace = f"strace, {WAKES} wake-ups"
    rows = [
        Row(f"page faults of {WINDOWS * WINDOW_S:g} s of looks, {what}", f"{sum(faulted)}", "/proc/PID/stat"),
        Row(
            f"CPU of a wake-up to a C program's that only sleeps, {what}",
            ratio.text(),
            f"every {INTERVAL_S * 1000:g} ms, {WINDOWS} windows of {WINDOW_S:g} s; {EMULATED}",
        ),
    ]
    if count == 1:
        return [
            held_against("system calls per look, 1 unit", value, strace, total, 4, "≤ 4"),
            *rows,
        ]
    return [Row(f"system calls per wake-up, {what}", value, strace), *rows]


def _of_memory(prints: dict[int, Footprint]) -> list[Row]:
    one, most = prints[1], max(prints)
    per_unit_bytes = (prints[most].rss - one.rss) * 1024 / (most - 1)
    how = f"memory-monitor of the package, Python {sys.version.split()[0]}; smaps_rollup"
    return [
        held_against("RSS, one unit", megabytes(one.rss), how, one.rss, 16 * 1024, "≤ 16 MB"),
        Row("PSS, one unit", megabytes(one.pss), "shared pages divided by those who share them"),
        Row("anonymous, one unit", megabytes(one.anonymous), "what no other process shares"),
        held_against(
            "not locked, one unit",
            f"{one.pss - one.locked} kB",
            "Pss less Locked; the vdso can't be locked",
            one.pss - one.locked,
            8,
            "all locked",
        ),
        held_against(
            "each further unit",
            f"{per_unit_bytes:.0f} bytes",
            f"RSS with {most} units less that with 1",
            per_unit_bytes,
            2048,
            "≤ 2 KB",
        ),
    ]


def starts() -> list[Row]:
    """Start to READY as a multiple of an interpreter's start."""
    with kit.Service("started.service"):
        ready = Spread(tuple(_seconds_to_ready() for _ in range(STARTS)))
    bare = Spread(tuple(seconds_of_bare_python() for _ in range(STARTS)))
    return [
        Row(
            "start to READY, one unit, in starts of `python3 -c pass`",
            f"{ready.median / bare.median:.1f}",
            f"medians of {STARTS}: {ready.median * 1000:.0f} and {bare.median * 1000:.0f} ms; {EMULATED}",
        )
    ]


def _seconds_to_ready() -> float:
    begun_s = time.monotonic()
    with kit.Monitor("-m", "100", "started.service"):
        return time.monotonic() - begun_s


def seconds_of_bare_python() -> float:
    """From the start of an interpreter to its end, with nothing to do."""
    begun_s = time.monotonic()
    subprocess.run(("python3", "-c", "pass"), check=True)
    return time.monotonic() - begun_s


@contextmanager
def leaking(leak: str, base_mib: int, limit_mib: int, mb_per_s: int) -> Iterator[subprocess.Popen[str]]:
    """leak.c as benchleak.service, which hasn't been told to begin."""
    cgroup = kit.CGROUPS / "system.slice/benchleak.service"
    program = (leak, "mmbench-leak", str(base_mib), str(limit_mib), str(mb_per_s), str(cgroup))
    systemd_run = ("systemd-run", "--quiet", "--collect", "--pipe", "--wait", "--unit=benchleak.service")
    command = (*systemd_run, *program)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            if said != "ready\n":
                raise RuntimeError(f"the leak said {said!r}")
            yield process
        finally:
            subprocess.run(("systemctl", "stop", "benchleak.service"), check=False, capture_output=True)


def signalled(process: subprocess.Popen[str], after_ms: float) -> tuple[float, int, float]:
    """Tells the leak to begin; milliseconds from crossing to signal, bytes above, time of day in s."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{after_ms:.0f}\n")
    process.stdin.flush()
    words = process.stdout.readline().split()
    if len(words) != 5:
        raise RuntimeError(f"the leak ended with {words}")
    return float(words[1]), int(words[2]), float(words[3])


def reaction(leak: str) -> list[Row]:
    """From crossing to signal, by KillUnit, for leaks that --growth covers."""
    rows = []
    for mb_per_s, limit_mib, runs in LEAKS:
        late, over = [], []
        for _ in range(runs):
            base_mib = max(4, limit_mib - int(mb_per_s * 1.5 / 1.048576))
            options = ("-m", str(limit_mib), "-i", "2", "benchleak.service")
            with leaking(leak, base_mib, limit_mib, mb_per_s) as process, kit.Monitor(*options):
                late_ms, over_bytes, _ = signalled(process, random.uniform(0, 2000))
                late.append(late_ms)
                over.append(over_bytes / mb_per_s / 1e3)
        what = f"{mb_per_s} MB/s, one unit"
        how = f"{runs} runs at random phase, -i 2 -m {limit_mib}, KillUnit; {EMULATED}"
        rows += [
            Row(f"from crossing to signal, {what}", Spread(tuple(late)).text(" ms"), how),
            Row(f"overshoot, {what}", Spread(tuple(over)).text(" ms") + " of leak", "the same runs"),
        ]
    return rows


def signals(leak: str) -> list[Row]:
    """By each way, how long the signal takes once a wake-up has seen that it is due."""
    by_unit, by_process = ("benchleak.service",), ("--as", "process", "mmbench-leak")
    ways = (("KillUnit", by_unit), ("direct (a process by its pidfd)", by_process))
    rows = []
    for what, name in ways:
        took = Spread(tuple(_from_wake_up_s(leak, name) * 1000 for _ in range(SIGNALS)))
        how = f"{SIGNALS} times: the last poll(2) by strace --seccomp-bpf, the arrival by its target"
        rows.append(Row(f"from wake-up to signal, {what}", took.text(" ms"), f"{how}; {EMULATED}"))
    silent = Spread(tuple(_bus_silent_ms(leak) for _ in range(SIGNALS)))
    how = f"{SIGNALS} times, -i 0.5: at most that, and the deadline of 1 s; {EMULATED}"
    return [*rows, Row("from crossing to signal, direct, the bus silent", silent.text(" ms"), how)]


def _from_wake_up_s(leak: str, name: tuple[str, ...]) -> float:
    trace = kit.WORK / "trace"
    trace.unlink(missing_ok=True)
    strace = ("strace", "-f", "--seccomp-bpf", "-qq", "-ttt", "-T", "-e", "trace=poll", "-o", str(trace))
    with leaking(leak, 4, 60, 0) as process:
        monitor = subprocess.Popen((*strace, "memory-monitor", "-m", "60", "-i", "0.5", *name))
        try:
            kit.eventually(lambda: trace.exists() and trace.read_text().count("poll(") > 3, "it looks")
            _, _, arrived_s = signalled(process, random.uniform(0, 500))
        finally:
            subprocess.run(("pkill", "-TERM", "-P", str(monitor.pid)), check=True)
            monitor.wait()
    return arrived_s - last_wake_up_s(trace.read_text(), arrived_s)


def _bus_silent_ms(leak: str) -> float:
    options = ("-m", "60", "-i", "0.5", "benchleak.service")
    with leaking(leak, 4, 60, 0) as process, kit.Monitor(*options), kit.silent_bus():
        return signalled(process, random.uniform(0, 500))[0]


def last_wake_up_s(trace: str, before_s: float) -> float:
    """When the last poll(2) ended before that time."""
    found = re.findall(r"^\d+ +(\d+\.\d+) poll\(.*<(\d+\.\d+)>$", trace, re.MULTILINE)
    ends = [float(began) + float(took) for began, took in found]
    return max(end for end in ends if end < before_s)


if __name__ == "__main__":
    main()
