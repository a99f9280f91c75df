"""Units where descriptors run out, files break, systemd is slow, and cgroups go at the wrong moment."""

import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest

from memmon_systemd.monitor.policy import State
from memmon_systemd.output.notify import Notifier
from memmon_systemd.systemd.errors import BusError
from tests.unit.test_units import no_descriptor_left
from tests.unit.trees import MIB, Tree, linux_only, restart, use

pytestmark = linux_only
Start = Callable[..., Tree]
REFUSED = BusError(13, "Permission denied", was_called=True)
NO_ANSWER = BusError(110, "no answer within 1 s", was_called=True)
WATCHDOG_S = 60.0


@pytest.mark.parametrize("options", ["", "--until-stopped"])
def test_instances_that_go_before_their_files_come_are_forgotten(start: Start, options: str) -> None:
    tree = start(f"-m 100 {options} job@*.service")
    tree.advance(1)
    for number in range(40):
        (tree.top / "system.slice" / f"job@{number}.service").mkdir()
    tree.advance(0.3)
    assert len(tree.targets) == 40
    for number in range(40):
        (tree.top / "system.slice" / f"job@{number}.service").rmdir()
    tree.manager.stopped = {f"job@{number}.service" for number in range(40)}
    tree.advance(3)
    assert tree.targets == []
    assert tree.monitor.stopping == bool(options)


def test_a_named_unit_that_goes_before_its_files_come_has_run(start: Start) -> None:
    tree = start("-m 100 --until-stopped app.service")
    tree.advance(1)
    (tree.top / "system.slice" / "app.service").mkdir()
    tree.advance(0.1)
    (tree.top / "system.slice" / "app.service").rmdir()
    tree.advance(2)
    assert not tree.monitor.stopping
    tree.manager.stopped = {"app.service"}
    tree.advance(1.1)
    assert tree.monitor.stopping


def test_where_slices_cannot_be_listed_what_is_known_stays_monitored(start: Start) -> None:
    tree = start("-m 100 -i 2 --until-stopped app.service late.service")
    app = tree.make("app.service", 10)
    tree.advance(1)
    tree.manager.stopped = {"app.service", "late.service"}
    tree.make("late.service", 101)
    use(app, 101 * MIB)
    with no_descriptor_left():
        tree.units.invalidate()
        tree.advance(10)
    assert tree.asked == ["kill app.service main 15"]
    (warning,) = tree.log.having("can't be listed")
    assert "Too many open files" in warning
    assert str(tree.top) in warning
    assert not tree.log.having("it stopped")
    tree.advance(4)
    assert tree.asked == ["kill app.service main 15", "kill late.service main 15"]
    assert not tree.monitor.stopping


def test_a_unit_whose_files_cannot_be_opened_now_is_measured_when_they_can(start: Start) -> None:
    tree = start("-m 100 -i 2 app.service")
    tree.advance(1)
    app = tree.make("app.service", 101)
    (app / "memory.current").rename(app / "kept")
    (app / "memory.current").symlink_to("memory.current")  # ELOOP
    tree.advance(20)
    (warning,) = tree.log.having("warning")
    assert "its memory can't be read" in warning
    assert "Too many levels of symbolic links" in warning
    assert len(tree.poller.waits_s) < 40
    (app / "memory.current").unlink()
    (app / "kept").rename(app / "memory.current")
    tree.advance(2)
    assert tree.asked == ["kill app.service main 15"]


def test_a_limit_that_cannot_be_read_is_not_taken_for_none(start: Start) -> None:
    tree = start("-m 50% -i 2 app.service")
    app = tree.make("app.service", 10)
    (app / "memory.max").write_text(f"{100 * MIB}\n")
    (tree.top / "system.slice" / "memory.max").write_text("max\n")
    tree.advance(1)
    (app / "memory.max").rename(app / "kept")
    (app / "memory.max").symlink_to("/proc/self/mem")  # EIO at address 0
    (tree.top / "system.slice" / "memory.max").write_text(f"{900 * MIB}\n")
    tree.advance(9)
    assert not tree.log.having("the threshold is now")
    (warning,) = tree.log.having("warning")
    assert f"Input/output error: '{app}/memory.max'" in warning
    (app / "kept").write_text(f"{300 * MIB}\n")
    (app / "kept").rename(app / "memory.max")
    tree.advance(2)
    assert tree.log.having("the threshold is now 150 MiB")


def test_the_limit_of_a_cgroup_that_goes_is_not_that_of_the_machine(start: Start) -> None:
    tree = start("-m 90% -i 2 app.service")
    app = tree.make("app.service", 0)
    (app / "memory.max").write_text(f"{1 * MIB}\n")
    tree.advance(1)
    target = tree.target("app.service")
    app.rename(tree.top / "elsewhere")
    target.follow_limit(tree.clock.now_s)
    tree.make("app.service", 0)
    target.follow_limit(tree.clock.now_s)
    assert not tree.log.having("the threshold is now")


@pytest.mark.parametrize("options", ["-m 80%", "-m 80% -v", "-m 80% --growth 1"])
def test_a_limit_of_0_is_no_error(start: Start, options: str) -> None:
    tree = start(f"{options} app.service")
    app = tree.make("app.service", 0)
    (app / "memory.max").write_text("0\n")
    tree.advance(5)
    assert tree.log.having("app.service: ok: unreclaimable 0 B of 0 B")
    assert not tree.log.having("error")
    use(app, 4096)
    tree.advance(5)
    assert tree.asked == ["kill app.service main 15"]


@pytest.mark.parametrize("active_state", ["deactivating", "inactive", "active", "reloading"])
def test_a_restart_that_is_under_way_is_not_asked_for_again(start: Start, active_state: str) -> None:
    tree = start("-m 100 --restart --repeat 1 app.service")
    tree.make("app.service", 101)
    tree.advance(0.5)
    idle = tree.manager.usual
    tree.manager.usual = replace(idle, active_state=active_state, job_id=7)
    tree.advance(30)
    assert tree.asked == ["restart app.service"]
    assert len(tree.log.having("app.service: signalled")) == 1
    assert not tree.log.having("not restarted")
    tree.manager.usual = replace(idle, active_state="active", job_id=0)
    tree.advance(1.5)
    assert len(tree.asked) > 1


@pytest.mark.parametrize("active_state", ["inactive", "failed"])
def test_what_is_left_of_a_stopped_unit_is_nothing_to_restart(start: Start, active_state: str) -> None:
    tree = start("-m 100 --restart --repeat 1 app.service")
    tree.manager.usual = replace(tree.manager.usual, active_state=active_state)
    tree.make("app.service", 101)
    tree.advance(30)
    assert tree.asked == []
    (held,) = tree.log.having("held: ")
    assert held.endswith("it has stopped, and what is left of it isn't signalled")


def test_a_oneshot_at_work_has_a_start_job_and_is_restarted(start: Start) -> None:
    tree = start("-m 100 --restart app.service")
    tree.manager.usual = replace(
        tree.manager.usual, active_state="activating", sub_state="start", job_id=7
    )
    tree.manager.oneshots.add("app.service")
    tree.make("app.service", 101)
    tree.advance(1)
    assert tree.asked == ["restart app.service"]


def test_a_new_invocation_does_not_wait_for_the_pause_after_refusals_of_the_last_one(start: Start) -> None:
    tree = start("-m 100 --restart app.service")
    app = tree.make("app.service", 101)
    tree.manager.failure = REFUSED
    tree.advance(5 * 3600)
    tree.manager.failure = None
    restart(tree, app, 101)
    tree.advance(62)
    assert "restart app.service" in tree.asked


def test_once_systemd_answers_again_it_is_asked_at_once(start: Start) -> None:
    tree = start("-m 100 --restart app.service")
    tree.make("app.service", 101)
    tree.manager.failure = NO_ANSWER
    tree.advance(5 * 3600)
    tree.manager.failure = None
    tree.advance(3)
    assert tree.asked == ["restart app.service"]


@pytest.mark.parametrize("names", ["app.service other.service", "*.service"])
def test_it_ends_only_if_all_have_stopped_at_the_same_moment(start: Start, names: str) -> None:
    tree = start(f"-m 100 --until-stopped {names}")
    app, other = tree.make("app.service", 10), tree.make("other.service", 10)
    tree.advance(2)
    tree.manager.stopped = {"app.service"}
    shutil.rmtree(app)
    tree.advance(5)
    # It is to start again: a job waits for something else to start first, and there is no cgroup yet.
    tree.manager.starting = {"app.service"}
    tree.manager.stopped = {"other.service"}
    shutil.rmtree(other)
    tree.advance(5)
    assert not tree.monitor.stopping
    tree.manager.starting = set()
    tree.manager.stopped = {"app.service", "other.service"}
    tree.advance(1.1)
    assert tree.monitor.stopping


class Pings(Notifier):
    """Notes when the watchdog was fed."""

    def __init__(self) -> None:
        super().__init__(None, None, None)
        self.watchdog_s = WATCHDOG_S
        self.now: Callable[[], float] = float
        self.times_s: list[float] = []

    def watchdog(self) -> None:
        self.times_s.append(self.now())

    @property
    def longest_pause_s(self) -> float:
        return max(later - earlier for earlier, later in zip(self.times_s, self.times_s[1:], strict=False))


def slow_tree(start: Start, call_s: float) -> tuple[Tree, Pings]:
    """One whose manager takes so long for each answer."""
    pings = Pings()
    tree = start("-m 100 -i 2 --repeat 1h job@*.service", notifier=pings)
    pings.now = tree.clock

    def take_time(_: str) -> None:
        tree.clock.now_s += call_s

    tree.manager.on_question = take_time
    tree.manager.on_request = take_time
    return tree, pings


@pytest.mark.parametrize("call_s", [0.5, 0.95])
def test_a_slow_manager_of_many_units_does_not_starve_the_watchdog(start: Start, call_s: float) -> None:
    tree, pings = slow_tree(start, call_s)
    tree.advance(WATCHDOG_S / 2 - 1)
    jobs = [tree.make(f"job@{number}.service", 101) for number in range(60)]
    tree.advance(600)
    assert len(set(tree.asked)) == 60
    assert pings.longest_pause_s < WATCHDOG_S
    for job in jobs:
        use(job, 10 * MIB)
    tree.advance(60)
    assert {target.state for target in tree.targets} == {State.OK}


def test_while_many_units_begin_those_that_are_known_are_looked_at(start: Start) -> None:
    tree, _ = slow_tree(start, 0.5)
    known = tree.make("job@0.service", 10)
    tree.advance(1)
    for number in range(1, 101):
        tree.make(f"job@{number}.service", 10)
    use(known, 101 * MIB)
    begin_s = tree.clock.now_s
    tree.advance(120)
    assert tree.manager.asked[0][0] - begin_s < 6
    assert len(tree.targets) == 101


def test_a_thousand_units_that_come_at_once_are_all_found(start: Start) -> None:
    tree = start("-m 100 job@*.service")
    tree.advance(1)
    for number in range(1000):
        tree.make(f"job@{number}.service", 101)
    tree.advance(1)
    assert len(set(tree.asked)) == 1000
