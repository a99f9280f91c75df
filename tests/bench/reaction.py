"""In time: how long after the limit is passed the signal comes, and how far above it a leak is by then.

The machine itself may stand still: a virtual one whose host is busy, or gives it memory only when it is
touched. So on each processor a program that only sleeps (late.c) bears witness. A run around whose crossing
one of these was woken 10 ms late or more says nothing of the monitor; such runs are counted and shown, and
not held against the bar.
"""

import os
import random
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.gauging import Spread
from tests.bench.subjects import COMMAND, FIRST_IN_LINE, monitor
from tests.bench.table import Row, held_against

INTERVAL_S: Final = 2.0
MOST_OVERSHOOT_MS: Final = 60.0
NAME: Final = "mmbench-leak"
BEFORE_S: Final = 0.1
"""So near to the limit the waits are the shortest: what disturbed an earlier one has been made good."""


@dataclass(frozen=True, slots=True)
class Leak:
    """How fast, to which limit, how often; and --growth, where it isn't the limit in an interval."""

    mb_per_s: int
    limit_mib: int
    runs: int
    growth: str = ""
    within_growth: bool = True


LEAKS: Final = (
    Leak(10, 60, 30),
    Leak(100, 300, 30),
    Leak(500, 400, 30, growth="500M"),
    Leak(1000, 600, 10, growth="1G"),
    Leak(1000, 600, 10, within_growth=False),
)


@dataclass(frozen=True, slots=True)
class Caught:
    """What one run came to."""

    late_ms: float
    """From crossing to signal."""
    over_bytes: int
    witness_ms: float
    """How late a program that only sleeps was woken meanwhile, if 10 ms or more."""


def rows(directory: Path, leak: Path, late: Path) -> list[Row]:
    """The section, by the compiled leak.c and late.c."""
    found: list[Row] = []
    with witnesses(late, directory) as logs:
        for case in LEAKS:
            print(f"bench: {case.runs} leaks of {case.mb_per_s} MB/s", flush=True)
            found += _rows_of(case, [_run(directory, leak, case, logs) for _ in range(case.runs)])
    return found


def _rows_of(case: Leak, caught: list[Caught]) -> list[Row]:
    fair = [run for run in caught if not run.witness_ms]
    if not fair:
        raise RuntimeError("this machine stood still in every run: the bench needs a quieter one")
    late = Spread(tuple(run.late_ms for run in fair))
    overshoot = Spread(tuple(run.over_bytes / case.mb_per_s / 1e3 for run in fair))
    megabytes = Spread(tuple(run.over_bytes / 1e6 for run in fair))
    what = f"{case.mb_per_s:,} MB/s"
    how = (
        f"{len(fair)} of {case.runs} runs at random phase, -i 2 -m {case.limit_mib}"
        f"{case.growth and f' --growth {case.growth}'}; nice -20; median (least to greatest)"
    )
    at = f"overshoot, {what}" if case.within_growth else f"overshoot, {what}, four times --growth"
    value = f"{overshoot.text(' ms')} of leak, {megabytes.text(' MB')}"
    rows = [Row(f"from crossing to signal, {what}", late.text(" ms"), how)]
    if case.within_growth:
        worst_ms = max(overshoot.values)
        rows += [held_against(at, value, "the same runs", worst_ms, MOST_OVERSHOOT_MS, "each ≤ 60 ms")]
    else:
        rows += [Row(at, value, "the same runs")]
    return rows + _of_disturbed(what, [run for run in caught if run.witness_ms])


def _of_disturbed(what: str, disturbed: list[Caught]) -> list[Row]:
    if not disturbed:
        return []
    each = ", ".join(f"{run.late_ms:.0f} ({run.witness_ms:.0f})" for run in disturbed)
    how = "from crossing to signal, and in brackets how late a program that only sleeps was woken meanwhile"
    return [Row(f"{len(disturbed)} runs in which the machine stood still, {what}", f"{each} ms", how)]


def _run(directory: Path, leak: Path, case: Leak, logs: list[Path]) -> Caught:
    """One leak, from a random time after the monitor is ready, from a second below the limit."""
    base_mib = max(4, case.limit_mib - int(case.mb_per_s / 1.048576))
    command = (*FIRST_IN_LINE, str(leak), NAME, str(base_mib), str(case.limit_mib), str(case.mb_per_s))
    options = ["-m", str(case.limit_mib), "-i", f"{INTERVAL_S:g}"]
    options += ["--growth", case.growth] if case.growth else []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _expect(process.stdout, "ready")
            with monitor(directory, *options, NAME, command=(*FIRST_IN_LINE, *COMMAND)):
                process.stdin.write(f"{random.uniform(0, INTERVAL_S * 1000):.0f}\n")
                _, late_ms, over_bytes, wall_s, _ = _expect(process.stdout, "signalled")
        finally:
            process.kill()
    crossed_s = float(wall_s) - float(late_ms) / 1e3
    witness_ms = latest_ms(logs, crossed_s - BEFORE_S, float(wall_s))
    return Caught(float(late_ms), int(over_bytes), witness_ms)


def _expect(lines: Iterable[str], word: str) -> list[str]:
    for line in lines:
        words = line.split()
        if words and words[0] == word:
            return words
    raise RuntimeError(f"the leak ended before it said {word!r}")


@contextmanager
def witnesses(late: Path, directory: Path) -> Iterator[list[Path]]:
    """late.c on each processor; the files that they write to."""
    logs = []
    with ExitStack() as stack:
        for cpu in sorted(os.sched_getaffinity(0)):
            logs.append(directory / f"late-{cpu}")
            file = stack.enter_context(logs[-1].open("wb"))
            witness = subprocess.Popen((*FIRST_IN_LINE, str(late), str(cpu)), stdout=file)
            stack.callback(witness.wait)
            stack.callback(witness.kill)
        yield logs


def latest_ms(logs: list[Path], from_s: float, to_s: float) -> float:
    """How late a witness was at most between two times of day, one that overlaps them included; 0 if none."""
    lines = (line.split() for log in logs for line in log.read_text().splitlines())
    found = ((float(words[0]), float(words[1])) for words in lines if len(words) == 2)
    return max((ms for at_s, ms in found if at_s >= from_s and at_s - ms / 1e3 <= to_s), default=0.0)
