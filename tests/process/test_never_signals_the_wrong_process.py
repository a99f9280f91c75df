"""No signal goes to a process that took the PID of another, lost the name, or runs the monitor."""

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from memmon_systemd.linux.proc import read_stat
from memmon_systemd.processes.linux import LinuxProcess
from tests.process.kit import MINE, MonitorProcess
from tests.process.leaker import Leaker
from tests.process.namespace import PidNamespace, inner_pid
from tests.process.waiting import eventually

SOON_S = 15.0
NAME = f"{MINE}-process"
OVER = ("-m", "10", "-i", "0.05")
# With so few descriptors none is spared for holding a process: it is opened at each look.
LIMITS = pytest.mark.parametrize(
    "prefix", [(), ("prlimit", "--nofile=64:64", "--")], ids=["held open", "opened at each look"]
)


SKIPPED = "is skipped: it is memory-monitor or an ancestor of it"

# Holds a process whose PID then becomes another one's: both have the same name.
REUSE = """
import os, signal, time
from memmon_systemd.processes.linux import LinuxProcess

def birth():
    pid = os.fork()
    if pid == 0:
        while True:
            signal.pause()
    return pid

first = birth()
held = LinuxProcess(first)
name = held.name.encode()
time.sleep(0.02)  # A start time is told in units of 10 ms.
os.kill(first, signal.SIGKILL)
os.waitpid(first, 0)
with open("/proc/sys/kernel/ns_last_pid", "w") as file:
    file.write(str(first - 1))
heir = birth()
print("the same PID" if heir == first else "another PID", flush=True)
for ask, what in ((lambda: held.send(signal.SIGKILL), "sent"), (held.rss_bytes, "read")):
    try:
        ask()
        print(what, flush=True)
    except ProcessLookupError:
        print("not", what, flush=True)
print("it is the same" if held.is_still(name) else "it is another one", flush=True)
print("the heir lives" if os.waitpid(heir, os.WNOHANG) == (0, 0) else "the heir was ended", flush=True)
os.kill(heir, signal.SIGKILL)
"""


def is_stopped(pid: int) -> bool:
    return bool(re.search(r"^State:\s+T", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))


def pause(monitor: MonitorProcess) -> None:
    monitor.process.send_signal(signal.SIGSTOP)
    eventually(lambda: is_stopped(monitor.pid), SOON_S, "it is stopped")


def go_on(monitor: MonitorProcess) -> None:
    monitor.process.send_signal(signal.SIGCONT)


def holds_processes(monitor: MonitorProcess) -> bool:
    return any("/statm" in os.readlink(fd) for fd in Path(f"/proc/{monitor.pid}/fd").iterdir())


def about(monitor: MonitorProcess, pid: int) -> list[str]:
    """What the log says of a process."""
    return [line for line in monitor.lines if f"[{pid}]: " in line or f"process {pid} " in line]


def wait_for_looks_at(witness: Leaker, count: int) -> None:
    """Until a process that is over has been signalled so much more often: once a look."""
    witness.wait_for_signals("SIGTERM", witness.lines.count("SIGTERM") + count, SOON_S)


@LIMITS
def test_who_takes_the_pid_of_a_monitored_process_is_not_signalled(
    prefix: tuple[str, ...],
    namespace: PidNamespace,
    start_leaker: Callable[..., Leaker],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    witness = start_leaker(f"{NAME}-0", mib=20, ignore=True, namespace=namespace)
    monitored = start_leaker(NAME, namespace=namespace)
    pid = inner_pid(monitored.pid)
    monitor = start_monitor(*OVER, "-v", NAME, prefix=prefix, namespace=namespace)
    monitor.wait_ready()
    assert holds_processes(monitor) is (prefix == ())
    pause(monitor)
    monitored.kill()
    namespace.give_next(pid)
    heir = start_leaker("innocent", mib=20, ignore=True, namespace=namespace)
    assert inner_pid(heir.pid) == pid
    go_on(monitor)
    wait_for_looks_at(witness, 20)
    assert heir.lines == ["ready"]
    assert f"{NAME}[{pid}]: ended" in monitor.lines


@LIMITS
def test_who_takes_pid_and_name_is_another_process_with_its_own_measure(
    prefix: tuple[str, ...],
    namespace: PidNamespace,
    start_leaker: Callable[..., Leaker],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    monitored = start_leaker(NAME, mib=20, ignore=True, namespace=namespace)
    pid = inner_pid(monitored.pid)
    monitor = start_monitor(*OVER, "--for", "1h", NAME, prefix=prefix, namespace=namespace)
    monitor.wait_for_line(rf"^{NAME}\[{pid}\]: over: ", SOON_S)
    pause(monitor)
    monitored.kill()
    namespace.give_next(pid)
    heir = start_leaker(NAME, mib=20, ignore=True, namespace=namespace)
    assert inner_pid(heir.pid) == pid
    go_on(monitor)
    eventually(
        lambda: sum(f"{NAME}[{pid}]: over" in line for line in monitor.lines) == 2,
        SOON_S,
        "its own time runs",
        monitor.log.__str__,
    )
    assert f"{NAME}[{pid}]: ended" in monitor.lines
    assert heir.lines == ["ready"]


@LIMITS
def test_a_held_process_is_never_the_next_owner_of_its_pid(
    prefix: tuple[str, ...], namespace: PidNamespace, start_monitor: Callable[..., MonitorProcess]
) -> None:
    command = (sys.executable, "-c", REUSE)
    child = start_monitor(command=command, prefix=prefix, namespace=namespace)
    assert child.wait_for_end() == 0, child.log
    assert child.lines == ["the same PID", "not sent", "not read", "it is another one", "the heir lives"]


def test_one_that_lost_the_name_before_it_passed_the_threshold_is_left_alone(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    witness = start_leaker(f"{NAME}-0", mib=20, ignore=True)
    leaker = start_leaker(NAME)
    monitor = start_monitor(*OVER, "-v", NAME)
    monitor.wait_for_line(rf"^{NAME}\[{leaker.pid}\]: ok: ", SOON_S)
    leaker.rename("innocent")
    leaker.grow(20)
    monitor.wait_for_line(rf"^{NAME}\[{leaker.pid}\]: no longer monitored: ", SOON_S)
    wait_for_looks_at(witness, 10)
    assert leaker.lines == ["ready", "renamed", "grown"]


def test_it_never_signals_itself(
    namespace: PidNamespace,
    start_leaker: Callable[..., Leaker],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    own_name = Path(sys.executable).name[:15]
    witness = start_leaker(f"{own_name}-0"[-15:], mib=20, ignore=True, namespace=namespace)
    monitor = start_monitor("-m", "1", "-i", "0.05", own_name, namespace=namespace)
    monitor.wait_ready()
    pid = inner_pid(monitor.pid)
    wait_for_looks_at(witness, 20)
    monitor.stop()
    assert about(monitor, pid) == [f"warning: process {pid} {SKIPPED}"]


def test_it_never_signals_the_shell_that_runs_it(
    tmp_path: Path,
    namespace: PidNamespace,
    start_leaker: Callable[..., Leaker],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    for shell in (f"{MINE}-outer", f"{MINE}-inner"):
        (tmp_path / shell).write_text('#!/bin/sh\necho "$0 is $$"\n"$@"\nexit $?\n')
        (tmp_path / shell).chmod(0o755)
    witness = start_leaker(f"{MINE}-other", mib=20, ignore=True, namespace=namespace)
    shells = (os.fspath(tmp_path / f"{MINE}-outer"), os.fspath(tmp_path / f"{MINE}-inner"))
    monitor = start_monitor("-m", "1", "-i", "0.05", f"{MINE}-", prefix=shells, namespace=namespace)
    monitor.wait_ready()
    wait_for_looks_at(witness, 20)
    assert monitor.running, "the outer shell was ended"
    pids = [int(line.split()[-1]) for line in monitor.lines if re.search(rf"/{MINE}-\w+ is \d+$", line)]
    assert len(pids) == 2
    for pid in pids:
        assert about(monitor, pid) == [f"warning: process {pid} {SKIPPED}"]


def test_pid_1_is_never_signalled(
    namespace: PidNamespace,
    start_leaker: Callable[..., Leaker],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    # It isn't an ancestor here: the monitor's parent is outside of the namespace.
    witness = start_leaker("first-of-all", mib=20, ignore=True, namespace=namespace)
    monitor = start_monitor("-m", "0.0001%", "-i", "0.05", "first", namespace=namespace)
    monitor.wait_for_line("^warning: process 1 is skipped: ", SOON_S)
    wait_for_looks_at(witness, 10)
    assert not [line for line in monitor.lines if line.startswith("first[1]")]


def test_a_kernel_thread_is_no_process_to_be_signalled(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    witness = start_leaker("kworker-lookalike", mib=20, ignore=True)
    monitor = start_monitor("-m", "0.0001%", "-i", "0.05", "kworker", "kthreadd")
    wait_for_looks_at(witness, 10)
    monitor.stop()
    measured = {line.split(":")[0] for line in monitor.lines if re.match(r"k\w+.*\[\d+\]", line)}
    assert measured == {f"kworker-lookali[{witness.pid}]"}
    assert "kthreadd: waiting: there is no process of that name" in monitor.lines


def test_a_kernel_thread_cannot_be_held_as_a_target() -> None:
    threads = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_kernel_thread(pid)]
    for pid in threads[:5]:
        with pytest.raises(ProcessLookupError):
            LinuxProcess(pid)


def is_kernel_thread(pid: int) -> bool:
    try:
        return read_stat(pid).kernel_thread
    except OSError:
        return False
