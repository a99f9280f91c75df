"""What both ways to processes promise: /proc with pidfds, and psutil."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace

import pytest

from memmon_systemd.processes.table import Process, ProcessTable, by_proc, by_psutil
from tests.process.leaker import Leaker
from tests.unit.trees import MIB, NO_PROCESS, linux_only

pytestmark = linux_only  # The children take their names by prctl(2).
StartLeaker = Callable[..., Leaker]
NAME = f"mmc{os.getpid()}-"
PREFIX = NAME.encode()


@pytest.fixture(params=[by_proc, by_psutil])
def table(request: pytest.FixtureRequest) -> ProcessTable:
    made: ProcessTable = request.param()
    return made


@pytest.fixture
def child(start_leaker: StartLeaker) -> Leaker:
    return start_leaker(NAME + "child", mib=30)


@pytest.fixture
def process(table: ProcessTable, child: Leaker) -> Iterator[Process]:
    with closing(table.open(child.pid)) as opened:
        yield opened


def test_a_process_is_found_by_the_first_letters_of_its_name_and_only_once(
    table: ProcessTable, child: Leaker, start_leaker: StartLeaker
) -> None:
    start_leaker("x" + NAME)
    with closing(table.finder(PREFIX, 2.0)) as finder:
        assert finder.find(0.0) == [child.pid]
        assert finder.find(2.0) == []
        later = start_leaker(NAME + "later")
        assert finder.find(4.0) == [later.pid]


def test_a_pid_that_was_forgotten_is_found_again(table: ProcessTable, child: Leaker) -> None:
    with closing(table.finder(PREFIX, 2.0)) as finder:
        finder.find(0.0)
        finder.forget(child.pid)
        assert finder.find(60.0) == [child.pid]


def test_a_name_of_more_than_15_characters_is_found_by_all_of_them(
    table: ProcessTable, start_leaker: StartLeaker
) -> None:
    child = start_leaker(NAME + "and-much-more")
    with closing(table.finder(PREFIX + b"and-much", 2.0)) as finder:
        assert finder.find(0.0) == [child.pid]
    with closing(table.open(child.pid)) as process:
        assert process.is_still(PREFIX + b"and-much")
        assert not process.is_still(PREFIX + b"and-little")


def test_the_memory_is_what_the_process_has_touched(process: Process, child: Leaker) -> None:
    before = process.rss_bytes()
    assert 30 * MIB <= before < 36 * MIB
    child.grow(20)
    assert process.rss_bytes() - before == pytest.approx(20 * MIB, rel=0.05)
    assert 50 * MIB <= process.pss_bytes() <= process.rss_bytes()
    assert process.swap_bytes() >= 0


def test_a_process_knows_its_pid_and_name(process: Process, child: Leaker) -> None:
    assert process.pid == child.pid
    assert process.name.startswith((NAME + "child")[:15])


def test_another_name_is_noticed(process: Process, child: Leaker) -> None:
    assert process.is_still(PREFIX)
    child.rename("somebody-else")
    assert not process.is_still(PREFIX)


def test_a_signal_arrives(process: Process, child: Leaker) -> None:
    process.send(signal.SIGUSR1)
    child.wait_for_signals("SIGUSR1", 1, deadline_s=10)
    process.send(signal.SIGRTMIN + 3)
    child.wait_for_signals("SIGRTMIN+3", 1, deadline_s=10)


def test_what_has_ended_is_no_process_any_more(process: Process, child: Leaker, table: ProcessTable) -> None:
    child.kill()
    for question in (process.rss_bytes, process.pss_bytes, process.swap_bytes):
        with pytest.raises(ProcessLookupError):
            question()
    with pytest.raises(ProcessLookupError):
        process.send(signal.SIGUSR1)
    assert not process.is_still(PREFIX)
    with pytest.raises(ProcessLookupError):
        table.open(child.pid)


def test_a_zombie_has_ended(table: ProcessTable) -> None:
    with subprocess.Popen(["sleep", "60"]) as child, closing(table.open(child.pid)) as process:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ProcessLookupError):
            process.rss_bytes()
        assert not process.is_still(b"sleep")
        with pytest.raises(ProcessLookupError):
            table.open(child.pid)


def test_there_is_no_process_of_an_impossible_pid(table: ProcessTable) -> None:
    with pytest.raises(ProcessLookupError):
        table.open(NO_PROCESS)


def test_a_pid_that_is_another_process_by_now_is_noticed_by_its_start_time(process: Process) -> None:
    assert process.is_still(PREFIX)
    process.start -= 1  # type: ignore[attr-defined]  # both have it, the interface doesn't
    assert not process.is_still(PREFIX)


def test_this_process_and_all_above_it_are_never_to_be_signalled(table: ProcessTable) -> None:
    above = {1, os.getpid(), os.getppid()}
    assert above <= table.ancestors()
    with subprocess.Popen(["sleep", "60"]) as child:
        assert child.pid not in table.ancestors()
        child.kill()


def test_process_0_is_none_to_be_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS psutil lists the kernel as that; to kill(2) it is the whole process group of the caller."""
    kernel, other = (
        SimpleNamespace(pid=pid, info={"name": "kernel_task", "status": "running"}) for pid in (0, 7)
    )
    monkeypatch.setattr("psutil.process_iter", lambda _: [kernel, other])
    assert by_psutil().finder(b"kernel", 2.0).find(0.0) == [7]
