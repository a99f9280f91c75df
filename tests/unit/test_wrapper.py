"""A main process that only waits for the one with the memory, as a shell does."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from memmon_systemd.linux import proc
from memmon_systemd.linux.wrapper import has_default, is_wrapper, leaves_memory
from memmon_systemd.monitor.policy import State
from tests.process.waiting import eventually
from tests.unit.trees import MIB, Tree, linux_only, use

pytestmark = linux_only

Start = Callable[..., Tree]
CHILD = f"{sys.executable} -IS -c 'import time; x = bytes([1]) * (20 << 20); time.sleep(600)'"


def children_of(pid: int) -> set[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return {int(word) for word in text.split()}


@contextmanager
def shell(script: str, children: int = 1) -> Iterator[tuple[int, set[int]]]:
    """A shell that runs a script, and itself with its children."""
    with subprocess.Popen(("sh", "-c", script), start_new_session=True) as process:
        try:
            pid = process.pid
            eventually(lambda: len(children_of(pid)) == children, 10.0, "the shell has its children")
            for child in children_of(pid):
                eventually(lambda: proc.rss_bytes(child) > 20 * MIB, 10.0, "a child has its memory")  # noqa: B023
            yield pid, {pid, *children_of(pid)}
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("script", "number", "expected"),
    [
        (f"{CHILD}; exit", signal.SIGTERM, True),
        # It may well stop its child then.
        (f"trap 'kill %1' TERM; {CHILD} & wait", signal.SIGTERM, False),
        (f"trap 'kill %1' TERM; {CHILD} & wait", signal.SIGQUIT, True),
        (f"trap '' TERM; {CHILD}; exit", signal.SIGTERM, False),
    ],
)
def test_a_shell_that_ends_by_the_signal_leaves_its_child(script: str, number: int, expected: bool) -> None:
    with shell(script) as (pid, pids):
        eventually(lambda: has_default(pid, number) is expected, 10.0, "the shell has set its trap")
        assert is_wrapper(pid, pids, number) is expected


def test_who_has_no_child_or_most_of_the_memory_is_none() -> None:
    work = "x = bytes([1]) * (60 << 20); subprocess.Popen(['sleep', '600']); time.sleep(600)"
    command = (sys.executable, "-IS", "-c", f"import subprocess, time; {work}")
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            pid = process.pid
            eventually(lambda: children_of(pid), 10.0, "it has a child")
            assert not is_wrapper(pid, {pid, *children_of(pid)}, signal.SIGTERM)
            assert not is_wrapper(pid, {pid}, signal.SIGTERM)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert not is_wrapper(pid, {pid}, signal.SIGTERM), "it has ended"


@pytest.mark.parametrize("options", ["", "--hard 101", "--restart"])
def test_a_wrapper_that_would_be_multiplied_is_held_and_asked_once_it_isnt_one(
    start: Start, options: str
) -> None:
    with shell(f"{CHILD}; exit") as (pid, pids):
        # Until it goes on after vfork(2), the shell blocks all signals.
        eventually(lambda: has_default(pid, signal.SIGTERM), 10.0, "the shell waits for its child")
        tree = start(f"-m 100 {options} app.service")
        app = tree.make("app.service", 90, pids=pids)
        tree.manager.usual = replace(tree.manager.usual, main_pid=pid)
        tree.manager.kill_modes.add("app.service")
        use(app, 110 * MIB)
        tree.advance(60)
        assert tree.asked == []
        assert tree.target("app.service").state is State.HELD
        (line,) = tree.log.having("app.service: held: ")
        assert "a restart leaves its other processes running (KillMode=)" in line
        # After `systemctl edit`, in the same invocation.
        tree.manager.kill_modes.clear()
        tree.advance(31)
        assert len(tree.asked) == 1


def program(work: str) -> subprocess.Popen[bytes]:
    """Runs a Python program, which handles SIGTERM."""
    command = (sys.executable, "-IS", "-c", f"import signal; signal.signal(15, print); {work}")
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_what_an_earlier_invocation_left_is_older_than_the_main_process(start: Start) -> None:
    """As the jobs of cron and the sessions of sshd are: the first restart shows that it doesn't help."""
    memory = "x = bytes([1]) * (60 << 20); print(flush=True); input()"
    with ExitStack() as stack:
        processes = []
        for work in (memory, "print(flush=True); input()"):
            process = stack.enter_context(program(work))
            stack.callback(process.communicate, b"\n")
            assert process.stdout is not None
            process.stdout.readline()
            processes.append(process)
        left, main = processes
        pids = {left.pid, main.pid}
        eventually(
            lambda: proc.read_stat(main.pid).start_ticks > proc.read_stat(left.pid).start_ticks, 1.0, "x"
        )
        assert leaves_memory(main.pid, pids, signal.SIGTERM)
        assert not leaves_memory(left.pid, pids, signal.SIGTERM), "its own child"
        tree = start("-m 100 app.service")
        tree.make("app.service", 110, pids=pids)
        tree.manager.usual = replace(tree.manager.usual, main_pid=main.pid)
        tree.manager.kill_modes.add("app.service")
        tree.advance(60)
        assert tree.asked == []
        assert len(tree.log.having("app.service: held: ")) == 1


@pytest.mark.parametrize("options", ["--kill-whom all", "--reload"])
def test_where_its_children_are_signalled_too_or_it_doesnt_end_it_is_asked(
    start: Start, options: str
) -> None:
    with shell(f"{CHILD}; exit") as (pid, pids):
        tree = start(f"-m 100 {options} app.service")
        tree.make("app.service", 110, pids=pids)
        tree.manager.usual = replace(tree.manager.usual, main_pid=pid)
        tree.manager.kill_modes.add("app.service")
        tree.advance(1)
        assert len(tree.asked) == 1
