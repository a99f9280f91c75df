"""Processes are found by the beginning of their name: at the start, new ones, and renamed ones."""

import errno
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from memmon_systemd.linux import proc
from memmon_systemd.processes.finder import FULL_SCAN_S, YOUNG_S, Finder
from tests.process.kit import MINE, MonitorProcess
from tests.process.leaker import Crowd, Leaker

# A dry run: a bare "sh" may be anybody's.
LIMIT = ("-m", "100", "--dry-run")
SOON_S = 10.0
"""Far less than the 30 s after which all processes are looked at again, whatever is known of them."""
assert SOON_S < FULL_SCAN_S

# A thread named by its first argument; says so, and waits for the end of its input.
WITH_A_THREAD = """
import ctypes, sys, threading
def take_name():
    ctypes.CDLL(None).prctl(15, sys.argv[1].encode())  # PR_SET_NAME
    print("ready", flush=True)
    sys.stdin.read()
threading.Thread(target=take_name).start()
"""

# Executes its arguments but for the first, the number of the error that pidfd_open(2) gives (seccomp(2)).
REFUSES_PIDFD_OPEN = """
import ctypes, os, struct, sys
error = int(sys.argv[1])
code = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x20, 0, 0, 0),  # load the number of the call
        (0x15, 0, 1, 434),  # pidfd_open, on every architecture
        (0x06, 0, 0, 0x00050000 | error),  # SECCOMP_RET_ERRNO
        (0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
    )
)
room = ctypes.create_string_buffer(code, len(code))
program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(room))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def start_program(processes: ExitStack) -> Callable[..., subprocess.Popen[str]]:
    """A program that waits for the end of its input, or for a line of it."""

    def start(*command: str) -> subprocess.Popen[str]:
        process = processes.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        )
        processes.callback(process.kill)
        return process

    return start


@pytest.fixture
def find_again() -> Iterator[Callable[[bytes], Finder]]:
    with ExitStack() as stack:

        def make(prefix: bytes) -> Finder:
            finder = Finder(prefix, interval_s=2.0)
            stack.callback(finder.close)
            return finder

        yield make


def is_looked_after(monitor: MonitorProcess, name: str, pid: int) -> str:
    return monitor.wait_for_line(rf"^{name}\[{pid}\]: ok: ", SOON_S)


def test_a_prefix_longer_than_15_characters_is_compared_with_the_whole_name(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    meant = start_leaker(f"{MINE}-process-number-1")
    other = start_leaker(f"{MINE}-process-of-others")
    monitor = start_monitor(*LIMIT, f"{MINE}-process-number")
    monitor.wait_ready()
    is_looked_after(monitor, f"{MINE}-process", meant.pid)
    assert not [line for line in monitor.lines if str(other.pid) in line]


def test_a_script_with_a_long_name_is_found_by_the_name_of_its_file(
    tmp_path: Path,
    start_program: Callable[..., subprocess.Popen[str]],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    for name in (f"{MINE}-script-to-be-found", f"{MINE}-script-of-others"):
        (tmp_path / name).write_text("#!/bin/sh\necho ready\nread line\n")
        (tmp_path / name).chmod(0o755)
    scripts = [
        start_program(os.fspath(tmp_path / name))
        for name in (f"{MINE}-script-to-be-found", f"{MINE}-script-of-others")
    ]
    for script in scripts:
        assert script.stdout is not None
        assert script.stdout.readline() == "ready\n"
    monitor = start_monitor(*LIMIT, f"{MINE}-script-to")
    monitor.wait_ready()
    is_looked_after(monitor, f"{MINE}-script-", scripts[0].pid)
    assert not [line for line in monitor.lines if str(scripts[1].pid) in line]


def test_a_prefix_that_matches_nothing_waits_for_the_first_process(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    monitor = start_monitor(*LIMIT, "-i", "0.1", f"{MINE}-later")
    monitor.wait_ready()
    assert monitor.status == f"{MINE}-later: waiting: there is no process of that name"
    leaker = start_leaker(f"{MINE}-later")
    is_looked_after(monitor, f"{MINE}-later", leaker.pid)


def test_it_waits_again_when_the_last_process_has_ended_and_finds_the_next(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    first = start_leaker(f"{MINE}-again")
    monitor = start_monitor(*LIMIT, "-i", "0.1", "-v", f"{MINE}-again")
    monitor.wait_ready()
    first.stop()
    monitor.wait_for_line(rf"^{MINE}-again\[{first.pid}\]: ended$", SOON_S)
    monitor.wait_for_line(f"^{MINE}-again: waiting: there is no process of that name$", SOON_S)
    second = start_leaker(f"{MINE}-again")
    is_looked_after(monitor, f"{MINE}-again", second.pid)


def test_each_child_that_is_forked_with_the_name_is_found(
    start_crowd: Callable[..., Crowd], start_monitor: Callable[..., MonitorProcess]
) -> None:
    crowd = start_crowd(f"{MINE}-forked", 3)
    monitor = start_monitor(*LIMIT, "-i", "0.1", "-v", f"{MINE}-forked")
    monitor.wait_ready()
    for _ in range(3):
        crowd.add(4)
        for pid in crowd.pids:
            is_looked_after(monitor, f"{MINE}-forked", pid)


def test_a_young_process_that_takes_the_name_is_found_soon(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    monitor = start_monitor(*LIMIT, "-i", "0.1", "-v", f"{MINE}-", "unnamed")
    monitor.wait_ready()
    leaker = start_leaker("unnamed")
    is_looked_after(monitor, "unnamed", leaker.pid)  # So it has been seen with its first name.
    leaker.rename(f"{MINE}-renamed")
    is_looked_after(monitor, f"{MINE}-renamed", leaker.pid)


def test_a_young_process_that_executes_a_program_of_the_name_is_found_soon(
    leaker_program: Path,
    tmp_path: Path,
    start_program: Callable[..., subprocess.Popen[str]],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    executed = tmp_path / f"{MINE}-exec"
    executed.symlink_to(leaker_program)
    monitor = start_monitor(*LIMIT, "-i", "0.1", f"{MINE}-", "sh")
    monitor.wait_ready()
    arguments = f"alone {MINE}-exec 0 0 0 -1"
    shell = start_program("/bin/sh", "-c", f"read line; exec {executed} {arguments}")
    is_looked_after(monitor, "sh", shell.pid)
    assert shell.stdin is not None
    shell.stdin.write("\n")
    is_looked_after(monitor, f"{MINE}-exec", shell.pid)


def test_an_old_process_that_was_renamed_is_found_within_30_s(
    start_leaker: Callable[..., Leaker], find_again: Callable[[bytes], Finder]
) -> None:
    leaker = start_leaker("unnamed")
    finder = find_again(MINE.encode())
    for now_s in (1000.0, 1001.0):
        assert leaker.pid not in finder.find(now_s)
    leaker.rename(f"{MINE}-renamed")
    assert leaker.pid in finder.find(now_s=1001.0 + FULL_SCAN_S)
    assert FULL_SCAN_S <= 30.0


def test_a_process_is_young_for_long_enough_to_be_seen_twice_at_a_long_interval(
    start_leaker: Callable[..., Leaker],
) -> None:
    finder = Finder(MINE.encode(), interval_s=20.0)
    finder.find(now_s=1000.0)
    leaker = start_leaker("unnamed")
    assert leaker.pid not in finder.find(now_s=1001.0)
    leaker.rename(f"{MINE}-renamed")
    assert YOUNG_S < 20.0
    assert leaker.pid in finder.find(now_s=1021.0)
    finder.close()


def test_a_thread_is_no_process_of_its_name(
    start_program: Callable[..., subprocess.Popen[str]],
    start_leaker: Callable[..., Leaker],
    start_monitor: Callable[..., MonitorProcess],
    find_again: Callable[[bytes], Finder],
) -> None:
    finder = find_again(MINE.encode())
    for now_s in (1000.0, 1001.0):
        finder.find(now_s)
    monitor = start_monitor(*LIMIT, "-i", "0.1", f"{MINE}-")
    monitor.wait_ready()
    process = start_program(sys.executable, "-c", WITH_A_THREAD, f"{MINE}-thread")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    threads = {int(entry.name) for entry in Path(f"/proc/{process.pid}/task").iterdir()}
    assert len(threads) == 2
    assert not threads & set(finder.find(now_s=1002.0))
    is_looked_after(monitor, f"{MINE}-next", start_leaker(f"{MINE}-next").pid)
    assert not [line for line in monitor.lines if line.startswith(f"{MINE}-thread")]


def test_a_process_that_ends_between_the_listing_and_the_reading_is_passed_over(
    start_leaker: Callable[..., Leaker],
    find_again: Callable[[bytes], Finder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended, alive = start_leaker(f"{MINE}-ended"), start_leaker(f"{MINE}-alive")
    ended.stop()
    monkeypatch.setattr(proc, "pids", lambda: iter((ended.pid, alive.pid)))
    assert find_again(MINE.encode()).find(now_s=1000.0) == [alive.pid]


def test_a_young_process_that_takes_the_name_after_hundreds_came_and_went_is_found_soon(
    start_crowd: Callable[..., Crowd],
    start_leaker: Callable[..., Leaker],
    find_again: Callable[[bytes], Finder],
) -> None:
    finder = find_again(MINE.encode())
    finder.find(now_s=1000.0)
    start_crowd("bystander", 600)  # More than are looked at one by one.
    leaker = start_leaker("unnamed")
    for now_s in (1002.0, 1004.0, 1006.0):
        assert leaker.pid not in finder.find(now_s)
    leaker.rename(f"{MINE}-renamed")
    assert leaker.pid in finder.find(now_s=1008.0)


def with_proc(*mount: str) -> tuple[str, ...]:
    """A prefix that mounts something first, in a mount namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root: nobody else mounts anything")
    return ("unshare", "--mount", "sh", "-c", f'{shlex.join(("mount", *mount))} && exec "$@"', "sh")


@pytest.mark.parametrize("loadavg", ["0.1 0.1 0.1 1/100 0", "0.1 0.1 0.1 1/100 4000000", None])
def test_where_loadavg_doesnt_tell_the_newest_pid_each_look_is_a_scan(
    loadavg: str | None,
    tmp_path: Path,
    start_leaker: Callable[..., Leaker],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    (tmp_path / "loadavg").write_text(f"{loadavg}\n")
    mount = ("--bind", str(tmp_path / "loadavg"), "/proc/loadavg")
    hidden = ("-t", "proc", "-o", "subset=pid", "proc", "/proc")
    prefix = with_proc(*(mount if loadavg else hidden))
    monitor = start_monitor(*LIMIT, "-i", "0.2", f"{MINE}-scan", prefix=prefix)
    monitor.wait_ready()
    time.sleep(0.5)  # Past the first looks, which are scans in any case.
    leaker = start_leaker(f"{MINE}-scan")
    is_looked_after(monitor, f"{MINE}-scan", leaker.pid)


def test_where_others_processes_are_hidden_it_says_so_while_it_waits(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess], another_uid: int
) -> None:
    prefix = with_proc("-t", "proc", "-o", "hidepid=2", "proc", "/proc")
    user = ("setpriv", f"--reuid={another_uid}", f"--regid={another_uid}", "--clear-groups", "--")
    start_leaker(f"{MINE}-hidden")
    monitor = start_monitor(*LIMIT, f"{MINE}-hidden", prefix=(*prefix, *user))
    monitor.wait_for_line(r"waiting: .* that this user may see \(hidepid= of /proc\)$", SOON_S)


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
def test_where_pidfd_open_is_refused_it_says_that_and_not_that_there_is_no_process(
    error: str, start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(f"{MINE}-refused")
    prefix = (sys.executable, "-c", REFUSES_PIDFD_OPEN, str(getattr(errno, error)))
    monitor = start_monitor(*LIMIT, "-i", "0.1", f"{MINE}-refused", prefix=prefix)
    monitor.wait_for_line(rf"process {leaker.pid} can't be monitored \(pidfd_open\(2\): .*\)", SOON_S)
    monitor.wait_for_line(r"waiting: its processes can't be monitored \(pidfd_open\(2\): .*\)$", SOON_S)
    assert not [line for line in monitor.lines if "no process of that name" in line]
