"""inotify on real cgroups: a removed one doesn't take its watch with it, and root shares all with PID 1.

The many restarts and slices are directories that are made and removed as systemd does it, without the
processes; the monitor itself goes through fewer of them, by systemd.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from kit import CGROUPS, MIB, Monitor, Service, eventually, run

from memmon_systemd.linux.libc import Libc
from memmon_systemd.units.slice_watch import SliceWatch
from tests.audit.counting import held_by

SLICE: Final = CGROUPS / "watched.slice"
MOST_WATCHES: Final = Path("/proc/sys/fs/inotify/max_user_watches")


@pytest.fixture
def watched_slice() -> Iterator[Path]:
    """A slice of the tests' own, with the memory controller for what is in it."""
    SLICE.mkdir()
    (SLICE / "cgroup.subtree_control").write_text("+memory")
    yield SLICE
    SLICE.rmdir()


def see(watch: SliceWatch) -> int:
    """What the monitor does after news; how many units there are."""
    found = watch.scan(lambda name: name.endswith(".service"))
    watch.watch_limits(unit.path for unit in found.values())
    return len(found)


@pytest.mark.parametrize(
    ("times", "unit"),
    [(1_000, "app.service"), (200, "watched-user.slice/app.service")],
    ids=["1,000 restarts", "200 slices"],
)
def test_none_is_left_behind(watched_slice: Path, times: int, unit: str) -> None:
    """Nor after 10,000 restarts and 1,000 slices (Debian 12 and 13, 2026-11-27)."""
    directory = watched_slice / unit
    watch = SliceWatch(Libc(), str(SLICE), str(CGROUPS))
    see(watch)
    before = held_by("self")
    for _ in range(times):
        if directory.parent != SLICE:
            directory.parent.mkdir()
            (directory.parent / "cgroup.subtree_control").write_text("+memory")
        directory.mkdir()
        assert see(watch) == 1
        directory.rmdir()
        if directory.parent != SLICE:
            directory.parent.rmdir()
        assert see(watch) == 0
    after = held_by("self")
    print(f"{times} x {unit}: descriptors and watches: {before} -> {after}")
    assert after == before
    assert watch.has_all


def test_the_monitor_holds_no_more_after_restarts_and_slices() -> None:
    options = ("-m", "80%", "-i", "1", "watched.service", "passing@*.service")
    limit = (f"MemoryMax={60 * MIB}",)
    with Service("watched.service", properties=limit, restart=True), Monitor(*options) as monitor:
        monitor.wait_for(r"^watched\.service: ok: ")
        before = held_by(monitor.pid)
        for number in range(1, 16):
            run("systemctl", "restart", "watched.service")
            monitor.wait_for(r"^watched\.service: ok: ", number + 1)
        for number in range(1, 11):
            passing = ("--unit=passing@1.service", f"--slice=passing-{number}.slice")
            run("systemd-run", "--quiet", "--collect", *passing, "/bin/sleep", "infinity")
            monitor.wait_for(r"^passing@1\.service: ok: ", number)
            run("systemctl", "stop", "passing@1.service")
            run("systemctl", "stop", f"passing-{number}.slice", "passing.slice")
            monitor.wait_for(r"^passing@1\.service: waiting: it stopped", number)
        eventually(
            lambda: held_by(monitor.pid) == before,
            "it holds what it held",
            detail=lambda: f"{before} -> {held_by(monitor.pid)}",
        )
        assert not monitor.lines_with("inotify")


@contextmanager
def no_watch_left() -> Iterator[None]:
    """Of root's watches, that is; those that there are stay."""
    kept = MOST_WATCHES.read_text()
    MOST_WATCHES.write_text("1")
    try:
        yield
    finally:
        MOST_WATCHES.write_text(kept)


def test_while_there_are_no_watches_left_units_in_new_slices_are_found_all_the_same() -> None:
    with Monitor("-m", "80%", "-i", "1", "late@*.service") as monitor:
        with (
            no_watch_left(),
            Service("late@1.service", arguments=("--slice=late-1.slice",)),
        ):
            monitor.wait_for(r"^late@1\.service: ok: ")
            monitor.wait_for("No space left on device: raise fs.inotify.max_user_watches")
            with Service("late@2.service", arguments=("--slice=late-1.slice",)):
                monitor.wait_for(r"^late@2\.service: ok: ")
        with Service("late@3.service", arguments=("--slice=late-3.slice",)):
            monitor.wait_for(r"^late@3\.service: ok: ")
        assert len(monitor.lines_with("inotify")) == 1
