"""Processes between fork and exec, without their first thread, with many groups, in another namespace."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from memmon_systemd.linux import proc
from memmon_systemd.processes.linux import LinuxProcess
from tests.process.kit import MINE, ROOT, MonitorProcess
from tests.process.leaker import Leaker
from tests.process.waiting import eventually

MIB = 1 << 20
SOON_S = 20.0
COMMAND = (sys.executable, "-m", "memmon_systemd")

NAMED = """
import ctypes, mmap, os, signal, sys, threading, time
libc = ctypes.CDLL(None)
libc.prctl(15, sys.argv[1].encode())  # PR_SET_NAME
libc.prctl(1, 9)  # PR_SET_PDEATHSIG
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pages = mmap.mmap(-1, 30 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
"""
# Its first thread ends; another one goes on, and says each SIGUSR1.
WITHOUT_FIRST_THREAD = (
    NAMED
    + """
def go_on():
    libc.prctl(15, b"another-thread")
    while True:
        signal.sigwait({signal.SIGUSR1})
        os.write(1, b"SIGUSR1\\n")
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
threading.Thread(target=go_on).start()
print("ready", flush=True)
libc.pthread_exit(None)
"""
)
# Forks children that execute another program, each after a while, and says how many were ended by a signal.
FORKS = (
    NAMED
    + """
ended = 0
for _ in range(int(sys.argv[2])):
    children = []
    for _ in range(20):
        before_s = time.monotonic()
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            time.sleep(0.02)
            os.execv("/bin/true", ["true"])
        children.append((child, before_s))
    for child, forked_s in children:
        is_signalled = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        # One that sleeps for more than a second is taken for a worker: on a machine that is busy.
        ended += is_signalled and time.monotonic() - forked_s < 1
print("ended by a signal:", ended, flush=True)
"""
)
# Forks one child that is stopped for a while before it executes another program, and says how it ended.
FORKS_ONE_THAT_IS_STOPPED = (
    NAMED
    + """
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
child = os.fork()
if child == 0:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSTOP)
    os.execv("/bin/true", ["true"])
os.waitpid(child, os.WUNTRACED)
print("stopped", child, flush=True)
signal.sigwait({signal.SIGUSR1})
os.kill(child, signal.SIGCONT)
print("ended by a signal:", os.WIFSIGNALED(os.waitpid(child, 0)[1]), flush=True)
"""
)
# Forks one child that executes nothing and stays.
WORKER = (
    NAMED
    + """
child = os.fork()
if child:
    print("worker", child, flush=True)
else:
    libc.prctl(1, 9)  # A fork clears it.
while True:
    signal.pause()
"""
)


@pytest.fixture
def start_python(processes: ExitStack) -> Callable[..., subprocess.Popen[str]]:
    """A program in Python, once it has said its first line."""

    def start(code: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        processes.enter_context(process)
        processes.callback(process.kill)
        return process

    return start


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def headless(start_python: Callable[..., subprocess.Popen[str]]) -> Iterator[subprocess.Popen[str]]:
    """A process whose first thread has ended."""
    process = start_python(WITHOUT_FIRST_THREAD, f"{MINE}-headless")
    assert first_line(process) == "ready"
    eventually(lambda: proc.read_stat(process.pid).state == b"Z", SOON_S, "its first thread has ended")
    yield process
    process.kill()


def test_a_process_without_its_first_thread_is_measured_by_what_lives_on(
    headless: subprocess.Popen[str],
) -> None:
    held = LinuxProcess(headless.pid)
    assert held.name == f"{MINE}-headless"[:15]
    assert 30 * MIB < held.rss_bytes() < 60 * MIB
    assert 30 * MIB < held.pss_bytes() < 60 * MIB
    assert held.swap_bytes() >= 0
    assert held.is_still(f"{MINE}-head".encode())
    assert proc.rss_bytes(headless.pid) == pytest.approx(held.rss_bytes(), rel=0.01)
    headless.kill()
    headless.wait()
    with pytest.raises(ProcessLookupError):
        held.rss_bytes()
    held.close()


@pytest.mark.parametrize("prefix", [(), ("prlimit", "--nofile=64:64", "--")], ids=["held", "not held"])
def test_a_process_without_its_first_thread_is_signalled(
    prefix: tuple[str, ...],
    headless: subprocess.Popen[str],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    start_monitor("-m", "20", "-i", "0.1", "-s", "USR1", f"{MINE}-head", prefix=prefix)
    assert first_line(headless) == "SIGUSR1"


def test_who_is_about_to_execute_another_program_isnt_signalled_for_the_memory_of_its_parent(
    start_python: Callable[..., subprocess.Popen[str]], start_monitor: Callable[..., MonitorProcess]
) -> None:
    monitor = start_monitor("-m", "20", "-i", "0.01", f"{MINE}-fork")
    monitor.wait_ready()
    parent = start_python(FORKS, f"{MINE}-forks", "20")
    assert first_line(parent) == "ended by a signal: 0"
    assert [line for line in monitor.lines if "sent SIGTERM" in line and f"[{parent.pid}]" in line]


def test_a_child_that_is_stopped_before_it_executes_a_program_isnt_signalled(
    start_python: Callable[..., subprocess.Popen[str]], start_monitor: Callable[..., MonitorProcess]
) -> None:
    monitor = start_monitor("-m", "20", "-i", "0.1", f"{MINE}-halt")
    monitor.wait_ready()
    parent = start_python(FORKS_ONE_THAT_IS_STOPPED, f"{MINE}-halted")
    child = int(first_line(parent).split()[1])
    eventually(
        lambda: time.monotonic() - proc.read_stat(child).started_s > 2, SOON_S, "older than that is excused"
    )
    looks = len(monitor.lines)
    eventually(
        lambda: len([line for line in monitor.lines[looks:] if f"[{parent.pid}]" in line]) >= 2,
        SOON_S,
        "two more signals to its parent",
    )
    assert not [line for line in monitor.lines if f"[{child}]: signalled" in line]
    parent.send_signal(signal.SIGUSR1)
    assert first_line(parent) == "ended by a signal: False"


@pytest.mark.parametrize(
    ("state", "cpu_ticks", "age_s", "is_excused"),
    [
        (b"S", 0, 0.5, True),
        (b"S", 0, 1.5, False),
        (b"D", 0, 1.5, True),
        (b"T", 0, 29.0, True),
        (b"R", 0, 31.0, False),
        (b"R", 50, 1.5, False),
    ],
)
def test_how_long_a_forked_child_is_excused(
    state: bytes, cpu_ticks: int, age_s: float, is_excused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = LinuxProcess(os.getpid())
    stat = replace(proc.read_stat(os.getpid()), state=state, cpu_ticks=cpu_ticks, forked=True)
    now_s = stat.started_s + age_s
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    monkeypatch.setattr(proc, "read_stat", lambda _: stat)
    assert process.may_execute() is is_excused
    process.close()


def test_a_worker_that_was_forked_for_good_is_signalled(
    start_python: Callable[..., subprocess.Popen[str]], start_monitor: Callable[..., MonitorProcess]
) -> None:
    monitor = start_monitor("-m", "20", "-i", "0.1", f"{MINE}-work")
    monitor.wait_ready()
    worker = first_line(start_python(WORKER, f"{MINE}-worker")).split()[1]
    monitor.wait_for_line(rf"\[{worker}\]: signalled: ", SOON_S)


def test_what_is_in_swap_is_read_behind_65536_groups(
    start_python: Callable[..., subprocess.Popen[str]],
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: nobody else may have so many groups")
    groups = "import os, time; os.setgroups(range(100_000, 165_536)); print(1, flush=True); time.sleep(60)"
    process = start_python(groups)
    first_line(process)
    before_groups, _, _ = Path(f"/proc/{process.pid}/status").read_text().partition("Groups:")
    assert len(before_groups) < 4096
    assert proc.status_line(f"/proc/{process.pid}", b"\nVmSwap:").split()[1] == b"kB"
    assert proc.status_line(f"/proc/{process.pid}", b"\nNSpid:").split()[0] == b"%d" % process.pid
    assert proc.status_line(f"/proc/{process.pid}", b"\nNoSuchLine:") == b""


def test_the_user_of_one_that_cant_be_traced_isnt_root(
    start_leaker: Callable[..., Leaker], another_uid: int
) -> None:
    leaker = start_leaker(f"{MINE}-other", uid=another_uid)  # The change of user makes it so.
    assert os.stat(f"/proc/{leaker.pid}/statm").st_uid == 0
    assert proc.user_ids(leaker.pid) == (another_uid,) * 4


def test_a_process_gets_no_older_while_the_machine_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_gettime = time.clock_gettime
    with subprocess.Popen(("sleep", "60")) as child:
        process = LinuxProcess(child.pid)
        # The only clock that goes on then.
        asleep_s = {time.CLOCK_BOOTTIME: 3600.0}
        monkeypatch.setattr(
            time, "clock_gettime", lambda clock: clock_gettime(clock) + asleep_s.get(clock, 0)
        )
        assert process.age_s() < SOON_S
        # Time asleep before it was found can't be told from its own.
        assert LinuxProcess(child.pid).age_s() > 3600
        child.kill()


@pytest.mark.parametrize("arguments", [(), ("--check",), ("--once",)])
@pytest.mark.parametrize(
    "prefix",
    [("unshare", "--pid", "--fork"), ("unshare", "--pid", "--fork", "unshare", "--pid", "--fork")],
    ids=["unshare", "twice"],
)
def test_in_front_of_the_proc_of_another_pid_namespace_it_refuses_to_start(
    prefix: tuple[str, ...], arguments: tuple[str, ...]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: a PID namespace is made by nobody else")
    done = run(*prefix, *COMMAND, *arguments, "-m", "20", f"{MINE}-x")
    assert done.returncode == 1, done
    assert "/proc is that of another PID namespace, where this process is" in done.stderr
    assert done.stderr.count("\n") == 1


def test_in_front_of_a_proc_that_doesnt_show_it_it_refuses_to_start() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: a PID namespace is made by nobody else")
    # The shell stays outside, its child mounts the /proc of a namespace in which the monitor isn't.
    script = (
        "unshare --pid --fork --mount-proc sleep 60 2>/dev/null & "
        'until [ "$(cat /proc/$!/task/$!/children)" ]; do sleep 0.1; done; '
        "inner=$(cat /proc/$!/task/$!/children); "
        f"nsenter --mount=/proc/${{inner% }}/ns/mnt --wd={ROOT} {' '.join(COMMAND)} -m 20 x; status=$?; "
        "kill -9 ${inner% }; exit $status"
    )
    done = run("sh", "-c", script)
    assert done.returncode == 1, done
    assert "/proc doesn't show this process" in done.stderr
    assert done.stderr.count("\n") == 1


def test_with_its_own_proc_it_starts_in_a_pid_namespace() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: a PID namespace is made by nobody else")
    done = run("unshare", "--pid", "--fork", "--mount-proc", *COMMAND, "-m", "20", "--once", f"{MINE}-x")
    assert done.returncode == 4, done


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SOON_S, check=False)
