"""`--as owner`: which units a process makes a target, and for how long."""

import os
from collections.abc import Callable

import pytest

from memmon_systemd.linux import cgroup
from memmon_systemd.processes.table import by_proc
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.units.owner import OwnerSource
from memmon_systemd.units.ownership import Home, Ownership
from tests.process.leaker import Leaker
from tests.unit.trees import Tree, linux_only, restart

pytestmark = linux_only
NAME = f"mmo{os.getpid()}-"
ASKED = "kill app.service main 15"
StartLeaker = Callable[..., Leaker]
Move = Callable[[Leaker, str], Leaker]


@pytest.fixture
def move(monkeypatch: pytest.MonkeyPatch) -> Move:
    """`move(child, control group)`."""
    groups: dict[int | str, str] = {}
    monkeypatch.setattr(cgroup, "control_group_of", groups.get)

    def move_to(child: Leaker, group: str) -> Leaker:
        groups[child.pid] = group
        return child

    return move_to


@pytest.fixture
def tree(start: Callable[..., Tree], move: Move) -> Tree:
    """A monitor of the owners of NAME, which `move` puts into control groups."""
    del move
    made = start("-m 100 -i 1 --as owner x", names=())
    ownership = Ownership(made.manager, made.hierarchy, "/")
    owner = OwnerSource(NAME, 1.0, by_proc(), ownership, made.units, made.context)
    made.monitor = made.monitor_of([owner, made.units])
    return made


@pytest.fixture
def app(tree: Tree, start_leaker: StartLeaker, move: Move) -> Leaker:
    """The main process of app.service, which is above."""
    child = move(start_leaker(NAME), "/system.slice/app.service")
    tree.manager.main_pids["app.service"] = child.pid
    return child


def test_a_service_whose_main_process_has_the_name_is_monitored_over_its_restarts(
    tree: Tree, app: Leaker, start_leaker: StartLeaker, move: Move
) -> None:
    directory = tree.make("app.service", 101)
    tree.advance(2)
    assert tree.asked == [ASKED]
    app.kill()
    again = move(start_leaker(NAME), "/system.slice/app.service")
    tree.manager.main_pids["app.service"] = again.pid
    restart(tree, directory, 101)
    tree.advance(4)
    assert tree.asked == [ASKED] * 2
    tree.advance(10)
    assert tree.log.having("waiting: it stopped") == ["app.service: waiting: it stopped"]


def test_what_a_user_starts_in_a_service_of_the_system_doesnt_make_it_a_target(
    tree: Tree, start_leaker: StartLeaker, move: Move
) -> None:
    job = move(start_leaker(NAME), "/system.slice/cron.service")
    tree.manager.main_pids["cron.service"], tree.manager.users["cron.service"] = 1, os.getuid() + 1
    tree.make("cron.service", 101)
    tree.advance(60)
    assert tree.asked == []
    assert tree.log.having("is not monitored") == [
        f"warning: cron.service is not monitored, though {NAME[:15]}[{job.pid}] runs in it:"
        " its main process has another name, and not all processes of that name are of its user"
    ]


def test_processes_of_the_services_own_user_make_it_a_target_while_there_are_no_others(
    tree: Tree, start_leaker: StartLeaker, move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = move(start_leaker(NAME), "/system.slice/app.service")
    users = {worker.pid: (os.getuid(),) * 4}
    monkeypatch.setattr("memmon_systemd.linux.proc.user_ids", lambda pid: users[pid])
    tree.manager.users["app.service"] = os.getuid()
    tree.make("app.service", 50)
    tree.advance(2)
    assert [target.name for target in tree.targets] == ["app.service"]
    stranger = move(start_leaker(NAME), "/system.slice/app.service")
    users[stranger.pid] = (
        os.getuid() + 1,
        *(os.getuid(),) * 3,
    )  # A program that changes its user when it is executed.
    tree.advance(40)
    assert tree.targets == []


@pytest.mark.parametrize(
    "group",
    [
        "/user.slice/user-1000.slice/session-3.scope",
        "/user.slice/user-1000.slice/user@1000.service",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app.service",
        "/init.scope",
        "/system.slice/machine.service/payload/system.slice/app.service",
        "/user.slice",
        "/",
    ],
)
def test_a_session_and_what_is_another_managers_is_never_a_target_and_said_once(
    tree: Tree, start_leaker: StartLeaker, move: Move, group: str
) -> None:
    child = move(start_leaker(NAME), group)
    for name in ("session-3.scope", "user@1000.service"):
        tree.make(name, 101, "user.slice/user-1000.slice", pids=[child.pid])
    tree.make("init.scope", 101, ".", pids=[child.pid])
    tree.make("machine.service", 101, pids=[child.pid])
    units = ("user@1000.service", "machine.service", "app.service")
    tree.manager.main_pids = dict.fromkeys(units, child.pid)
    tree.advance(20)
    for _ in range(3):
        move(start_leaker(NAME), group)
        tree.advance(20)
    assert tree.targets == []
    assert tree.asked == []
    assert len(tree.log.having("warning")) == 1


def test_a_unit_that_owns_no_such_process_any_more_is_let_go(tree: Tree, app: Leaker) -> None:
    directory = tree.make("app.service", 50)
    tree.advance(2)
    assert [target.name for target in tree.targets] == ["app.service"]
    app.rename("another")
    tree.advance(3)
    assert tree.targets == []
    assert tree.log.having("no longer") == [
        f"app.service: no longer monitored: it is no owner of {NAME} any more"
    ]
    (directory / "memory.current").write_text("999999999\n")
    tree.advance(60)
    assert tree.asked == []
    assert not tree.poller.listens_to(app)


@pytest.mark.usefixtures("app")
def test_a_unit_whose_main_process_is_another_one_is_let_go_though_such_a_process_stays(tree: Tree) -> None:
    tree.make("app.service", 50)
    tree.manager.users["app.service"] = os.getuid() + 1
    tree.advance(2)
    tree.manager.main_pids["app.service"] = 1
    tree.advance(62)
    assert tree.targets == []


def test_a_unit_that_is_named_too_stays_a_target(tree: Tree, app: Leaker) -> None:
    tree.units.add_name("app.service", "it isn't running")
    tree.make("app.service", 50)
    tree.advance(2)
    app.kill()
    tree.advance(4)
    assert [target.name for target in tree.targets] == ["app.service"]
    assert tree.log.having("no longer") == []


def test_a_scope_is_a_target_by_its_first_process(tree: Tree, start_leaker: StartLeaker, move: Move) -> None:
    first, other = start_leaker("first"), start_leaker(NAME)
    directory = tree.make("run-1.scope", 50, pids=[first.pid, other.pid])
    move(other, "/system.slice/run-1.scope")
    tree.advance(30)
    assert tree.targets == []
    first.rename(NAME)
    move(first, "/system.slice/run-1.scope")
    tree.advance(40)
    assert [target.name for target in tree.targets] == [directory.name]


def test_systemd_is_asked_seldom_for_a_unit_that_isnt_meant(
    tree: Tree, start_leaker: StartLeaker, move: Move
) -> None:
    move(start_leaker(NAME), "/system.slice/cron.service")
    tree.manager.users["cron.service"] = os.getuid() + 1
    tree.advance(3600)
    assert tree.manager.questions < 30


@pytest.mark.usefixtures("app")
def test_while_systemd_doesnt_answer_it_is_said_once_and_then_asked_again(tree: Tree) -> None:
    tree.manager.failure = BusError(110, "no answer within 1 s")
    tree.make("app.service", 50)
    tree.advance(130)
    assert tree.targets == []
    assert len(tree.log.having("can't tell if it is the owner")) == 1
    tree.manager.failure = None
    tree.advance(62)
    assert [target.name for target in tree.targets] == ["app.service"]


@pytest.mark.usefixtures("app")
def test_a_moment_in_which_systemd_doesnt_answer_delays_a_target_by_little(tree: Tree) -> None:
    tree.make("app.service", 50)
    tree.manager.failure = BusError(110, "no answer within 1 s")
    tree.advance(2)
    tree.manager.failure = None
    tree.advance(5)
    assert [target.name for target in tree.targets] == ["app.service"]


def test_the_units_control_group_is_told_from_what_is_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    top = "/user.slice/user-1000.slice/user@1000.service"
    tree = Ownership(None, None, top)  # type: ignore[arg-type]  # systemd isn't asked
    monkeypatch.setattr(cgroup, "control_group_of", lambda _: f"{top}/app.slice/a.service/worker/1")
    assert tree.home_of(1) == Home("a.service", f"{top}/app.slice/a.service")
