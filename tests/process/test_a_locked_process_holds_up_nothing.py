"""A process that keeps its memory map locked is unreadable by itself: the monitor and all others go on."""

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from memmon_systemd.linux import proc, slow_read
from tests.process.kit import MINE, MonitorProcess
from tests.process.leaker import Leaker
from tests.process.stuck import Stuck
from tests.process.waiting import eventually

SOON_S = 20.0
NAME = f"{MINE}-with-a-long-name"
OVER = ("-m", "10", "-i", "0.1")


def test_what_is_read_without_a_thread_never_waits_for_the_map(start_stuck: Callable[..., Stuck]) -> None:
    pid = start_stuck(NAME, mib=20).pid
    assert proc.read_stat(pid).resident_bytes > 20 << 20
    assert proc.rss_bytes(pid) > 20 << 20
    assert proc.swap_bytes(pid) == 0
    assert len(proc.user_ids(pid)) == 4
    assert not proc.is_thread(pid)
    assert proc.read(f"/proc/{pid}/comm", 64) == f"{NAME[:15]}\n".encode()
    assert proc.read(f"/proc/{pid}/cgroup", 64)


def test_names_longer_than_15_bytes_are_found_beside_one_that_is_locked(
    start_stuck: Callable[..., Stuck],
    start_leaker: Callable[..., Leaker],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    stuck = start_stuck(NAME, mib=20)
    first = start_leaker(f"{NAME}-first", mib=20, ignore=True)
    monitor = start_monitor(*OVER, "-s", "USR1", NAME)
    monitor.wait_ready(SOON_S)
    first.wait_for_signals("SIGUSR1", 2, SOON_S)
    later = start_leaker(f"{NAME}-later", mib=20, ignore=True)
    later.wait_for_signals("SIGUSR1", 2, SOON_S)
    said = [line for line in monitor.lines if "can't be read" in line]
    assert "memory map of that process is locked" in said[0]
    assert f"/proc/{stuck.pid}/cmdline" in said[0]
    assert len(said) <= 3  # The first, the 10th and the 100th time.
    monitor.stop()


def test_pss_of_others_is_measured_beside_one_that_is_locked(
    start_stuck: Callable[..., Stuck],
    start_leaker: Callable[..., Leaker],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    stuck = start_stuck(f"{MINE}-pss-a", mib=20)
    other = start_leaker(f"{MINE}-pss-b", mib=20, ignore=True)
    monitor = start_monitor(*OVER, "-s", "USR1", "--metric", "pss", f"{MINE}-pss")
    monitor.wait_ready(SOON_S)
    other.wait_for_signals("SIGUSR1", 10, SOON_S)
    said = [line for line in monitor.lines if "its memory can't be read" in line]
    assert len(said) == 1
    assert f"[{stuck.pid}]" in said[0]
    stuck.free()
    eventually(
        lambda: monitor.log.first_line_with(rf"\[{stuck.pid}\]: signalled"), SOON_S, "it is read again", str
    )


def test_a_process_that_is_locked_while_it_is_above_isnt_signalled_and_the_rest_goes_on(
    start_leaker: Callable[..., Leaker],
    start_stuck: Callable[..., Stuck],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    monitor = start_monitor(*OVER, "-s", "USR1", "--metric", "pss", f"{MINE}-late")
    monitor.wait_ready()
    witness = start_leaker(f"{MINE}-late-a", mib=20, ignore=True)
    witness.wait_for_signals("SIGUSR1", 1, SOON_S)
    start_stuck(f"{MINE}-late-b", mib=20)
    monitor.wait_for_line("its memory can't be read .*is locked", SOON_S)
    witness.wait_for_signals("SIGUSR1", witness.lines.count("SIGUSR1") + 10, SOON_S)


def test_as_many_threads_are_left_as_one_user_may_occupy_and_they_come_back(
    start_stuck: Callable[..., Stuck], start_leaker: Callable[..., Leaker], another_uid: int
) -> None:
    reader = slow_read.SlowReader()
    # By their names, not their number: a thread of an earlier test may end at any moment.
    before = set(os.listdir("/proc/self/task"))

    def made() -> int:
        return len(set(os.listdir("/proc/self/task")) - before)

    def is_locked(pid: int) -> bool:
        try:
            reader.read(pid, f"/proc/{pid}/cmdline", 4096)
        except TimeoutError:
            return True
        return False

    healthy = start_leaker(f"{MINE}-healthy")
    stuck = [start_stuck(f"{MINE}-{number}", uid=another_uid) for number in range(4)]
    for _ in range(3):
        assert [is_locked(process.pid) for process in stuck] == [True] * 4
    # On a machine that is busy an answer can be late, too.
    eventually(lambda: not is_locked(healthy.pid), SOON_S, "the other one is read")
    assert made() == slow_read.THREADS
    for process in stuck:
        process.free()
        eventually(lambda pid=process.pid: not is_locked(pid), SOON_S, "it is read again")  # type: ignore[misc]
    assert made() == slow_read.THREADS


def test_waits_in_vain_take_a_small_part_of_the_time(start_stuck: Callable[..., Stuck]) -> None:
    reader = slow_read.SlowReader()
    pid = start_stuck(f"{MINE}-vain").pid
    waited_s: list[float] = []
    for _ in range(200):
        begun_s = time.monotonic()
        with pytest.raises(TimeoutError):
            reader.read(pid, f"/proc/{pid}/cmdline", 4096)
        waited_s.append(time.monotonic() - begun_s)
    # Only the first waits: the thread that was left with it isn't asked again.
    assert sum(waited_s[1:]) < waited_s[0]


def test_what_comes_too_late_is_the_answer_to_the_next_question_for_it(
    start_stuck: Callable[..., Stuck],
) -> None:
    reader = slow_read.SlowReader()
    stuck = start_stuck(f"{MINE}-tardy")
    path = f"/proc/{stuck.pid}/cmdline"
    with pytest.raises(TimeoutError):
        reader.read(stuck.pid, path, 4096, takes_late=True)
    with pytest.raises(TimeoutError):  # It isn't asked twice at a time.
        reader.read(stuck.pid, path, 4096, takes_late=True)
    stuck.free()

    def answer() -> bytes | None:
        with suppress(TimeoutError):
            return reader.read(stuck.pid, path, 4096, takes_late=True)
        return None

    assert eventually(answer, SOON_S, "an answer").startswith(f"{MINE}-tardy\0".encode())
    assert reader.read(stuck.pid, path, 5) == f"{MINE}-tardy"[:5].encode()


def test_whoever_has_many_uids_occupies_one_thread_with_all_of_them(
    start_stuck: Callable[..., Stuck], start_leaker: Callable[..., Leaker], another_uid: int
) -> None:
    reader = slow_read.SlowReader()
    healthy = start_leaker(f"{MINE}-healthy")
    uids = (another_uid, 100_000, 100_001, 100_002)  # Each in a user namespace of its own.
    stuck = [start_stuck(f"{MINE}-uid-{uid}", uid=uid) for uid in uids]
    for process in stuck:
        with pytest.raises(TimeoutError):
            reader.read(process.pid, f"/proc/{process.pid}/cmdline", 4096)

    def is_read() -> bool:
        with suppress(TimeoutError):
            return bool(reader.read(healthy.pid, f"/proc/{healthy.pid}/cmdline", 4096))
        return False

    eventually(is_read, SOON_S, "the one that isn't locked")


@pytest.mark.parametrize(
    ("command", "has_own_allowance"),
    [
        (("setpriv", "--reuid=65534", "--clear-groups"), True),
        (("setpriv", "--reuid=65534", "--clear-groups", "unshare", "--user"), False),
        # As a set-user-ID program of a subordinate user leaves it, in the first namespace.
        (("setpriv", "--reuid=100000", "--clear-groups"), False),
    ],
)
def test_a_uid_has_an_allowance_of_its_own_where_no_user_can_have_many_of_its_kind(
    command: tuple[str, ...], has_own_allowance: bool, another_uid: int
) -> None:
    del another_uid  # It takes root.
    with subprocess.Popen((*command, "sh", "-c", "echo up; read end"), stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert (slow_read.user_of(process.pid) != slow_read.STRANGER) is has_own_allowance
        process.communicate()
    assert slow_read.user_of(os.getpid()) == os.getuid()


def test_a_user_with_all_of_its_uids_leaves_a_thread_for_others() -> None:
    assert slow_read.MOST_FOR_ONE_USER + slow_read.MOST_FOR_STRANGERS < slow_read.THREADS
