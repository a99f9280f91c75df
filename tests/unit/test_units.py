import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from memmon_systemd.linux import cgroup
from memmon_systemd.monitor.policy import State
from memmon_systemd.processes.table import by_proc
from memmon_systemd.systemd.bus import BusError
from memmon_systemd.units.owner import OwnerSource
from memmon_systemd.units.slice_watch import SliceWatch
from tests.process.leaker import Leaker
from tests.unit.trees import MIB, NO_PROCESS, House, linux_only, use

pytestmark = linux_only
Start = Callable[..., House]
StartLeaker = Callable[..., Leaker]


def restart(house: House, directory: Path, mib: float) -> None:
    """As systemd does it: the same path, and a new cgroup with an inode of its own."""
    kept = os.open(directory, os.O_RDONLY)  # so that the inode isn't given out again
    try:
        shutil.rmtree(directory)
        house.make(directory.name, mib, str(directory.parent.relative_to(house.top)))
    finally:
        os.close(kept)
    house.manager.start_again(directory.name)


def test_a_unit_that_starts_is_found_at_once_and_nobody_is_asked_while_nothing_happens(start: Start) -> None:
    house = start("-m 100 -i 60 app.service")
    house.advance(0)
    assert house.log.lines == ["app.service: waiting: it isn't running"]
    house.advance(1000)
    assert house.manager.questions == 0
    begin_s = house.clock.now_s
    house.make("app.service", 101)
    house.advance(0.1)
    assert [when_s - begin_s for when_s, _ in house.manager.asked] == [0.0]


def test_while_a_unit_is_ok_its_manager_isnt_asked(start: Start) -> None:
    house = start("-m 100 app.service")
    house.make("app.service", 90)
    house.advance(2)
    before = house.manager.questions
    house.advance(1000)
    assert house.manager.questions == before


def test_a_unit_that_restarted_is_found_again_and_starts_afresh(start: Start) -> None:
    house = start("-m 100 --repeat 1h app.service")
    app = house.make("app.service", 101)
    house.advance(10)
    restart(house, app, 101)
    house.advance(10)
    assert len(house.asked) == 2
    restart(house, app, 50)
    house.advance(10)
    assert len(house.asked) == 2
    assert house.log.lines[-2:] == [
        "app.service: waiting: it stopped",
        "app.service: ok: unreclaimable 50 MiB of 100 MiB",
    ]


def test_instances_of_a_glob_come_and_go(start: Start) -> None:
    house = start("-m 100 worker@*.service")
    first = house.make("worker@1.service", 10, "system.slice/system-worker.slice")
    house.make("other.service", 500)
    house.advance(2)
    house.make("worker@2.service", 101, "system.slice/system-worker.slice")
    house.advance(2)
    house.make("worker@3.service", 10, "new.slice/new-er.slice")
    house.advance(2)
    assert {target.name for target in house.targets} == {f"worker@{i}.service" for i in (1, 2, 3)}
    assert [what.split()[1] for what in house.asked] == ["worker@2.service"]
    shutil.rmtree(first)
    house.advance(2)
    assert {target.name for target in house.targets} == {"worker@2.service", "worker@3.service"}
    house.make("worker@1.service", 101, "system.slice/system-worker.slice")
    house.advance(2)
    assert [what.split()[1] for what in house.asked] == ["worker@2.service", "worker@1.service"]


def test_a_unit_that_is_named_twice_is_one_target(start: Start) -> None:
    house = start("-m 100 app.service app.service ap*.service")
    house.make("app.service", 101)
    house.advance(2)
    assert house.asked == ["kill app.service main 15"]
    assert len(house.targets) == 1


def test_what_the_monitor_runs_in_is_left_out_with_one_warning(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = {1: "/init.scope", 77: "/system.slice/memory-monitor@app.service"}
    monkeypatch.setattr(cgroup, "control_group_of", groups.get)
    house = start("-m 100 *", untouchable_pids=(1, 77))
    house.make("memory-monitor@app.service", 101)
    house.make("init.scope", 101, ".")
    house.make("app.service", 101)
    (house.top / "system.slice" / "memory.current").write_text(f"{101 * MIB}\n")
    house.advance(5)
    house.make("app-2.service", 90)
    house.advance(5)
    assert house.asked == ["kill app.service main 15"]
    left_out = [line.split()[1] for line in house.log.having("left out")]
    assert sorted(left_out) == ["init.scope", "memory-monitor@app.service", "system.slice"]
    assert house.units.is_untouchable("-.slice")


def test_the_owner_of_a_process_is_monitored_over_its_restarts(
    start: Start, start_leaker: StartLeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = start_leaker("memmon-owned")
    groups = {child.pid: "/system.slice/app.service"}
    monkeypatch.setattr(cgroup, "control_group_of", groups.get)
    house = start("-m 100 --as owner memmon-owned", names=())
    owner = OwnerSource("memmon-owned", house.settings, by_proc(), house.units, house.loop)
    house.monitor = house.monitor_of([owner, house.units])
    app = house.make("app.service", 101)
    house.advance(2)
    assert house.asked == ["kill app.service main 15"]
    stranger = start_leaker("memmon-owned-2")
    house.advance(4)
    assert house.log.having("belongs to no unit") == [
        f"warning: memmon-owned-2[{stranger.pid}] belongs to no unit"
    ]
    child.kill()
    groups[start_leaker("memmon-owned").pid] = "/system.slice/app.service"
    restart(house, app, 101)
    house.advance(4)
    assert house.asked == ["kill app.service main 15"] * 2
    house.advance(10)
    assert house.log.having("waiting: it stopped") == ["app.service: waiting: it stopped"]


@pytest.mark.parametrize("restarts", [0, 2])
def test_without_the_memory_controller_rss_is_added_up_and_one_warning_says_so(
    start: Start, restarts: int
) -> None:
    house = start("-m 1 --metric anon app.service", memory=False)
    app = house.make("app.service", 0, pids=(os.getpid(), NO_PROCESS))
    (app / "memory.current").unlink()
    house.advance(2)
    for _ in range(restarts):
        restart(house, app, 0)
        (app / "memory.current").unlink()
        house.advance(2)
    assert house.log.having("warning") == [
        "warning: app.service: no memory controller (cgroup v1): the RSS of its processes is added up"
        " instead of anon"
    ]
    assert house.asked == ["kill app.service main 15"]


def test_a_cgroup_gets_a_second_for_its_memory_files_to_come(start: Start) -> None:
    house = start("-m 100 -i 60 early.service late.service")
    directory = house.top / "system.slice" / "late.service"
    directory.mkdir()
    (house.top / "system.slice" / "early.service").mkdir()
    house.advance(0.5)
    assert house.log.having("warning") == []
    shutil.rmtree(house.top / "system.slice" / "early.service")
    house.make("early.service", 101)
    house.advance(0.2)
    assert house.asked == ["kill early.service main 15"]
    house.advance(2)
    (warning,) = house.log.having("warning")
    assert f"{directory}/memory.current: No such file" in warning


def test_a_unit_whose_manager_doesnt_answer_is_measured_all_the_same(start: Start) -> None:
    house = start("-m 100 app.service")
    house.manager.failure = BusError(110, "no answer within 1 s")
    house.make("app.service", 50)
    house.advance(2)
    assert house.target("app.service").state is State.OK
    assert house.log.having("no answer within 1 s; it is measured all the same")


def test_where_systemd_doesnt_answer_the_signal_goes_to_the_process_itself(
    start: Start, start_leaker: StartLeaker
) -> None:
    child = start_leaker("memmon-direct", ignore=True)
    house = start("-m 100 -s USR1 app.service")
    house.make("app.service", 101, pids=(child.pid,))
    house.manager.failure = BusError(110, "no answer within 1 s")
    house.advance(1)
    child.wait_for_signals("SIGUSR1", 1, deadline_s=10)
    assert house.log.having(f"sent SIGUSR1 to process {child.pid} by pidfd (no answer within 1 s)")


def test_a_process_that_is_listed_twice_gets_one_signal(start: Start, start_leaker: StartLeaker) -> None:
    child = start_leaker("memmon-twice", ignore=True)
    house = start("-m 100 -s USR1 --kill-whom all app.service")
    house.make("app.service", 101, pids=(child.pid, child.pid))
    house.manager.failure = BusError(110, "no answer within 1 s")
    house.advance(1)
    child.wait_for_signals("SIGUSR1", 1, deadline_s=10)
    assert house.log.having(f"sent SIGUSR1 to process {child.pid} by pidfd")


def test_by_a_broken_list_of_processes_nobody_is_signalled_until_it_is_whole_again(
    start: Start, start_leaker: StartLeaker
) -> None:
    main, worker = start_leaker("memmon-main", ignore=True), start_leaker("memmon-worker", ignore=True)
    house = start("-m 100 -s USR1 app.service")
    house.manager.usual = replace(house.manager.usual, main_pid=main.pid)
    app = house.make("app.service", 101)
    (app / "cgroup.procs").write_text(f"{worker.pid}\n{main.pid}")
    house.manager.failure = BusError(110, "no answer within 1 s")
    house.advance(1)
    (failed,) = house.log.having("not signalled")
    assert failed.endswith(f"by pidfd: {app}/cgroup.procs: this is no list of PIDs")
    (app / "cgroup.procs").write_text(f"{worker.pid}\n{main.pid}\n")
    house.advance(2)
    main.wait_for_signals("SIGUSR1", 1, deadline_s=10)
    assert not worker.lines.count("SIGUSR1")


def test_a_bus_that_was_lost_for_hours_is_used_as_soon_as_it_is_back(start: Start) -> None:
    house = start("-m 100 --restart app.service")
    house.make("app.service", 101)
    house.manager.failure = BusError(111, "no bus there")
    house.advance(5 * 3600)
    (failed,) = house.log.having("not restarted")
    assert failed.endswith("no bus there")
    house.manager.failure = None
    house.advance(2)
    assert house.asked == ["restart app.service"]


def test_what_systemd_refuses_is_asked_again_after_longer_and_longer_pauses(start: Start) -> None:
    house = start("-m 100 --restart app.service")
    house.make("app.service", 101)
    house.manager.failure = BusError(13, "Permission denied", was_called=True)
    house.advance(4.5 * 3600)
    house.manager.failure = None
    house.advance(600)
    assert house.asked == []
    house.advance(3600)
    assert "restart app.service" in house.asked


def test_an_event_of_the_cgroup_is_looked_into_at_once_and_then_muted_for_an_interval(start: Start) -> None:
    house = start("-m 100 -i 60 app.service")
    app = house.make("app.service", 10)
    house.advance(1)
    target = house.target("app.service")
    assert house.waiter.listens_to(target)
    use(app, 101 * MIB)
    house.waiter.events.append(target)
    house.advance(0.1)
    assert len(house.asked) == 1
    assert not house.waiter.listens_to(target)
    house.advance(59)
    assert not house.waiter.listens_to(target)
    house.advance(2)
    assert house.waiter.listens_to(target)


def test_events_that_cannot_be_read_are_counted_said_once_and_tried_again(start: Start) -> None:
    house = start("-m 100 -i 60 app.service")
    app = house.make("app.service", 10)
    (app / "memory.events").unlink()
    (app / "memory.events").symlink_to("/proc/self/mem")  # EIO at address 0
    house.advance(300)
    target = house.target("app.service")
    assert 4 <= target.unreadable <= 6
    assert not house.waiter.listens_to(target)
    (warning,) = house.log.having("warning")
    said = "memory.events can't be read (Input/output error): it is looked at by the clock alone"
    assert warning.endswith(said)
    use(app, 101 * MIB)
    house.advance(60)
    assert house.asked


def test_a_unit_whose_events_cannot_be_opened_is_looked_at_by_the_clock(start: Start) -> None:
    house = start("-m 100 -i 60 app.service")
    app = house.make("app.service", 10)
    (app / "memory.events").unlink()
    (app / "memory.events").symlink_to("memory.events")  # ELOOP
    house.advance(1)
    assert house.target("app.service").unreadable == 1
    (warning,) = house.log.having("warning")
    said = "can't be read (Too many levels of symbolic links): it is looked at by the clock alone"
    assert warning.endswith(f"memory.events {said}")
    use(app, 101 * MIB)
    house.advance(60)
    assert house.asked


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
        house = start("-m 100 -i 5 app.service")
    house.advance(7)
    house.make("app.service", 101)
    house.advance(5)
    assert house.asked == ["kill app.service main 15"]
    (warning,) = house.log.having("inotify")
    assert "Too many open files: raise fs.inotify.max_user_instances" in warning


@pytest.mark.parametrize(("size", "asked"), [("80%", 1), ("90", 0)])
def test_a_limit_that_changes_moves_a_threshold_that_is_a_share_of_it(
    start: Start, size: str, asked: int
) -> None:
    house = start(f"-m {size} -i 60 app.service")
    app = house.make("app.service", 85)
    (house.top / "system.slice" / "memory.max").write_text(f"{200 * MIB}\n")
    (app / "memory.max").write_text("max\n")
    house.advance(1)
    assert house.asked == []
    (house.top / "system.slice" / "memory.max").write_text(f"{100 * MIB}\n")
    house.advance(0.1)
    assert len(house.asked) == asked
    assert len(house.log.having("the limit is 80 MiB now")) == asked


def test_a_limit_that_is_set_while_its_unit_is_taken_up_is_followed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = start("-m 50% app.service")
    house.advance(0)
    watch_limits = type(house.watch).watch_limits

    def set_limit_then_watch(watch: SliceWatch, directory: Path) -> None:
        """systemd makes the cgroup and then sets MemoryMax=, here as late as no event tells it."""
        (directory / "memory.max").write_text(f"{200 * MIB}\n")
        watch_limits(watch, directory)

    monkeypatch.setattr(type(house.watch), "watch_limits", set_limit_then_watch)
    house.make("app.service", 101)
    house.advance(10)
    assert house.log.having("signalled: unreclaimable 101 MiB is above 100 MiB")
