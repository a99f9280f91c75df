"""The kit can be relied on: what it starts does as told, and what goes wrong fails the test."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.kit import WITHOUT_CAP_KILL, MonitorProcess
from tests.process.leaker import Crowd, Leaker
from tests.process.waiting import eventually

# In place of the monitor: tells its notifications, logs each signal, ends with the status given.
STAND_IN = """
import os, signal, socket, sys
end, ready = int(sys.argv[1]), sys.argv[2:] != ["never-ready"]
where = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(end))
if ready:
    where.sendto(b"READY=1\\nSTATUS=ok: 1 MiB of 2 MiB", os.environ["NOTIFY_SOCKET"])
    where.sendto(b"STATUS=over: 3 MiB of 2 MiB", os.environ["NOTIFY_SOCKET"])
print("monitoring it", file=sys.stderr, flush=True)
while ready:
    signal.pause()
"""
TRY_TO_KILL = """
import os, sys
try:
    os.kill(int(sys.argv[1]), 0)
except PermissionError:
    print("not permitted", flush=True)
else:
    print("permitted", flush=True)
"""


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")


def rss_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def runs(pid: int) -> bool:
    """False for a zombie too, which nobody has reaped yet."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_leaker_says_each_signal_and_ends_on_sigterm(
    start_leaker: Callable[..., Leaker],
) -> None:
    leaker = start_leaker("leaky")
    for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGRTMIN + 3):
        os.kill(leaker.pid, number)
    leaker.wait_for_line(r"^SIGRTMIN\+3$", 10)
    leaker.stop()
    assert leaker.lines[0] == "ready"
    assert sorted(leaker.lines[1:]) == ["SIGINT", "SIGRTMIN+3", "SIGTERM", "SIGUSR1"]


def test_a_leaker_that_ignores_the_signal_goes_on_and_says_each(
    start_leaker: Callable[..., Leaker],
) -> None:
    leaker = start_leaker("stubborn", ignore=True)
    for count in (1, 2, 3):
        leaker.process.terminate()
        leaker.wait_for_signals("SIGTERM", count, 10)
    assert leaker.running


def test_a_leaker_has_the_memory_it_was_told_and_grows_by_what_it_is_told(
    start_leaker: Callable[..., Leaker],
) -> None:
    leaker = start_leaker("big", mib=20)
    before = rss_mib(leaker.pid)
    assert 20 <= before < 25
    leaker.grow(30)
    assert rss_mib(leaker.pid) - before == pytest.approx(30, abs=1)


def test_a_leaker_grows_by_itself(start_leaker: Callable[..., Leaker]) -> None:
    leaker = start_leaker("growing", grow_kib_s=40 * 1024)
    first = rss_mib(leaker.pid)
    eventually(lambda: rss_mib(leaker.pid) > first + 8, 30, "8 MiB more")


def test_a_long_name_is_whole_in_argv_and_cut_in_the_process_name(
    start_leaker: Callable[..., Leaker],
) -> None:
    leaker = start_leaker("a-name-of-more-than-15-bytes")
    assert comm(leaker.pid) == "a-name-of-more-"
    argv = Path(f"/proc/{leaker.pid}/cmdline").read_bytes().split(b"\0")
    assert argv[0] == b"a-name-of-more-than-15-bytes"


def test_a_leaker_can_be_renamed(start_leaker: Callable[..., Leaker]) -> None:
    leaker = start_leaker("before")
    leaker.rename("after")
    assert comm(leaker.pid) == "after"


def test_a_leaker_of_another_user_can_be_signalled_by_root_but_not_without_the_capability(
    start_leaker: Callable[..., Leaker],
    start_monitor: Callable[..., MonitorProcess],
    another_uid: int,
) -> None:
    leaker = start_leaker("foreign", uid=another_uid)
    assert owner(leaker.pid) == another_uid
    command = (sys.executable, "-c", TRY_TO_KILL)
    for prefix, answer in (((), "permitted"), (WITHOUT_CAP_KILL, "not permitted")):
        start_monitor(str(leaker.pid), command=command, prefix=prefix).wait_for_line(f"^{answer}$", 10)


def test_a_leaker_that_did_not_end_by_itself_fails_the_test(
    start_leaker: Callable[..., Leaker],
) -> None:
    leaker = start_leaker("killed")
    leaker.process.kill()
    leaker.process.wait()
    with pytest.raises(AssertionError, match="ended with -9"):
        leaker.stop()


def test_a_leaker_that_cannot_start_fails_the_test_and_says_why(
    start_leaker: Callable[..., Leaker],
) -> None:
    with pytest.raises(AssertionError, match="more than 64 GiB"):
        start_leaker("huge", mib=65 * 1024)


def test_200_processes_share_a_name_and_come_and_go(start_crowd: Callable[..., Crowd]) -> None:
    crowd = start_crowd("worker", 200)
    assert [comm(pid) for pid in crowd.pids] == ["worker"] * 200
    assert comm(crowd.pid) != "worker"
    crowd.end(100)
    assert list(crowd.ended.values()) == ["SIGKILL"] * 100
    crowd.add(50)
    left = [pid for pid in crowd.pids if exists(pid)]
    assert len(left) == 150
    os.kill(left[0], signal.SIGTERM)
    eventually(lambda: crowd.ended.get(left[0]) == "SIGTERM", 10, "the signal was seen")


def test_a_crowd_has_the_memory_and_the_user_it_was_told_and_can_ignore_sigterm(
    start_crowd: Callable[..., Crowd], another_uid: int
) -> None:
    crowd = start_crowd("foreign", 3, mib=4, ignore=True, uid=another_uid)
    for pid in crowd.pids:
        assert 4 <= rss_mib(pid) < 9
        assert owner(pid) == another_uid
        os.kill(pid, signal.SIGTERM)
    crowd.end(3)
    assert set(crowd.ended.values()) == {"SIGKILL"}


def test_5200_processes_start_and_none_outlives_its_crowd(
    start_crowd: Callable[..., Crowd],
) -> None:
    crowd = start_crowd("many", 5200)
    pids = crowd.pids
    assert len(set(pids)) == 5200
    crowd.kill()
    assert not any(map(exists, pids))


def test_a_crowd_ends_with_its_parent_even_where_that_is_killed(
    start_crowd: Callable[..., Crowd],
) -> None:
    crowd = start_crowd("orphans", 20)
    crowd.process.kill()
    eventually(lambda: not any(map(runs, crowd.pids)), 30, "all 20 ended")


def test_the_monitors_readiness_status_log_and_memory_can_be_seen(
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    monitor = start_monitor("0", command=(sys.executable, "-c", STAND_IN))
    monitor.wait_ready()
    assert monitor.wait_for_status("^ok: ", 10) == "ok: 1 MiB of 2 MiB"
    eventually(lambda: monitor.status == "over: 3 MiB of 2 MiB", 10, "the last STATUS")
    assert monitor.wait_for_line("monitoring", 10) == "monitoring it"
    assert 2_000 < monitor.rss_kib < 100_000
    monitor.stop()


def test_a_monitor_that_ends_with_another_status_than_0_fails_the_test(
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    monitor = start_monitor("3", command=(sys.executable, "-c", STAND_IN))
    monitor.wait_ready()
    with pytest.raises(AssertionError, match="ended with 3"):
        monitor.stop()


def test_a_monitor_that_never_gets_ready_fails_the_test_at_once_with_its_log(
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    monitor = start_monitor("0", "never-ready", command=(sys.executable, "-c", STAND_IN))
    with pytest.raises(AssertionError, match=r"ended before READY=1(.|\n)*monitoring it"):
        monitor.wait_ready(deadline_s=60)


def test_a_condition_that_never_comes_fails_at_its_deadline_and_is_named() -> None:
    with pytest.raises(AssertionError, match="the moon"):
        eventually(lambda: False, 0.02, "the moon")
