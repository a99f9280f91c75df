"""While no process is new, a look at a prefix reads two small files that are open already."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.audit.counting import Trace
from tests.process.kit import MINE, MonitorProcess
from tests.process.leaker import Crowd, Leaker
from tests.process.namespace import PidNamespace
from tests.process.waiting import eventually

DEADLINE_S = 60.0
NAME = f"{MINE}-quiet"
OTHERS = 5000
LOOKS = 200
MANY_LOOKS = 500
# What a look would cost that reads every name: CPU seconds of the best of five.
FULL_SCAN = """
import time
from memmon_systemd.linux import proc
def scan():
    begun = time.process_time()
    found = [pid for pid in proc.pids() if proc.read(f"/proc/{pid}/comm", 64).startswith(b"nobody")]
    return time.process_time() - begun
print("scan", min(scan() for _ in range(5)))
"""


# What it costs to wake up as often, and do nothing.
ONLY_WAKE = """
import select
poll = select.poll()
print("ready", flush=True)
while True:
    poll.poll(10)
"""


@pytest.fixture
def start_quiet(
    namespace: PidNamespace,
    start_crowd: Callable[..., Crowd],
    start_leaker: Callable[..., Leaker],
    start_monitor: Callable[..., MonitorProcess],
) -> Callable[[], MonitorProcess]:
    """A monitor of one process among 5,000 others, where nobody else starts any."""
    start_crowd("bystander", OTHERS, namespace=namespace)
    start_leaker(NAME, namespace=namespace)

    def start() -> MonitorProcess:
        monitor = start_monitor("-m", "100", "-i", "0.01", NAME, namespace=namespace)
        monitor.wait_ready(DEADLINE_S)
        told = monitor.notify.values
        # The first look after READY tells the status anew.
        eventually(
            lambda: "polled every" in told("STATUS")[-1], DEADLINE_S, "the status", monitor.log.__str__
        )
        return monitor

    return start


def cpu_s(pid: int) -> float:
    """CPU time of a process with one thread (schedstat: sched-stats.rst of the kernel)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def waits(pid: int) -> int:
    """How often it has waited: once a look."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)$", status, re.MULTILINE)
    assert found is not None, f"no voluntary_ctxt_switches:\n{status}"
    return int(found[1])


def test_it_opens_no_file_and_reads_loadavg_and_each_target_once(
    start_quiet: Callable[[], MonitorProcess],
) -> None:
    monitor = start_quiet()
    with Trace(monitor.pid, ("all",)) as trace:
        eventually(lambda: trace.calls["poll"] >= LOOKS, DEADLINE_S, f"{LOOKS} looks")
    looks = trace.calls["poll"]
    # The poll that it was attached in shows as restart_syscall.
    assert set(trace.calls) <= {"poll", "pread64", "restart_syscall"}, trace.calls
    # On a busy machine the search and the look can fall into two wake-ups, with one read each.
    assert 1.8 * looks <= trace.calls["pread64"] <= 2 * looks + 2, trace.calls


def test_it_costs_a_small_part_of_reading_every_name(
    start_quiet: Callable[[], MonitorProcess],
    namespace: PidNamespace,
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    scan = start_monitor(command=(sys.executable, "-c", FULL_SCAN), namespace=namespace)
    full_scan_s = float(scan.wait_for_line("^scan ", DEADLINE_S).split()[1])
    assert scan.wait_for_end() == 0
    idler = start_monitor(command=(sys.executable, "-c", ONLY_WAKE), namespace=namespace)
    idler.wait_for_line("^ready$", DEADLINE_S)
    look_s, wake_s = cpu_s_per_wait(start_quiet().pid, idler.pid)
    print(
        f"\nCPU of a quiet look: {look_s * 1e6:.0f} us, of which a wake-up alone {wake_s * 1e6:.0f} us;"
        f" of reading all {OTHERS} names: {full_scan_s * 1e3:.1f} ms, {full_scan_s / look_s:.0f} times that"
    )
    assert look_s * 50 < full_scan_s


def cpu_s_per_wait(*pids: int) -> list[float]:
    """CPU seconds of each process from one wait to the next, over the same time."""
    begun = {pid: (waits(pid), cpu_s(pid)) for pid in pids}
    eventually(
        lambda: all(waits(pid) >= begun[pid][0] + MANY_LOOKS for pid in pids),
        DEADLINE_S,
        f"{MANY_LOOKS} looks",
    )
    return [(cpu_s(pid) - begun[pid][1]) / (waits(pid) - begun[pid][0]) for pid in pids]
