"""However many processes came and went: the monitor's memory and its descriptors stay as they were."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.audit.counting import CountFile, build_library
from tests.process.kit import MINE, MonitorProcess
from tests.process.leaker import Crowd
from tests.process.namespace import PidNamespace
from tests.process.waiting import eventually

DEADLINE_S = 60.0
NAME = f"{MINE}-short"
AT_ONCE = 50
OPTIONS = ("-m", "10", "-i", "0.02")
FREE_LISTS = 200
"""CPython keeps some objects of a kind for the next one, at most 100; less than one for each process."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("count_calls"))


def count_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_after_2000_processes_memory_and_descriptors_are_those_of_after_100(
    namespace: PidNamespace,
    start_crowd: Callable[..., Crowd],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    crowd = start_crowd(NAME, 1, namespace=namespace)
    monitor = start_monitor(*OPTIONS, NAME, namespace=namespace)
    monitor.wait_ready()
    let_come_and_go(monitor, crowd, 100)
    rss_kib, descriptors = monitor.rss_kib, count_descriptors(monitor.pid)
    let_come_and_go(monitor, crowd, 2000)
    print(f"\nRSS after 100: {rss_kib} KiB, after 2000: {monitor.rss_kib} KiB")
    assert (monitor.rss_kib, count_descriptors(monitor.pid)) == (rss_kib, descriptors)


def test_not_one_object_is_kept_of_a_process_that_ended(
    library: Path,
    namespace: PidNamespace,
    start_crowd: Callable[..., Crowd],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    with CountFile(library) as counts:
        crowd = start_crowd(NAME, 1, namespace=namespace)
        # Not as the environment: the library counts the first program that is started with it alone.
        counted = ("env", *(f"{name}={value}" for name, value in counts.environment.items()))
        monitor = start_monitor(*OPTIONS, NAME, prefix=counted, namespace=namespace)
        monitor.wait_ready()
        let_come_and_go(monitor, crowd, 500)
        before = counts.read()
        let_come_and_go(monitor, crowd, 1000)
        calls = counts.read() - before
    kept = calls.living_blocks
    assert calls.allocator_calls > 500, "nothing was counted"
    print(f"\n{kept} blocks more after 500 processes")
    assert kept < FREE_LISTS


def let_come_and_go(monitor: MonitorProcess, crowd: Crowd, until: int) -> None:
    """Until so many have been found and have ended; one lives on."""
    while len(crowd.pids) < until:
        crowd.add(AT_ONCE)
        wait_for_held(monitor, AT_ONCE + 1)
        crowd.end(AT_ONCE)
        wait_for_held(monitor, 1)


def wait_for_held(monitor: MonitorProcess, number: int) -> None:
    eventually(lambda: monitor.held == number, DEADLINE_S, f"{number} are held", monitor.log.__str__)
