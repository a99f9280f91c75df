"""In time: how long after the limit is passed the signal comes, and how far above it a leak is by then."""

import random
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.gauging import Spread
from tests.bench.subjects import COMMAND, FIRST_IN_LINE, monitor
from tests.bench.table import Row, held_against

INTERVAL_S: Final = 2.0
MOST_OVERSHOOT_MS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Leak:
    """How fast, to which limit, how often; with -i 2 the limit is what --growth is twice of."""

    mb_per_s: int
    limit_mib: int
    runs: int
    within_growth: bool = True


LEAKS: Final = (
    Leak(10, 60, 30),
    Leak(100, 300, 30),
    Leak(500, 1200, 30),
    Leak(1000, 2400, 10),
    Leak(1000, 500, 10, within_growth=False),
)


@dataclass(frozen=True, slots=True)
class Caught:
    """What one run came to: time from crossing to signal, and how much of the leak that was."""

    late_ms: float
    over_bytes: int
    lag_ms: float


def rows(directory: Path, leak: Path) -> list[Row]:
    """The section; `leak` is the compiled leak.c."""
    found: list[Row] = []
    for case in LEAKS:
        print(f"bench: {case.runs} leaks of {case.mb_per_s} MB/s", flush=True)
        found += _rows_of(case, [_run(directory, leak, case) for _ in range(case.runs)])
    return found


def _rows_of(case: Leak, caught: list[Caught]) -> list[Row]:
    late = Spread(tuple(run.late_ms for run in caught))
    over = Spread(tuple(run.over_bytes / 1e6 for run in caught))
    overshoot = Spread(tuple(run.over_bytes / case.mb_per_s / 1e3 for run in caught))
    growth_mb_s = case.limit_mib * 1.048576 / INTERVAL_S
    what = f"{case.mb_per_s:,} MB/s"
    how = (
        f"{case.runs} runs at random phase, -i 2 -m {case.limit_mib}, so --growth is {growth_mb_s:.0f} MB/s;"
        " nice -20; median (least to greatest)"
    )
    at = f"overshoot, {what}" if case.within_growth else f"overshoot, {what}, faster than --growth"
    value = f"{overshoot.text(' ms')} of leak, {over.text(' MB')}"
    rows = [Row(f"from crossing to signal, {what}", late.text(" ms"), how)]
    if not case.within_growth:
        return [*rows, Row(at, value, "the same runs")]
    worst_ms = max(overshoot.values)
    return [*rows, held_against(at, value, "the same runs", worst_ms, MOST_OVERSHOOT_MS, "each ≤ 60 ms")]


def _run(directory: Path, leak: Path, case: Leak) -> Caught:
    """One leak, from a random time after the monitor is ready, from far enough below the limit."""
    name = "mmbench-leak"
    # The memory to start from: it takes 1 s to the limit, and more for the slow ones, which start high.
    base_mib = max(4, case.limit_mib - int(case.mb_per_s / 1.048576))
    command = (*FIRST_IN_LINE, str(leak), name, str(base_mib), str(case.limit_mib), str(case.mb_per_s))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _expect(process.stdout, "ready")
            options = ("-m", str(case.limit_mib), "-i", f"{INTERVAL_S:g}")
            with monitor(directory, *options, name, command=(*FIRST_IN_LINE, *COMMAND)):
                process.stdin.write(f"{random.uniform(0, INTERVAL_S * 1000):.0f}\n")
                _, late_ms, over_bytes, _, lag_ms = _expect(process.stdout, "signalled")
        finally:
            process.kill()
    return Caught(float(late_ms), int(over_bytes), float(lag_ms))


def _expect(lines: Iterable[str], word: str) -> list[str]:
    for line in lines:
        words = line.split()
        if words and words[0] == word:
            return words
    raise RuntimeError(f"the leak ended before it said {word!r}")
