import os
import resource
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from memmon_systemd.linux import cgroup
from memmon_systemd.monitor.policy import State
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.unit import UnitState
from memmon_systemd.units.slice_watch import SliceWatch
from memmon_systemd.units.untouchable import untouchable_units
from tests.process.leaker import Leaker
from tests.unit.trees import MIB, NO_PROCESS, Tree, linux_only, restart, use

pytestmark = linux_only
Start = Callable[..., Tree]
StartLeaker = Callable[..., Leaker]


def test_a_unit_that_starts_is_found_at_once_and_nobody_is_asked_while_nothing_happens(start: Start) -> None:
    tree = start("-m 100 -i 60 app.service")
    tree.advance(0)
    assert tree.log.lines == ["app.service: waiting: it isn't running"]
    tree.advance(1000)
    assert tree.manager.questions == 0
    begin_s = tree.clock.now_s
    tree.make("app.service", 101)
    tree.advance(0.1)
    assert [when_s - begin_s for when_s, _ in tree.manager.asked] == [0.0]


def test_while_a_unit_is_ok_its_manager_isnt_asked(start: Start) -> None:
    tree = start("-m 100 app.service")
    tree.make("app.service", 90)
    tree.advance(2)
    before = tree.manager.questions
    tree.advance(1000)
    assert tree.manager.questions == before


def test_a_unit_that_restarted_is_found_again_and_starts_afresh(start: Start) -> None:
    tree = start("-m 100 --repeat 1h app.service")
    app = tree.make("app.service", 101)
    tree.advance(10)
    restart(tree, app, 101)
    tree.advance(10)
    assert len(tree.asked) == 2
    restart(tree, app, 50)
    tree.advance(10)
    assert len(tree.asked) == 2
    assert tree.log.lines[-3:] == [
        "app.service: waiting: it stopped",
        "app.service: ok: unreclaimable 50 MiB of 100 MiB",
        "app.service: ended after 10 s and active again after 10 s",
    ]


def test_instances_of_a_glob_come_and_go(start: Start) -> None:
    tree = start("-m 100 worker@*.service")
    first = tree.make("worker@1.service", 10, "system.slice/system-worker.slice")
    tree.make("other.service", 500)
    tree.advance(2)
    tree.make("worker@2.service", 101, "system.slice/system-worker.slice")
    tree.advance(2)
    tree.make("worker@3.service", 10, "new.slice/new-er.slice")
    tree.advance(2)
    assert {target.name for target in tree.targets} == {f"worker@{i}.service" for i in (1, 2, 3)}
    assert [what.split()[1] for what in tree.asked] == ["worker@2.service"]
    shutil.rmtree(first)
    tree.advance(2)
    assert {target.name for target in tree.targets} == {"worker@2.service", "worker@3.service"}
    tree.make("worker@1.service", 101, "system.slice/system-worker.slice")
    tree.advance(2)
    assert [what.split()[1] for what in tree.asked] == ["worker@2.service", "worker@1.service"]


def test_a_unit_that_is_named_twice_is_one_target(start: Start) -> None:
    tree = start("-m 100 app.service app.service ap*.service")
    tree.make("app.service", 101)
    tree.advance(2)
    assert tree.asked == ["kill app.service main 15"]
    assert len(tree.targets) == 1


def test_what_the_monitor_runs_in_is_left_out_with_one_warning(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = {1: "/init.scope", 77: "/system.slice/memory-monitor@app.service"}
    monkeypatch.setattr(cgroup, "control_group_of", groups.get)
    tree = start("-m 100 *", untouchable_pids=(1, 77))
    tree.make("memory-monitor@app.service", 101)
    tree.make("init.scope", 101, ".")
    tree.make("app.service", 101)
    (tree.top / "system.slice" / "memory.current").write_text(f"{101 * MIB}\n")
    tree.advance(5)
    tree.make("app-2.service", 90)
    tree.advance(5)
    assert tree.asked == ["kill app.service main 15"]
    skipped = [line.split()[1] for line in tree.log.having("is skipped")]
    assert sorted(skipped) == ["init.scope", "memory-monitor@app.service", "system.slice"]
    assert "-.slice" in untouchable_units((1, 77), "/")


@pytest.mark.parametrize("restarts", [0, 2])
def test_without_the_memory_controller_rss_is_added_up_and_one_warning_says_so(
    start: Start, restarts: int
) -> None:
    tree = start("-m 1 --metric anon app.service", memory=False)
    app = tree.make("app.service", 0, pids=(os.getpid(), NO_PROCESS))
    (app / "memory.current").unlink()
    tree.advance(2)
    for _ in range(restarts):
        restart(tree, app, 0)
        (app / "memory.current").unlink()
        tree.advance(2)
    assert tree.log.having("warning") == [
        "warning: app.service: no memory controller (cgroup v1): adding up the RSS of its processes"
        " instead of anon"
    ]
    assert tree.asked == ["kill app.service main 15"]


def test_a_cgroup_gets_a_second_for_its_memory_files_to_come(start: Start) -> None:
    tree = start("-m 100 -i 60 early.service late.service")
    directory = tree.top / "system.slice" / "late.service"
    directory.mkdir()
    (tree.top / "system.slice" / "early.service").mkdir()
    tree.advance(0.5)
    assert tree.log.having("warning") == []
    shutil.rmtree(tree.top / "system.slice" / "early.service")
    tree.make("early.service", 101)
    tree.advance(0.2)
    assert tree.asked == ["kill early.service main 15"]
    tree.advance(2)
    (warning,) = tree.log.having("warning")
    assert f"{directory}/memory.current: No such file" in warning


def test_a_unit_whose_manager_doesnt_answer_is_measured_all_the_same(start: Start) -> None:
    tree = start("-m 100 app.service")
    tree.manager.failure = BusError(110, "no answer within 1 s")
    tree.make("app.service", 50)
    tree.advance(2)
    assert tree.target("app.service").state is State.OK
    assert tree.log.having("no answer within 1 s; monitored anyway")


def test_where_systemd_doesnt_answer_the_signal_goes_to_the_process_itself(
    start: Start, start_leaker: StartLeaker
) -> None:
    child = start_leaker("memmon-direct", ignore=True)
    tree = start("-m 100 -s USR1 app.service")
    tree.make("app.service", 101, pids=(child.pid,))
    tree.manager.failure = BusError(110, "no answer within 1 s")
    tree.advance(1)
    child.wait_for_signals("SIGUSR1", 1, deadline_s=10)
    assert tree.log.having(f"sent SIGUSR1 to process {child.pid} by pidfd (no answer within 1 s)")


def test_where_only_the_kill_is_unanswered_the_signal_goes_to_whom_systemd_was_told_to_signal(
    start: Start, start_leaker: StartLeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    children = [start_leaker(f"memmon-mainless-{number}", ignore=True) for number in range(2)]
    tree = start("-m 100 -s USR1 app.service")

    def kill(*_: object) -> None:
        raise BusError(110, "no answer within 1 s")

    monkeypatch.setattr(tree.manager, "kill", kill)
    tree.manager.states["app.service"] = UnitState(b"first", 0, False, "active", "running")
    tree.make("app.service", 101, pids=[child.pid for child in children])
    tree.advance(1)
    for child in children:
        child.wait_for_signals("SIGUSR1", 1, deadline_s=10)
    assert tree.log.having("sent SIGUSR1 to 2 of 2 processes by pidfd (no answer within 1 s)")


def test_to_signal_many_processes_the_list_of_them_is_read_a_few_times(
    start: Start, start_leaker: StartLeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    children = [start_leaker(f"memmon-many-{number}", ignore=True) for number in range(40)]
    tree = start("-m 100 -s USR1 --kill-whom all app.service")
    tree.manager.failure = BusError(110, "no answer within 1 s")
    tree.make("app.service", 101, pids=[child.pid for child in children])
    reads: list[str] = []
    real = cgroup.processes_below

    def counted(directory: str) -> Iterable[int]:
        reads.append(directory)
        return real(directory)

    monkeypatch.setattr(cgroup, "processes_below", counted)
    tree.advance(1)
    for child in children:
        child.wait_for_signals("SIGUSR1", 1, deadline_s=10)
    assert tree.log.having("sent SIGUSR1 to 40 of 40 processes by pidfd (no answer within 1 s)")
    assert len(reads) == 3, "once for all, and once for each 32"


def test_a_process_that_is_listed_twice_gets_one_signal(start: Start, start_leaker: StartLeaker) -> None:
    child = start_leaker("memmon-twice", ignore=True)
    tree = start("-m 100 -s USR1 --kill-whom all app.service")
    tree.make("app.service", 101, pids=(child.pid, child.pid))
    tree.manager.failure = BusError(110, "no answer within 1 s")
    tree.advance(1)
    child.wait_for_signals("SIGUSR1", 1, deadline_s=10)
    assert tree.log.having(f"sent SIGUSR1 to process {child.pid} by pidfd")


def test_by_a_broken_list_of_processes_nobody_is_signalled_until_it_is_whole_again(
    start: Start, start_leaker: StartLeaker
) -> None:
    main, worker = start_leaker("memmon-main", ignore=True), start_leaker("memmon-worker", ignore=True)
    tree = start("-m 100 -s USR1 app.service")
    tree.manager.usual = replace(tree.manager.usual, main_pid=main.pid)
    app = tree.make("app.service", 101)
    (app / "cgroup.procs").write_text(f"{worker.pid}\n{main.pid}")
    tree.manager.failure = BusError(110, "no answer within 1 s")
    tree.advance(1)
    (failed,) = tree.log.having("not signalled")
    assert failed.endswith(f"by pidfd: {app}/cgroup.procs: this is not a list of PIDs")
    (app / "cgroup.procs").write_text(f"{worker.pid}\n{main.pid}\n")
    tree.advance(2)
    main.wait_for_signals("SIGUSR1", 1, deadline_s=10)
    assert not worker.lines.count("SIGUSR1")


def test_a_bus_that_was_lost_for_hours_is_used_as_soon_as_it_is_back(start: Start) -> None:
    tree = start("-m 100 --restart app.service")
    tree.make("app.service", 101)
    tree.manager.failure = BusError(111, "no bus there")
    tree.advance(5 * 3600)
    (failed,) = tree.log.having("not restarted")
    assert failed.endswith("no bus there")
    tree.manager.failure = None
    tree.advance(2)
    assert tree.asked == ["restart app.service"]


def test_what_systemd_refuses_is_asked_again_after_longer_and_longer_pauses(start: Start) -> None:
    tree = start("-m 100 --restart app.service")
    tree.make("app.service", 101)
    tree.manager.failure = BusError(13, "Permission denied", was_called=True)
    tree.advance(4.5 * 3600)
    tree.manager.failure = None
    tree.advance(600)
    assert tree.asked == []
    tree.advance(3600)
    assert "restart app.service" in tree.asked


def test_an_event_of_the_cgroup_is_looked_into_at_once_and_then_muted_for_an_interval(start: Start) -> None:
    tree = start("-m 100 -i 60 app.service")
    app = tree.make("app.service", 10)
    tree.advance(1)
    events = tree.target("app.service").events
    assert events is not None
    assert tree.poller.listens_to(events)
    use(app, 101 * MIB)
    tree.poller.events.append(events)
    tree.advance(0.1)
    assert len(tree.asked) == 1
    assert not tree.poller.listens_to(events)
    tree.advance(59)
    assert not tree.poller.listens_to(events)
    tree.advance(2)
    assert tree.poller.listens_to(events)


def test_events_that_cannot_be_read_are_counted_said_once_and_tried_again(start: Start) -> None:
    tree = start("-m 100 -i 60 app.service")
    app = tree.make("app.service", 10)
    (app / "memory.events").unlink()
    (app / "memory.events").symlink_to("/proc/self/mem")  # EIO at address 0
    tree.advance(300)
    target = tree.target("app.service")
    assert 4 <= target.unreadable <= 6
    assert not tree.poller.listens_to(target.events)
    (warning,) = tree.log.having("warning")
    said = "memory.events can't be read (Input/output error): falling back to polling"
    assert warning.endswith(said)
    use(app, 101 * MIB)
    tree.advance(60)
    assert tree.asked


def test_a_unit_whose_events_cannot_be_opened_is_looked_at_by_the_clock(start: Start) -> None:
    tree = start("-m 100 -i 60 app.service")
    app = tree.make("app.service", 10)
    (app / "memory.events").unlink()
    (app / "memory.events").symlink_to("memory.events")  # ELOOP
    tree.advance(1)
    assert tree.target("app.service").unreadable == 1
    (warning,) = tree.log.having("warning")
    said = "can't be read (Too many levels of symbolic links): falling back to polling"
    assert warning.endswith(f"memory.events {said}")
    use(app, 101 * MIB)
    tree.advance(60)
    assert tree.asked


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    lowest_free = os.dup(0)
    os.close(lowest_free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_inotify_units_are_found_within_an_interval_and_one_warning_says_why(start: Start) -> None:
    with no_descriptor_left():
        tree = start("-m 100 -i 5 app.service")
    tree.advance(7)
    tree.make("app.service", 101)
    tree.advance(5)
    assert tree.asked == ["kill app.service main 15"]
    (warning,) = tree.log.having("inotify")
    assert "Too many open files: raise fs.inotify.max_user_instances" in warning


@pytest.mark.parametrize(("size", "asked"), [("80%", 1), ("90", 0), ("300 --hard 80%", 1)])
def test_a_limit_that_changes_moves_a_threshold_that_is_a_share_of_it(
    start: Start, size: str, asked: int
) -> None:
    tree = start(f"-m {size} -i 60 app.service")
    app = tree.make("app.service", 85)
    (tree.top / "system.slice" / "memory.max").write_text(f"{200 * MIB}\n")
    (app / "memory.max").write_text("max\n")
    tree.advance(1)
    assert tree.asked == []
    (tree.top / "system.slice" / "memory.max").write_text(f"{100 * MIB}\n")
    tree.advance(0.1)
    assert len(tree.asked) == asked
    assert len(tree.log.having("the threshold is now 80 MiB")) == asked


def test_a_share_of_the_whole_machine_is_said_when_the_unit_is_measured(start: Start) -> None:
    tree = start("-m 90% -i 2 app.service")
    app = tree.make("app.service", 10)
    (app / "memory.max").write_text("max\n")
    tree.advance(1)
    (line,) = tree.log.having("app.service: ok: ")
    assert line.endswith(", 90% of the machine (no MemoryMax=)")
    (app / "memory.max").write_text(f"{200 * MIB}\n")
    tree.units.invalidate()
    tree.advance(1)
    tree.target("app.service").follow_limit(tree.clock.now_s)
    (line,) = tree.log.having("the threshold is now")
    assert line == "app.service: the threshold is now 180 MiB, unreclaimable 10 MiB"
    (app / "memory.max").write_text("max\n")
    tree.target("app.service").follow_limit(tree.clock.now_s)
    assert tree.log.having("the threshold is now")[1].endswith(
        " of the machine (no MemoryMax=), unreclaimable 10 MiB"
    )


def test_a_size_is_no_share_of_the_machine(start: Start) -> None:
    tree = start("-m 50 --hard 90% -i 2 app.service")
    (tree.make("app.service", 10) / "memory.max").write_text("max\n")
    tree.advance(1)
    assert tree.log.having("app.service: ok: unreclaimable 10 MiB of 50 MiB")
    assert not tree.log.having("of the machine")


def test_a_limit_that_is_set_while_its_unit_is_taken_up_is_followed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = start("-m 50% app.service")
    tree.advance(0)
    watch_limits = type(tree.watch).watch_limits

    def set_limit_then_watch(watch: SliceWatch, directories: Iterable[str]) -> None:
        """systemd makes the cgroup and then sets MemoryMax=, here as late as no event tells it."""
        groups = list(directories)
        for directory in groups:
            Path(directory, "memory.max").write_text(f"{200 * MIB}\n")
        watch_limits(watch, groups)

    monkeypatch.setattr(type(tree.watch), "watch_limits", set_limit_then_watch)
    tree.make("app.service", 101)
    tree.advance(10)
    assert tree.log.having("signalled: unreclaimable 101 MiB is above 100 MiB")
