"""What a running process costs, from the kernel's own accounts."""

import re
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.audit.counting import Trace
from tests.process.waiting import eventually


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def text(self, unit: str = "", digits: int = 1) -> str:
        """The median, the least and the greatest: "1.5 ms (1.2 to 3.0)"."""
        median, low, high = (f"{v:.{digits}f}" for v in (self.median, min(self.values), max(self.values)))
        return f"{median}{unit}" if low == high else f"{median}{unit} ({low} to {high})"


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory of a process in kB (smaps_rollup, proc(5)), and of all it locked (VmLck)."""

    rss: int
    pss: int
    anonymous: int
    mapped_locked: int
    """VmLck: the mappings that are locked, touched or not."""
    locked: int
    """Locked: what of the RSS is locked, shared pages divided like PSS."""


def footprint(pid: int) -> Footprint:
    """The memory of this moment; what can't be moved or read is an error."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    status = Path(f"/proc/{pid}/status").read_text()
    rss, pss, anonymous, locked = (_kb(rollup, key) for key in ("Rss", "Pss", "Anonymous", "Locked"))
    return Footprint(rss, pss, anonymous, _kb(status, "VmLck"), locked)


def cpu_s(pid: int) -> float:
    """CPU time of a process with one thread (schedstat; sched-stats.rst of the kernel)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def waits(pid: int) -> int:
    """How often it went to sleep by itself: once a wake-up."""
    return _number(Path(f"/proc/{pid}/status").read_text(), r"^voluntary_ctxt_switches:\s+(\d+)$")


def cpu_us_per_wake(pids: Iterable[int], windows: int, window_s: float) -> list[Spread]:
    """CPU microseconds of each process from one wait to the next, side by side in several windows."""
    every = tuple(pids)
    rounds = [_one_window(every, window_s) for _ in range(windows)]
    return [Spread(values) for values in zip(*rounds, strict=True)]


def _one_window(pids: tuple[int, ...], window_s: float) -> list[float]:
    begun = {pid: (waits(pid), cpu_s(pid)) for pid in pids}
    time.sleep(window_s)
    ended = {pid: (waits(pid), cpu_s(pid)) for pid in pids}
    idle = [pid for pid in pids if ended[pid][0] == begun[pid][0]]
    if idle:
        raise RuntimeError(f"process {idle[0]} did not wake within {window_s} s")
    return [(ended[pid][1] - begun[pid][1]) / (ended[pid][0] - begun[pid][0]) * 1e6 for pid in pids]


def ratios(these: Spread, those: Spread) -> Spread:
    """Window by window: what disturbed one disturbed the other."""
    return Spread(tuple(a / b for a, b in zip(these.values, those.values, strict=True)))


def system_calls_per_wake(pid: int, wakes: int) -> dict[str, float]:
    """Each system call of a process per poll, by strace."""
    with Trace(pid, ("all",)) as trace:
        eventually(lambda: trace.calls["poll"] >= wakes, 120.0, f"{wakes} wake-ups of {pid}")
    # The poll that strace attached in shows as restart_syscall.
    calls = {name: count for name, count in trace.calls.items() if name != "restart_syscall"}
    return {name: count / calls["poll"] for name, count in calls.items()}


def megabytes(kb: int) -> str:
    """As a row shows it."""
    return f"{kb / 1024:.1f} MB ({kb:,} kB)"


def _kb(text: str, key: str) -> int:
    return _number(text, rf"^{key}:\s+(\d+) kB$")


def _number(text: str, pattern: str) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the kernel doesn't say {pattern}:\n{text}")
    return int(found[1])
