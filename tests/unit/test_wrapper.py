"""A main process that only waits for the one with the memory, as a shell does."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from memmon_systemd.linux import proc
from memmon_systemd.linux.wrapper import has_default, is_wrapper
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
        tree = start(f"-m 100 {options} app.service")
        app = tree.make("app.service", 90, pids=pids)
        tree.manager.usual = replace(tree.manager.usual, main_pid=pid)
        tree.manager.kill_modes.add("app.service")
        use(app, 110 * MIB)
        tree.advance(60)
        assert tree.asked == []
        assert tree.target("app.service").state is State.HELD
        (line,) = tree.log.having("app.service: held: ")
        assert "its main process would end and leave its children" in line
        # After `systemctl edit`, in the same invocation.
        tree.manager.kill_modes.clear()
        tree.advance(31)
        assert len(tree.asked) == 1


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
