"""Hundreds and thousands of processes of one name: each is measured and signalled, none is forgotten."""

import re
import resource
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.kit import MINE, MonitorProcess
from tests.process.leaker import Crowd, Leaker
from tests.process.namespace import PidNamespace
from tests.process.waiting import eventually

SOON_S = 60.0
NAME = f"{MINE}-many"
MANY = 5200
SENT = re.compile(rf"^{NAME}\[(\d+)\]: signalled: rss .* is above .* KiB.*: sent SIGTERM$")


def signalled(monitor: MonitorProcess) -> Counter[int]:
    """PID → how often the log says that it was signalled."""
    return Counter(int(sent[1]) for sent in map(SENT.match, monitor.lines) if sent)


def wrong_lines(monitor: MonitorProcess) -> list[str]:
    """What should not be said where all is well."""
    return [line for line in monitor.lines if re.search("error|warning|Traceback|not signalled", line)]


def count_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.parametrize("hard_limit", [None, 1024], ids=["hard limit as it is", "hard limit 1024"])
def test_5200_processes_are_all_found_and_each_is_signalled_once(
    hard_limit: int | None,
    namespace: PidNamespace,
    start_crowd: Callable[..., Crowd],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    hard = hard_limit or resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    crowd = start_crowd(NAME, MANY, ignore=True, namespace=namespace)
    crowd.wait_until_grown()
    monitor = start_monitor(
        *("-m", "0.0001%", "-i", "1", "--repeat", "1h", NAME),
        prefix=("prlimit", f"--nofile=1024:{hard}", "--"),
        namespace=namespace,
    )
    monitor.wait_ready(SOON_S)
    assert signalled(monitor) == Counter(crowd.pids)
    # Held by two descriptors each as far as the limit allows; some stay free to open other files.
    assert count_descriptors(monitor.pid) > min(2 * MANY, hard - 100)
    assert count_descriptors(monitor.pid) < hard - 50
    # Those that come later too; the first are looked at meanwhile and not signalled again.
    crowd.add(20)
    eventually(lambda: len(signalled(monitor)) == MANY + 20, SOON_S, "the new ones", monitor.log.__str__)
    assert signalled(monitor) == Counter(crowd.pids)
    assert not wrong_lines(monitor)


def test_of_200_processes_half_may_end_at_any_moment(
    namespace: PidNamespace,
    start_crowd: Callable[..., Crowd],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    crowd = start_crowd(NAME, 200, ignore=True, namespace=namespace)
    monitor = start_monitor("-m", "0.0001%", "-i", "0.01", NAME, namespace=namespace)
    monitor.wait_ready()
    for _ in range(10):
        crowd.end(100)  # It doesn't wait for a look: with looks every 10 ms they end in the midst of some.
        crowd.add(100)
    alive = set(crowd.pids) - set(crowd.ended)
    assert len(alive) == 200
    before = signalled(monitor)
    eventually(
        lambda: all(signalled(monitor)[pid] > before[pid] for pid in alive), SOON_S, "all of the living"
    )
    for pid in crowd.ended:
        # One that came and went between two looks was never found.
        assert f"{NAME}[{pid}]: ended" in monitor.lines or not signalled(monitor)[pid]
    assert len(set(monitor.lines) & {f"{NAME}[{pid}]: ended" for pid in alive}) == 0
    assert not wrong_lines(monitor)
    assert monitor.running


def test_a_process_among_5000_others_is_found_and_signalled(
    namespace: PidNamespace,
    start_crowd: Callable[..., Crowd],
    start_leaker: Callable[..., Leaker],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    start_crowd("bystander", 5000, ignore=True, namespace=namespace)
    monitor = start_monitor("-m", "10", "-i", "0.1", NAME, namespace=namespace)
    monitor.wait_ready()
    leaker = start_leaker(NAME, mib=20, ignore=True, namespace=namespace)
    leaker.wait_for_signals("SIGTERM", 1, SOON_S)
    assert not [line for line in monitor.lines if "bystander" in line]
