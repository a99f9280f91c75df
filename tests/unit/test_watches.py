"""The inotify watches on slices and limits: none is left behind; where they run out, slices are listed."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from memmon_systemd.linux.libc import Libc
from memmon_systemd.monitor.poller import NO_DESCRIPTOR
from memmon_systemd.units.slice_watch import SliceWatch
from tests.unit.test_units import no_descriptor_left
from tests.unit.trees import MIB, Tree, linux_only, restart

pytestmark = linux_only
Start = Callable[..., Tree]
WATCHES_AT_MOST = 3


class CountingLibc(Libc):
    """Counts the watches that were not taken away: a removed cgroup keeps them, unlike a plain directory."""

    def __init__(self) -> None:
        super().__init__()
        self.watches: dict[int, int] = {}
        """By the inode of what is watched."""
        self.at_most: int | None = None

    def watch(self, inotify: int, path: str, mask: int) -> int:
        inode = os.stat(path).st_ino
        if inode not in self.watches and len(self.watches) == self.at_most:
            raise OSError(errno.ENOSPC, "No space left on device")
        watch = self.watches[inode] = super().watch(inotify, path, mask)
        return watch

    def unwatch(self, inotify: int, watch: int) -> None:
        super().unwatch(inotify, watch)
        self.watches = {inode: kept for inode, kept in self.watches.items() if kept != watch}


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> CountingLibc:
    """The one that the monitor of the test takes its watches from."""
    libc = CountingLibc()
    monkeypatch.setattr("tests.unit.trees.Libc", lambda: libc)
    return libc


def wait_for_all(tree: Tree) -> None:
    """Let it work until it has seen what happened."""
    tree.advance(0.1)


def test_restarts_of_a_unit_with_a_share_leave_no_watch_behind(libc: CountingLibc, start: Start) -> None:
    tree = start("-m 80% app.service")
    app = tree.make("app.service", 10)
    (app / "memory.max").write_text(f"{100 * MIB}\n")
    wait_for_all(tree)
    before = len(libc.watches)
    for restarts in range(1, 200):
        restart(tree, app, 10)
        (app / "memory.max").write_text(f"{100 * MIB}\n")
        wait_for_all(tree)
        assert len(tree.log.having("app.service: ok: ")) == restarts + 1
    assert len(libc.watches) == before


def test_slices_that_come_and_go_leave_no_watch_behind(libc: CountingLibc, start: Start) -> None:
    tree = start("-m 80% job@*.service")
    wait_for_all(tree)
    before = len(libc.watches)
    for number in range(100):
        job = tree.make(f"job@{number}.service", 10, "user.slice/user-1000.slice")
        (job / "memory.max").write_text(f"{100 * MIB}\n")
        wait_for_all(tree)
        shutil.rmtree(tree.top / "user.slice")
        wait_for_all(tree)
    assert len(tree.log.having("waiting: it stopped")) == 100
    assert len(libc.watches) == before
    assert tree.targets == []


def test_a_limit_that_is_raised_is_followed_in_the_next_invocation_too(start: Start) -> None:
    tree = start("-m 50% -i 60 app.service")
    app = tree.make("app.service", 10)
    for size_mib in (200, 300):
        (app / "memory.max").write_text(f"{100 * MIB}\n")  # as the kernel, with its cgroup
        wait_for_all(tree)
        (app / "memory.max").write_text(f"{size_mib * MIB}\n")
        wait_for_all(tree)
        assert tree.log.having(f"the threshold is now {size_mib // 2} MiB")
        restart(tree, app, 10)


def test_where_watches_run_out_units_are_found_within_an_interval_and_at_once_when_there_are_some_again(
    libc: CountingLibc, start: Start
) -> None:
    libc.at_most = WATCHES_AT_MOST
    tree = start("-m 100 -i 5 first.service second.service third.service")
    for number in range(WATCHES_AT_MOST):
        (tree.top / f"{number}.slice").mkdir()
    tree.advance(0.1)
    tree.make("first.service", 101, "new.slice")
    tree.advance(12)
    tree.make("second.service", 101, "new.slice")
    tree.advance(5)
    assert [what.split()[1] for what in tree.asked] == ["first.service", "second.service"]
    (warning,) = tree.log.having("inotify")
    assert warning.endswith(
        "No space left on device: raise fs.inotify.max_user_watches;"
        " until then new units and limits may be noticed late"
    )
    libc.at_most = None
    tree.advance(6)
    tree.make("third.service", 101, "new.slice")
    tree.advance(0.1)
    assert tree.asked[-1].split()[1] == "third.service"


def test_where_limits_cannot_be_watched_they_are_followed_within_an_interval(
    libc: CountingLibc, start: Start
) -> None:
    libc.at_most = 2
    tree = start("-m 50% -i 5 app.service")
    app = tree.make("app.service", 10)
    (app / "memory.max").write_text(f"{100 * MIB}\n")
    tree.advance(7)
    (app / "memory.max").write_text(f"{300 * MIB}\n")
    tree.advance(5)
    assert tree.log.having("the threshold is now 150 MiB")
    assert len(tree.log.having("inotify")) == 1


def test_once_inotify_can_be_had_it_is_used(start: Start) -> None:
    with no_descriptor_left():
        tree = start("-m 100 -i 60 app.service")
        tree.advance(0)
    assert tree.watch.descriptor == NO_DESCRIPTOR
    tree.advance(61)
    tree.make("app.service", 101)
    tree.advance(0.1)
    assert tree.asked == ["kill app.service main 15"]


def test_the_limits_above_a_users_manager_are_watched_too(tmp_path: Path, libc: CountingLibc) -> None:
    top = tmp_path / "user.slice" / "user@1.service"
    app = top / "app.slice" / "app.service"
    app.mkdir(parents=True)
    above = tmp_path / "user.slice" / "memory.max"
    above.write_text("max\n")
    watch = SliceWatch(libc, str(top), str(tmp_path))
    try:
        watch.scan(lambda _: True)
        watch.watch_limits([os.fspath(app)])
        assert not watch.news(lambda _: True).limits
        above.write_text("1000000\n")
        assert watch.news(lambda _: True).limits
    finally:
        os.close(watch.descriptor)
