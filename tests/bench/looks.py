"""What a look costs: CPU per wake-up beside programs that only sleep, and system calls."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.bench.gauging import Spread, cpu_s, cpu_us_per_wake, ratios, system_calls_per_wake, waits
from tests.bench.subjects import (
    ONLY_WAKES,
    READS_EVERY_NAME,
    monitor,
    monitor_of_units,
    running,
)
from tests.bench.table import Row, held_against
from tests.process.leaker import Crowd, Leaker
from tests.process.namespace import PidNamespace

WARM_S: Final = 0.01
DEFAULT_S: Final = 2.0
WINDOWS: Final = 5
UNIT_COUNTS: Final = (1, 10, 100, 1000)
PROCESS_COUNTS: Final = (100, 1000, 5000)
NEW_PER_S: Final = 100
STEP_S: Final = 0.1
CHURN_LOOKS: Final = 10
TRACED_WAKES: Final = 100
NAME: Final = "mmbench"

MOST_RATIO: Final = 2.5
MOST_LOOK_US: Final = 10.0
MOST_PER_UNIT_US: Final = 2.0
MOST_CALLS: Final = 4.0
LEAST_SCAN_RATIO: Final = 100.0


def unit_rows(directory: Path, wake: Path) -> list[Row]:
    """CPU and system calls for 1 to 1,000 units on plain files; `wake` is the compiled wake.c."""
    found: list[Row] = []
    looks_us: dict[int, float] = {}
    for count in UNIT_COUNTS:
        found += _units_at(directory, wake, count, WARM_S, looks_us)
    most = UNIT_COUNTS[-1]
    per_unit_us = (looks_us[most] - looks_us[1]) / (most - 1)
    found.append(
        held_against(
            "each further unit",
            f"{per_unit_us:.2f} µs",
            f"wake-up with {most} less that with 1, over {most - 1}",
            per_unit_us,
            MOST_PER_UNIT_US,
            "≤ 2 µs",
        )
    )
    return found + _units_at(directory, wake, 1, DEFAULT_S, {})


def _units_at(
    directory: Path, wake: Path, count: int, interval_s: float, looks_us: dict[int, float]
) -> list[Row]:
    """One count at one interval: a wake-up, its ratio to those who only sleep, and its system calls."""
    window_s = max(2.0, 6 * interval_s)
    with ExitStack() as stack:
        process = stack.enter_context(monitor_of_units(directory, count, interval_s))
        sleeper = stack.enter_context(running(str(wake), f"{interval_s * 1000:.0f}"))
        look, sleep = cpu_us_per_wake((process.pid, sleeper), WINDOWS, window_s)
        calls = system_calls_per_wake(process.pid, TRACED_WAKES) if interval_s == WARM_S else {}
    looks_us[count] = look.median
    when = f"every {interval_s * 1000:g} ms" if interval_s < 1 else f"every {interval_s:g} s (the default)"
    what = f"{count:,} unit{'s' if count > 1 else ''}, {when}"
    how = f"schedstat, {WINDOWS} windows of {window_s:g} s; median (least to greatest)"
    rows = [Row(f"CPU of a wake-up, {what}", look.text(" µs"), how)]
    if count == 1:
        rows += _beside_sleepers(what, look, sleep, _bare_python(wake, interval_s, window_s))
    if calls:
        each = ", ".join(f"{name} {number:.2f}" for name, number in sorted(calls.items()))
        total = sum(calls.values())
        value = f"{total:.2f} ({each})"
        if count == 1:
            rows.append(
                held_against(
                    f"system calls per look, {what}",
                    value,
                    f"strace, {TRACED_WAKES} wake-ups",
                    total,
                    MOST_CALLS,
                    "≤ 4",
                )
            )
        else:
            rows.append(Row(f"system calls per wake-up, {what}", value, f"strace, {TRACED_WAKES} wake-ups"))
    return rows


def _bare_python(wake: Path, interval_s: float, window_s: float) -> tuple[Spread, Spread]:
    """A Python program that only polls, and wake.c beside it; not beside the monitor, which would warm it."""
    with (
        running(sys.executable, "-IS", "-c", ONLY_WAKES, f"{interval_s * 1000:g}") as python,
        running(str(wake), f"{interval_s * 1000:.0f}") as sleeper,
    ):
        time.sleep(1.0)  # Both have started.
        first, second = cpu_us_per_wake((python, sleeper), WINDOWS, window_s)
        return first, second


def _beside_sleepers(what: str, look: Spread, sleep: Spread, bare: tuple[Spread, Spread]) -> list[Row]:
    to_c, python_to_c = ratios(look, sleep), ratios(*bare)
    alone_us = look.median - bare[0].median
    return [
        Row(f"CPU of a C program's wake-up that only sleeps, {what}", sleep.text(" µs"), "wake.c beside it"),
        held_against(
            f"ratio of the two, {what}",
            to_c.text(),
            "window by window",
            to_c.median,
            MOST_RATIO,
            "≤ 2.5",
        ),
        Row(
            f"the same ratio of a Python program that only polls, {what}",
            f"{python_to_c.text()}: {bare[0].text(' µs')}",
            "`while True: poll.poll(…)`, with wake.c beside it",
        ),
        held_against(
            f"the look alone, {what}",
            f"{alone_us:.1f} µs",
            "the monitor's wake-up less that of the Python program",
            alone_us,
            MOST_LOOK_US,
            "≤ 10 µs",
        ),
    ]


def prefix_rows(directory: Path, program: Path, wake: Path) -> list[Row]:
    """CPU for a prefix among 100 to 5,000 processes, quiet and not; `program` is leaker.c."""
    found: list[Row] = []
    for count in PROCESS_COUNTS:
        inside = directory / f"among-{count}"
        inside.mkdir()
        with PidNamespace(program, inside) as namespace:
            crowd = Crowd.start(program, inside, "bystander", count, namespace=namespace)
            leaker = Leaker.start(program, inside, NAME, namespace=namespace)
            try:
                found += _among(inside, count, namespace, crowd, wake)
            finally:
                leaker.kill()
                crowd.kill()
    return found


def _among(inside: Path, count: int, namespace: PidNamespace, crowd: Crowd, wake: Path) -> list[Row]:
    scan = _scan_us(namespace)
    what = f"{count:,} processes"
    with (
        monitor(inside, "-m", "100", "-i", str(STEP_S), NAME, namespace=namespace) as quiet,
        running(str(wake), f"{STEP_S * 1000:.0f}") as sleeper,
    ):
        time.sleep(12.0)  # Nobody is young any more: it was looked for whether they rename themselves.
        wakes_before, begun_s = waits(quiet.pid), time.monotonic()
        wake_up, sleep = cpu_us_per_wake((quiet.pid, sleeper), WINDOWS, 4.0)
        per_interval = (waits(quiet.pid) - wakes_before) * STEP_S / (time.monotonic() - begun_s)
        look_us = wake_up.median * per_interval
        calls = system_calls_per_wake(quiet.pid, TRACED_WAKES)
    each = ", ".join(f"{name} {number:.2f}" for name, number in sorted(calls.items()))
    ratio = scan.median / look_us
    bar = LEAST_SCAN_RATIO if count == PROCESS_COUNTS[-1] else None
    against = f"1/{ratio:.0f} ({scan.text(' µs', 0)})"
    how = f"a program that reads the name of each process every {STEP_S} s; each with its wake-ups"
    rows = [
        Row(
            f"CPU of a quiet look, {what}",
            f"{look_us:.0f} µs: {per_interval:.2f} wake-ups of {wake_up.text(' µs')}",
            f"the installed command, -i {STEP_S}, in a PID namespace; beside it wake.c: {sleep.text(' µs')}",
        ),
        Row(
            f"system calls per quiet wake-up, {what}",
            f"{sum(calls.values()):.2f} ({each})",
            f"strace, {TRACED_WAKES} wake-ups",
        ),
        Row(f"a quiet look against a full scan, {what}", against, how)
        if bar is None
        else held_against(
            f"a quiet look against a full scan, {what}", against, how, 1 / ratio, 1 / bar, "≤ 1/100"
        ),
    ]
    return [*rows, _churned(inside, what, namespace, crowd)]


def _scan_us(namespace: PidNamespace) -> Spread:
    """The wake-ups of a program that scans; not beside the monitor, whose caches it would empty."""
    command = (sys.executable, "-c", READS_EVERY_NAME, f"{STEP_S * 1000:g}")
    with running(*command, namespace=namespace) as scanner:
        time.sleep(1.0)  # It has started.
        (scan,) = cpu_us_per_wake((scanner,), WINDOWS, 4.0)
        return scan


def _churned(inside: Path, what: str, namespace: PidNamespace, crowd: Crowd) -> Row:
    """At the default interval, with 100 processes a second that come and go."""
    with (
        monitor(inside, "-m", "100", "-i", f"{DEFAULT_S:g}", NAME, namespace=namespace) as process,
        _coming_and_going(crowd),
    ):
        time.sleep(12.0)  # As many are young as ever will be.
        cpu, wakes, born = cpu_s(process.pid), waits(process.pid), len(crowd.pids)
        begun_s = time.monotonic()
        time.sleep(CHURN_LOOKS * DEFAULT_S)
        used_us, woken = (cpu_s(process.pid) - cpu) * 1e6, waits(process.pid) - wakes
        new_per_s = (len(crowd.pids) - born) / (time.monotonic() - begun_s)
    return Row(
        f"CPU of a look, {what}, {NEW_PER_S} new a second",
        f"{used_us / CHURN_LOOKS:.0f} µs in {woken / CHURN_LOOKS:.1f} wake-ups"
        f" ({used_us / CHURN_LOOKS / DEFAULT_S / 1e4:.3f}% of a CPU)",
        f"-i {DEFAULT_S:g}; per interval, over {CHURN_LOOKS} of them; {new_per_s:.0f} new a second came",
    )


@contextmanager
def _coming_and_going(crowd: Crowd) -> Iterator[None]:
    stop = threading.Event()
    step = int(NEW_PER_S * STEP_S)

    def churn() -> None:
        due_s = time.monotonic()
        while not stop.is_set():
            crowd.add(step)
            crowd.end(step)
            due_s += STEP_S
            stop.wait(max(0.0, due_s - time.monotonic()))

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
