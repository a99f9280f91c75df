"""What a look costs in CPU time: run it with `.venv/bin/python tests/bench/looks.py` on a quiet machine.

A unit's gauge on plain files, which stand in for those of a cgroup, and a prefix's search for new processes
beside a full scan of every name, with as many as there are now.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from memmon_systemd import proc
from memmon_systemd.finder import Finder
from memmon_systemd.ladder import Ladder
from memmon_systemd.settings import Metric
from memmon_systemd.unitgauge import UnitGauge

ROUNDS = 5
LIMIT_BYTES = 500 << 20


def best_us(action: Callable[[], object], times: int) -> float:
    """The least CPU time of one call, in microseconds: whatever else runs can only add to it."""
    least = float("inf")
    for _ in range(ROUNDS):
        begin_s = time.process_time()
        for _ in range(times):
            action()
        least = min(least, (time.process_time() - begin_s) / times * 1e6)
    return least


def scan_every_name() -> int:
    """What a search without /proc/loadavg does at every look."""
    count = 0
    for pid in proc.pids():
        try:
            proc.read(f"/proc/{pid}/comm", 64)
        except OSError:
            continue
        count += 1
    return count


def main() -> None:
    """Print a line for each."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "memory.current").write_text("123456789\n")
        stat = "anon 1000\nfile 2000\ninactive_file 300\nactive_file 400\nslab_reclaimable 500\n"
        (directory / "memory.stat").write_text(stat)
        gauge = UnitGauge(directory, Metric.UNRECLAIMABLE, False, Ladder.climb(LIMIT_BYTES, 2.0, None))
        print(f"a unit far from its limit: {best_us(gauge.look, 20_000):.2f} us")
        print(f"a unit near it, memory.stat read: {best_us(gauge.look_closer, 5_000):.2f} us")
    finder = Finder(b"no-such-process", 2.0)
    finder.find(0.0)
    finder.find(0.0)
    quiet_us = best_us(lambda: finder.find(0.1), 2_000)
    print(f"a prefix, {scan_every_name()} processes, none new: {quiet_us:.2f} us")
    print(f"a scan of every name instead: {best_us(scan_every_name, 5):.0f} us")
    finder.close()
    print(f"on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
