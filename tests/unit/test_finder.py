import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from memmon_systemd.linux import proc
from memmon_systemd.processes.finder import FULL_SCAN_S, YOUNG_S, Finder
from tests.process.leaker import Leaker
from tests.unit.trees import NO_PROCESS, linux_only

pytestmark = linux_only
StartLeaker = Callable[..., Leaker]
NAME = f"mmf{os.getpid()}-"
PR_SET_NAME = 15


@pytest.fixture
def finder() -> Iterator[Finder]:
    with closing(Finder(NAME.encode(), 2.0)) as made:
        yield made


def test_a_process_is_found_once_whether_it_was_there_before_or_came_later(
    finder: Finder, start_leaker: StartLeaker
) -> None:
    before = start_leaker(NAME + "1")
    assert finder.find(0.0) == [before.pid]
    after = start_leaker(NAME + "2")
    assert finder.find(2.0) == [after.pid]
    assert finder.find(4.0) == []


def test_while_no_process_is_made_nothing_is_listed_but_every_30_s(
    finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans: list[float] = []
    now_s = 0.0

    def pids() -> Iterator[int]:
        scans.append(now_s)
        yield from ()

    finder.find(now_s)
    monkeypatch.setattr(proc, "pids", pids)
    while now_s < 2 * FULL_SCAN_S + 2:
        now_s += 1.0
        finder.find(now_s)
    # The first look has no number to compare with, so the second is a scan once more.
    assert scans == [1.0, 1.0 + FULL_SCAN_S, 1.0 + 2 * FULL_SCAN_S]


def test_a_young_process_that_takes_the_name_is_found_at_the_next_look(
    finder: Finder, start_leaker: StartLeaker
) -> None:
    finder.find(0.0)
    finder.find(1.0)
    child = start_leaker("something-else")
    assert finder.find(2.0) == []
    child.rename(NAME)
    assert finder.find(2.0 + YOUNG_S - 0.1) == [child.pid]


def test_an_old_process_that_takes_the_name_is_found_within_30_s(
    finder: Finder, start_leaker: StartLeaker
) -> None:
    child = start_leaker("something-else")
    finder.find(0.0)
    finder.find(1.0)
    child.rename(NAME)
    assert finder.find(FULL_SCAN_S) == []
    assert finder.find(FULL_SCAN_S + 1.0) == [child.pid]


def test_a_pid_that_was_forgotten_is_new_again(finder: Finder, start_leaker: StartLeaker) -> None:
    child = start_leaker(NAME)
    finder.find(0.0)
    finder.forget(child.pid)
    assert finder.find(FULL_SCAN_S) == [child.pid]


@pytest.mark.parametrize(
    ("prefix", "matches"),
    [
        ("memmon-longname-of", True),
        ("memmon-longname-of-16", True),
        ("memmon-longname", True),
        ("memmon-longname-x", False),
        ("memmon-longnamf", False),
        ("emmon-longname-of", False),
    ],
)
def test_a_prefix_of_more_than_15_characters_is_compared_with_the_arguments(
    start_leaker: StartLeaker, prefix: str, matches: bool
) -> None:
    child = start_leaker("memmon-longname-of-16")
    with closing(Finder(prefix.encode(), 2.0)) as finder:
        assert (child.pid in finder.find(0.0)) is matches


def test_a_long_script_name_is_that_of_the_process_behind_its_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "memmon-script-with-a-long-name"
    script.write_text(f"#!{shutil.which('sh')}\necho ready\nread _\n")
    script.chmod(0o700)
    pipe = subprocess.PIPE
    with (
        subprocess.Popen([script], stdin=pipe, stdout=pipe) as child,
        closing(Finder(b"memmon-script-with-a", 2.0)) as finder,
    ):
        assert child.stdout is not None
        child.stdout.readline()
        assert finder.find(0.0) == [child.pid]
        child.kill()


def test_threads_are_no_processes(finder: Finder) -> None:
    named, done = threading.Event(), threading.Event()

    def take_the_name() -> None:
        ctypes.CDLL(None).prctl(PR_SET_NAME, NAME.encode())
        named.set()
        done.wait()

    finder.find(0.0)
    finder.find(1.0)
    thread = threading.Thread(target=take_the_name)
    thread.start()
    try:
        assert named.wait(10)
        assert Path(f"/proc/{thread.native_id}/comm").read_text() == f"{NAME}\n"
        assert finder.find(2.0) == []
    finally:
        done.set()
        thread.join()


def test_a_process_that_ends_while_all_are_listed_is_no_error(
    finder: Finder, start_leaker: StartLeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = start_leaker(NAME)
    monkeypatch.setattr(proc, "pids", lambda: iter((NO_PROCESS, child.pid)))
    assert finder.find(0.0) == [child.pid]


def test_many_new_processes_at_once_are_found_by_one_scan(
    finder: Finder, start_leaker: StartLeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder.find(0.0)
    finder.find(1.0)
    child = start_leaker(NAME)
    monkeypatch.setattr("memmon_systemd.processes.finder._MANY_NEW", 0)
    assert finder.find(2.0) == [child.pid]


def test_a_list_that_breaks_off_is_begun_again_at_the_next_look(
    finder: Finder, start_leaker: StartLeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder.find(0.0)
    finder.find(1.0)
    old = start_leaker("another")
    finder.find(2.0)
    old.rename(NAME)
    now_s = 2.0 + FULL_SCAN_S

    def broken() -> Iterator[int]:
        yield 1
        raise OSError(24, "Too many open files", "/proc")

    with monkeypatch.context() as patch:
        patch.setattr(proc, "pids", broken)
        with pytest.raises(OSError, match="/proc"):
            finder.find(now_s)
    assert finder.find(now_s + 1.0) == [old.pid]
