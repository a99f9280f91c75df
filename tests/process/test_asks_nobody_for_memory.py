"""From READY on the kernel is asked for no memory, and no page is faulted in, whatever the targets do."""

import fcntl
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.audit.counting import Faults, Trace, faults
from tests.process.kit import MINE, WITHOUT_CAP_KILL, MonitorProcess
from tests.process.leaker import Crowd, Leaker
from tests.process.namespace import PidNamespace, inner_pid
from tests.process.stuck import Stuck
from tests.process.waiting import eventually

SOON_S = 30.0
NAME = f"{MINE}-calm"
OPTIONS = ("-m", "50", "-i", "0.02")
MEMORY_CALLS = ("mmap", "munmap", "mremap", "brk", "madvise")


@contextmanager
def nothing_asked(monitor: MonitorProcess) -> Iterator[None]:
    """Fails where the monitor asks the kernel for memory, or has a page fault, meanwhile."""
    with Trace(monitor.pid, MEMORY_CALLS) as trace:
        before = faults(monitor.pid)
        yield
        after = faults(monitor.pid)
    assert (trace.calls, after - before) == ({}, Faults(0, 0)), monitor.log


def count(monitor: MonitorProcess, pattern: str) -> int:
    return sum(bool(re.search(pattern, line)) for line in monitor.lines)


def wait_for_count(monitor: MonitorProcess, pattern: str, goal: int) -> None:
    eventually(lambda: count(monitor, pattern) >= goal, SOON_S, f"{goal} times {pattern}", str)


def wait_for_held(monitor: MonitorProcess, number: int) -> None:
    eventually(lambda: monitor.held == number, SOON_S, f"{number} are held", monitor.log.__str__)


Start = Callable[..., MonitorProcess]


@pytest.fixture
def start_settled(start_monitor: Start, namespace: PidNamespace) -> Start:
    """A monitor after READY."""

    def start(*arguments: str, **options: object) -> MonitorProcess:
        monitor = start_monitor(*OPTIONS, *arguments, NAME, namespace=namespace, **options)
        monitor.wait_ready()
        assert not count(monitor, "memory isn't locked"), monitor.log
        return monitor

    return start


def test_while_targets_come_pass_the_threshold_fall_and_end(
    start_settled: Start, start_leaker: Callable[..., Leaker], namespace: PidNamespace
) -> None:
    monitor = start_settled()
    with nothing_asked(monitor):
        for number in range(3):
            leaker = start_leaker(f"{NAME}{number}", ignore=True, namespace=namespace)
            leaker.grow(60)
            leaker.wait_for_signals("SIGTERM", 3, SOON_S)
            leaker.shrink(60)
            wait_for_count(monitor, "within again", number + 1)
            leaker.kill()
            wait_for_count(monitor, "waiting: there is no", number + 2)


def test_while_a_target_is_over_for_some_time_first(
    start_settled: Start, start_leaker: Callable[..., Leaker], namespace: PidNamespace
) -> None:
    monitor = start_settled("--for", "0.2")
    with nothing_asked(monitor):
        leaker = start_leaker(NAME, mib=60, ignore=True, namespace=namespace)
        leaker.wait_for_signals("SIGTERM", 3, SOON_S)
        leaker.shrink(60)
        wait_for_count(monitor, "within again", 1)


def test_while_every_reading_is_said(
    start_settled: Start, start_leaker: Callable[..., Leaker], namespace: PidNamespace
) -> None:
    monitor = start_settled("-v")
    with nothing_asked(monitor):
        start_leaker(NAME, namespace=namespace)
        wait_for_count(monitor, "ok: rss", 20)


@pytest.mark.parametrize("option", [("--metric", "pss"), ("--swap",), ("--dry-run",), ("-m", "90%")])
def test_while_it_measures_in_another_way(
    option: tuple[str, ...],
    start_settled: Start,
    start_leaker: Callable[..., Leaker],
    namespace: PidNamespace,
) -> None:
    monitor = start_settled(*option)
    with nothing_asked(monitor):
        leaker = start_leaker(NAME, mib=60, ignore=True, namespace=namespace)
        wait_for_count(monitor, "ok: rss" if option[-1] == "90%" else "signalled: ", 1)
        leaker.kill()
        wait_for_count(monitor, "waiting: there is no", 2)


def test_while_200_and_1000_processes_come_and_go(
    start_settled: Start, start_crowd: Callable[..., Crowd], namespace: PidNamespace
) -> None:
    crowd = start_crowd(NAME, 1, namespace=namespace)
    monitor = start_settled()
    wait_for_held(monitor, 1)
    with nothing_asked(monitor):
        for at_once in (200, 200, 1000, 200):
            crowd.add(at_once)
            wait_for_held(monitor, at_once + 1)
            crowd.end(at_once)
            wait_for_held(monitor, 1)


def test_while_others_come_and_go(
    start_settled: Start, start_crowd: Callable[..., Crowd], namespace: PidNamespace
) -> None:
    crowd = start_crowd("bystander", 1, namespace=namespace)
    monitor = start_settled()
    with nothing_asked(monitor):
        for each in (50, 50, 600):  # 600: more than are looked at one by one
            crowd.add(each)
            crowd.end(each)
        crowd_of_mine = start_crowd(NAME, 1, namespace=namespace)
        wait_for_count(monitor, rf"\[{crowd_of_mine.pids[0]}\]: ok", 1)


def test_while_a_process_may_not_be_signalled(
    start_settled: Start,
    start_leaker: Callable[..., Leaker],
    namespace: PidNamespace,
    another_uid: int,
) -> None:
    monitor = start_settled("-v", prefix=WITHOUT_CAP_KILL)
    with nothing_asked(monitor):
        start_leaker(NAME, mib=60, uid=another_uid, namespace=namespace)
        wait_for_count(monitor, "not signalled", 1)
        wait_for_count(monitor, "over: rss", 10)


def test_while_a_process_takes_and_loses_the_name(
    start_settled: Start, start_leaker: Callable[..., Leaker], namespace: PidNamespace
) -> None:
    monitor = start_settled()
    with nothing_asked(monitor):
        leaker = start_leaker("unnamed", ignore=True, namespace=namespace)
        leaker.rename(NAME)
        wait_for_count(monitor, "ok: rss", 1)
        leaker.rename("unnamed")
        leaker.grow(60)
        wait_for_count(monitor, "no longer monitored", 1)


def test_while_processes_are_opened_at_each_look(
    start_settled: Start, start_leaker: Callable[..., Leaker], namespace: PidNamespace
) -> None:
    monitor = start_settled(prefix=("prlimit", "--nofile=64:64", "--"))
    with nothing_asked(monitor):
        leaker = start_leaker(NAME, mib=60, ignore=True, namespace=namespace)
        leaker.wait_for_signals("SIGTERM", 3, SOON_S)
        leaker.kill()
        wait_for_count(monitor, "ended", 1)


def test_while_the_memory_map_of_a_process_is_locked(
    start_monitor: Start, start_stuck: Callable[..., Stuck], namespace: PidNamespace
) -> None:
    monitor = start_monitor(*OPTIONS, "--metric", "pss", NAME, namespace=namespace)
    monitor.wait_ready()
    with nothing_asked(monitor):
        stuck = start_stuck(NAME, mib=60, namespace=namespace)
        wait_for_count(monitor, "memory can't be read .*is locked", 1)
        stuck.free()  # strace can't leave a thread that waits for it.
        wait_for_count(monitor, "signalled: pss", 1)


def test_while_the_memory_map_of_a_process_with_a_long_name_is_locked(
    start_monitor: Start, start_stuck: Callable[..., Stuck], namespace: PidNamespace
) -> None:
    monitor = start_monitor(*OPTIONS, f"{NAME}-which-is-long", namespace=namespace)
    monitor.wait_ready()
    with nothing_asked(monitor):
        stuck = start_stuck(f"{NAME}-which-is-long", mib=60, namespace=namespace)
        # Where it was found a moment before, it can't be told whether it is still the same.
        wait_for_count(monitor, "can't (be read|tell) .*is locked", 1)
        signalled = count(monitor, ": signalled: rss")
        stuck.free()
        wait_for_count(monitor, ": signalled: rss", signalled + 1)


def test_while_nobody_reads_the_log(
    start_settled: Start, start_leaker: Callable[..., Leaker], namespace: PidNamespace
) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    leaker = start_leaker(NAME, mib=60, ignore=True, namespace=namespace)
    monitor = start_settled("-v", stderr=writer)
    with nothing_asked(monitor):
        leaker.wait_for_signals("SIGTERM", leaker.lines.count("SIGTERM") + 60, SOON_S)
        assert os.read(reader, 65536)
        leaker.wait_for_signals("SIGTERM", leaker.lines.count("SIGTERM") + 10, SOON_S)
        assert b"dropped" in os.read(reader, 65536)
        os.close(reader)
        leaker.wait_for_signals("SIGTERM", leaker.lines.count("SIGTERM") + 10, SOON_S)
    os.close(writer)


def test_while_it_was_stopped_and_goes_on(
    start_settled: Start, start_leaker: Callable[..., Leaker], namespace: PidNamespace
) -> None:
    leaker = start_leaker(NAME, namespace=namespace)
    monitor = start_settled("-v")
    with nothing_asked(monitor):
        for number in (signal.SIGSTOP, signal.SIGCONT):
            monitor.process.send_signal(number)
        goal = count(monitor, "ok: rss") + 10
        wait_for_count(monitor, rf"\[{inner_pid(leaker.pid)}\]: ok: rss", goal)


def unlocked_mappings(pid: int) -> list[str]:
    """Those whose pages the kernel may take away; what it maps itself ([vdso]) isn't among them."""
    text = Path(f"/proc/{pid}/smaps").read_text()
    mappings = re.findall(r"^[0-9a-f]+-[0-9a-f]+ .*$(?:\n[A-Z].*$)*", text, re.MULTILINE)
    assert mappings, text
    heads = {mapping: mapping.splitlines()[0] for mapping in mappings}
    return [
        heads[mapping]
        for mapping in mappings
        if not re.search(r"^VmFlags:.* lo( |$)", mapping, re.MULTILINE)
        and not re.search(r"\[v\w+\]$", heads[mapping])
    ]


def test_all_of_its_memory_is_locked_also_what_is_taken_later(
    start_settled: Start, start_crowd: Callable[..., Crowd], namespace: PidNamespace
) -> None:
    monitor = start_settled()
    assert not unlocked_mappings(monitor.pid)
    rss_kib = monitor.rss_kib
    start_crowd(NAME, 4000, namespace=namespace)
    eventually(lambda: monitor.rss_kib > rss_kib, SOON_S, "the reserve didn't suffice")
    assert not unlocked_mappings(monitor.pid)


def test_where_memory_may_not_be_locked_it_says_so_and_signals_all_the_same(
    start_monitor: Start, start_leaker: Callable[..., Leaker]
) -> None:
    leaker = start_leaker(NAME, mib=60, ignore=True)
    without_right = ("setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock", "--")
    monitor = start_monitor(*OPTIONS, NAME, prefix=("prlimit", "--memlock=65536", *without_right))
    monitor.wait_ready()
    assert count(monitor, r"^warning: memory isn't locked .*LimitMEMLOCK=64M.* CAP_IPC_LOCK$") == 1
    leaker.wait_for_signals("SIGTERM", 3, SOON_S)
