import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.linux.limits import physical_bytes
from memmon_systemd.processes.source import PrefixSource
from memmon_systemd.processes.table import ProcessTable, by_proc, by_psutil
from tests.process.leaker import Leaker
from tests.unit.trees import MIB, Tree, linux_only

pytestmark = linux_only
Start = Callable[..., Tree]
StartLeaker = Callable[..., Leaker]
NAME = f"mmp{os.getpid()}-"
"""No other process of this machine begins like that, and room is left for 15 characters."""


@pytest.fixture(params=[by_proc, by_psutil])
def table(request: pytest.FixtureRequest) -> ProcessTable:
    made: ProcessTable = request.param()
    return made


@pytest.fixture
def watch(start: Start, table: ProcessTable) -> Callable[..., Tree]:
    """A monitor of the processes of NAME."""

    def begin(arguments: str, hierarchy: Hierarchy | None = None, **changes: object) -> Tree:
        tree = start(f"{arguments} --as process {NAME}", names=())
        changed = replace(table, **changes)  # type: ignore[arg-type]  # their types are those of the table
        source = PrefixSource(NAME, tree.settings.target, changed, hierarchy, tree.context)
        tree.monitor = tree.monitor_of([source])
        return tree

    return begin


def test_every_matching_process_is_measured_and_signalled_by_itself(
    watch: Callable[..., Tree], start_leaker: StartLeaker
) -> None:
    small, large, other = start_leaker(NAME + "a", mib=2), start_leaker(NAME + "b", mib=40), start_leaker("x")
    other.grow(40)
    tree = watch("-m 20 -s USR1")
    tree.advance(0)
    large.wait_for_signals("SIGUSR1", 1, deadline_s=10)
    names = {target.name for target in tree.targets}
    assert names == {f"{NAME}a[{small.pid}]", f"{NAME}b[{large.pid}]"}
    assert len(tree.log.having("signalled: rss 4")) == 1
    assert small.lines == ["ready"]
    assert other.lines == ["ready", "grown"]


def test_while_it_stays_above_the_signal_is_repeated_at_every_interval(
    watch: Callable[..., Tree], start_leaker: StartLeaker
) -> None:
    child = start_leaker(NAME, mib=40, ignore=True)
    tree = watch("-m 20 -i 3")
    for count in (1, 2, 3):  # One at a time: signals that wait to be taken become one.
        tree.advance(0 if count == 1 else 3)
        child.wait_for_signals("SIGTERM", count, deadline_s=10)
    assert len(tree.log.having("sent SIGTERM")) == 3


def test_a_name_that_matches_nothing_is_waited_for_and_a_process_that_comes_is_found(
    watch: Callable[..., Tree], start_leaker: StartLeaker
) -> None:
    tree = watch("-m 20")
    tree.advance(10)
    assert tree.log.lines == [f"{NAME}: waiting: there is no process of that name"]
    child = start_leaker(NAME)
    tree.advance(2)
    assert tree.log.having(f"{NAME}[{child.pid}]: ok: rss")
    child.kill()
    tree.advance(4)
    assert tree.log.lines[-1] == f"{NAME}: waiting: there is no process of that name"
    assert tree.targets == []
    start_leaker(NAME, mib=40)
    tree.advance(2)
    assert len(tree.log.having("sent SIGTERM")) == 1


def test_of_many_processes_the_first_and_those_ever_above_are_worth_a_line(
    watch: Callable[..., Tree], start_leaker: StartLeaker
) -> None:
    tree = watch("-m 20")
    first = start_leaker(NAME)
    tree.advance(0)
    for _ in range(5):
        start_leaker(NAME).kill()
        small = start_leaker(NAME)
        tree.advance(2)
        small.kill()
        tree.advance(2)
    large = start_leaker(NAME, mib=40, ignore=True)
    tree.advance(1)
    large.kill()
    tree.advance(2)
    ok, signalled, ended = tree.log.lines
    assert ok.startswith(f"{NAME}[{first.pid}]: ok: ")
    assert signalled.startswith(f"{NAME}[{large.pid}]: signalled: ")
    assert ended == f"{NAME}[{large.pid}]: ended"


def test_who_comes_in_place_of_one_that_was_asked_is_worth_a_line(
    watch: Callable[..., Tree], start_leaker: StartLeaker
) -> None:
    tree = watch("-m 20 -i 5")
    asked = start_leaker(NAME, mib=40)
    tree.advance(0)
    asked.process.wait(10)
    again = start_leaker(NAME)
    tree.advance(5)
    signalled, ok, ended = tree.log.lines
    assert signalled.startswith(f"{NAME}[{asked.pid}]: signalled: ")
    assert ok.startswith(f"{NAME}[{again.pid}]: ok: ")
    assert ended == f"{NAME}[{asked.pid}]: ended"


def test_one_process_in_place_of_another_fills_no_log(
    watch: Callable[..., Tree], start_leaker: StartLeaker
) -> None:
    tree = watch("-m 20 -i 1")
    child = start_leaker(NAME)
    tree.advance(0)
    for _ in range(5):
        child.kill()
        child = start_leaker(NAME)
        tree.advance(1)
    assert len(tree.log.lines) == 1


def test_with_verbose_each_that_comes_and_goes_is_said(
    watch: Callable[..., Tree], start_leaker: StartLeaker
) -> None:
    tree = watch("-m 20 -v")
    start_leaker(NAME)
    second = start_leaker(NAME)
    tree.advance(0)
    second.kill()
    tree.advance(4)
    assert tree.log.having(f"{NAME}[{second.pid}]: ok: ")
    assert tree.log.having(f"{NAME}[{second.pid}]: ended")


def test_one_process_after_another_fills_no_log(
    watch: Callable[..., Tree], start_leaker: StartLeaker
) -> None:
    tree = watch("-m 20 -i 1")
    tree.advance(0)
    for _ in range(30):
        child = start_leaker(NAME)
        tree.advance(2)
        child.kill()
        tree.advance(2)
    assert len(tree.log.lines) == 19
    assert tree.log.lines[-1].endswith("there is no process of that name (for the 10th time; -v logs more)")


def test_a_process_that_took_another_name_is_let_go_instead_of_signalled(
    watch: Callable[..., Tree], start_leaker: StartLeaker
) -> None:
    child = start_leaker(NAME, mib=2)
    tree = watch("-m 20")
    tree.advance(0)
    child.rename("somebody-else")
    child.grow(40)
    tree.advance(4)
    assert tree.targets == []
    assert tree.log.having("sent") == []
    assert child.lines == ["ready", "renamed", "grown"]


def test_what_runs_the_monitor_is_left_out_with_one_warning(
    watch: Callable[..., Tree], start_leaker: StartLeaker
) -> None:
    parent = start_leaker(NAME, mib=40)
    tree = watch("-m 20", ancestors=lambda: {parent.pid})
    tree.advance(10)
    assert tree.log.having("warning") == [
        f"warning: process {parent.pid} is skipped: it is memory-monitor or an ancestor of it"
    ]
    assert parent.lines == ["ready"]


def test_a_process_that_comes_to_run_the_monitor_isnt_signalled(
    watch: Callable[..., Tree], start_leaker: StartLeaker
) -> None:
    child = start_leaker(NAME, mib=2)
    untouchable: set[int] = set()
    tree = watch("-m 20", ancestors=lambda: untouchable)
    tree.advance(0)
    untouchable.add(child.pid)
    child.grow(40)
    tree.advance(4)
    assert child.lines == ["ready", "grown"]


def test_a_process_that_ends_while_it_is_found_is_no_error(
    watch: Callable[..., Tree], start_leaker: StartLeaker, table: ProcessTable
) -> None:
    quick, slow = start_leaker(NAME + "quick"), start_leaker(NAME + "slow")

    def end_then_open(pid: int) -> object:
        if pid == quick.pid:
            quick.kill()
        return table.open(pid)

    tree = watch("-m 20", open=end_then_open)
    tree.advance(4)
    assert [target.name for target in tree.targets] == [f"{NAME}slow[{slow.pid}]"]


def test_a_process_that_ends_before_the_signal_is_said_to_have_ended(
    watch: Callable[..., Tree], start_leaker: StartLeaker
) -> None:
    child = start_leaker(NAME, mib=40)
    tree = watch("-m 20 --for 5")
    tree.advance(2)
    child.kill()
    tree.advance(5)
    assert tree.log.having("ended") == [f"{NAME}[{child.pid}]: ended"]
    assert tree.log.having("sent") == []


@pytest.mark.parametrize("limit_mib", [None, 300])
def test_a_share_is_one_of_the_limit_above_the_process_else_of_physical_memory(
    watch: Callable[..., Tree],
    start_leaker: StartLeaker,
    tmp_path: Path,
    limit_mib: int | None,
) -> None:
    start_leaker(NAME)
    if limit_mib is not None:
        (tmp_path / "memory.max").write_text(f"{limit_mib * MIB}\n")
    tree = watch("-m 50%", Hierarchy(str(tmp_path), memory=True))
    tree.advance(0)
    whole_bytes = physical_bytes() if limit_mib is None else limit_mib * MIB
    gauge = tree.targets[0].gauge
    assert gauge is not None
    assert gauge.schedule.threshold_bytes == pytest.approx(whole_bytes / 2, abs=1)


def test_looking_for_new_processes_goes_along_with_the_looks_at_the_known_ones(
    watch: Callable[..., Tree], start_leaker: StartLeaker
) -> None:
    start_leaker(NAME + "a")
    tree = watch("-m 20000 -i 1")
    tree.advance(0)
    tree.targets[0].look_in(0.5, tree.clock.now_s)  # Half an interval off.
    tree.advance(2)
    tree.poller.waits_s.clear()
    tree.advance(10)
    assert 10 <= len(tree.poller.waits_s) <= 11
    start_leaker(NAME + "b")
    tree.advance(2)
    assert len(tree.targets) == 2


def test_searches_that_fail_are_said_once_and_counted_when_one_works_again(
    watch: Callable[..., Tree],
) -> None:
    class Finder:
        is_broken = True
        unreadable = None
        sees_all = True

        def find(self, now_s: float) -> list[int]:
            if self.is_broken:
                raise OSError(5, "Input/output error", "/proc/loadavg")
            return []

    finder = Finder()
    tree = watch("-m 20 -i 1", finder=lambda *_: finder)
    tree.advance(1000)
    finder.is_broken = False
    tree.advance(10)
    first, last = tree.log.having("warning")
    assert first.endswith(
        "processes can't be listed: [Errno 5] Input/output error: '/proc/loadavg'; retried at every poll"
    )
    count = int(last.rpartition("after ")[2].split()[0].replace(",", ""))
    assert last.endswith("searches failed")
    assert 600 <= count <= 1001


def test_names_that_cant_be_read_are_said_at_the_first_the_10th_and_the_100th_time(
    watch: Callable[..., Tree],
) -> None:
    class Finder:
        unreadable = TimeoutError(110, "is locked", "/proc/123/cmdline")
        sees_all = True

        def find(self, now_s: float) -> list[int]:
            return []

    tree = watch("-m 20 -i 1", finder=lambda *_: Finder())
    tree.advance(500)
    first, tenth, hundredth = tree.log.having("the name of a process can't be read")
    assert "'/proc/123/cmdline'); the others" in first
    assert "); 10 times so far; the others" in tenth
    assert "); 100 times so far; the others" in hundredth


def test_a_pid_is_another_process_once_what_ran_the_monitor_has_ended(
    watch: Callable[..., Tree], start_leaker: StartLeaker
) -> None:
    child = start_leaker(NAME, mib=40, ignore=True)
    untouchable = {child.pid}
    tree = watch("-m 20", ancestors=lambda: untouchable)
    tree.advance(60)
    assert len(tree.log.having("is skipped")) == 1
    untouchable.clear()
    tree.advance(60)
    child.wait_for_signals("SIGTERM", 1, 10)


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_a_process_that_cant_be_held_is_said_once_and_tried_again(
    watch: Callable[..., Tree], start_leaker: StartLeaker, table: ProcessTable, number: int
) -> None:
    refused = [OSError(number, os.strerror(number), "pidfd_open(2)")]

    def open_or_refuse(pid: int) -> object:
        if refused:
            raise refused[0]
        return table.open(pid)

    child = start_leaker(NAME, mib=40, ignore=True)
    tree = watch("-m 20", open=open_or_refuse)
    tree.advance(300)
    why = f"(pidfd_open(2): {os.strerror(number)})"
    assert tree.log.lines == [
        f"warning: {NAME}: process {child.pid} can't be monitored {why}; retried at every search",
        f"{NAME}: waiting: its processes can't be monitored {why}",
    ]
    refused.clear()
    tree.advance(60)
    child.wait_for_signals("SIGTERM", 1, 10)


def test_what_cant_be_told_from_another_process_isnt_signalled_and_looked_at_once_an_interval(
    watch: Callable[..., Tree], start_leaker: StartLeaker, table: ProcessTable
) -> None:
    broken = [True]

    def opened(pid: int) -> object:
        process = table.open(pid)

        class Doubtful:
            """The same, but who it is can't be read while `broken`."""

            def __getattr__(self, name: str) -> object:
                return getattr(process, name)

            def is_still(self, prefix: bytes) -> bool:
                if broken:
                    raise OSError(5, "Input/output error")
                return process.is_still(prefix)

        return Doubtful()

    child = start_leaker(NAME, mib=40, ignore=True)
    tree = watch("-m 20 -i 1", open=opened)
    tree.advance(50)
    (line,) = tree.log.having("not signalled")
    assert line.endswith("can't tell if it is still the same process ([Errno 5] Input/output error)")
    assert len(tree.poller.waits_s) < 110
    broken.clear()
    tree.advance(1)
    child.wait_for_signals("SIGTERM", 1, 10)
    broken.append(True)
    tree.advance(5)
    assert not [line for line in tree.log.lines if "continuing" in line]


def test_of_processes_whose_memory_cant_be_read_the_first_is_worth_a_line(
    watch: Callable[..., Tree], start_leaker: StartLeaker, table: ProcessTable
) -> None:
    def opened(pid: int) -> object:
        process = table.open(pid)

        class Unreadable:
            def __getattr__(self, name: str) -> object:
                return getattr(process, name)

            def rss_bytes(self) -> int:
                raise OSError(5, "Input/output error")

        return Unreadable()

    for _ in range(5):
        start_leaker(NAME)
    tree = watch("-m 20", open=opened)
    tree.advance(20)
    assert len(tree.log.having("its memory can't be read")) == 1
    assert [target.unreadable > 5 for target in tree.targets] == [True] * 5


@pytest.mark.parametrize(
    ("options", "found_s"),
    [
        ("-m 100 -i 1", 1.0),
        ("-m 100 -i 1 --growth 400M", 0.25),
        ("-m 100 -i 1 --growth 100G", 0.05),
        ("-m 1% -i 1 --growth 400M", 1.0),
    ],
)
def test_a_new_process_is_found_before_it_can_have_grown_to_the_threshold(
    watch: Callable[..., Tree], start_leaker: StartLeaker, options: str, found_s: float
) -> None:
    tree = watch(options)
    for suffix in ("a", "b"):  # The first is waited for, the second comes beside a target.
        tree.advance(10.03)
        new = start_leaker(NAME + suffix, mib=2)
        tree.advance(found_s)
        assert f"{NAME}{suffix}[{new.pid}]" in [target.name for target in tree.targets]
