"""A monitor that is started again knows what the one before it has asked."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from memmon_systemd.linux.libc import Libc
from memmon_systemd.output import state_file
from memmon_systemd.output.record import MonitorRecord
from memmon_systemd.output.state_file import StateFile
from tests.unit.trees import MIB, Tree, linux_only, restart, use

pytestmark = linux_only

TERM = "kill app.service main 15"
MONITOR = MonitorRecord("memory-monitor@app", "", 1, 1, bytes(16), 0, False, 0.0)


class Successive:
    """Monitors of app.service, one after the other, with the same state file."""

    def __init__(self, top: Path, path: Path) -> None:
        self.top = top
        self.path = path
        self.tree: Tree | None = None

    def start(self, arguments: str) -> Tree:
        """End the monitor that runs, and start the next one."""
        before = [] if self.tree is None else state_file.records_in(self.path.read_bytes())[1]
        file: StateFile = state_file.create(str(self.path), MONITOR, 4, Libc().map_file)
        file.take_over(before)
        tree = Tree(self.top, arguments, keeper=file)
        if self.tree is not None:
            self.tree.close()
            tree.clock.now_s = self.tree.clock.now_s
            tree.manager.states = self.tree.manager.states
        self.tree = tree
        return tree


@pytest.fixture
def successive(tmp_path: Path) -> Iterator[Successive]:
    top = tmp_path / "cgroup"
    (top / "system.slice").mkdir(parents=True)
    found = Successive(top, tmp_path / "a.state")
    yield found
    if found.tree is not None:
        found.tree.close()


Start = Callable[..., Tree]


def test_an_invocation_that_was_asked_is_not_asked_again_before_repeat(successive: Successive) -> None:
    tree = successive.start("-m 100 --repeat 60 app.service")
    app = tree.make("app.service", 90)
    tree.advance(5)
    use(app, 110 * MIB)
    tree.advance(5)
    assert tree.asked == [TERM]
    ((asked_s, _),) = tree.manager.asked
    tree = successive.start("-m 100 --repeat 60 app.service")
    tree.advance(40)
    assert tree.asked == []
    assert tree.target("app.service").requests == 1
    tree.advance(20)
    assert tree.asked == [TERM]
    ((again_s, _),) = tree.manager.asked
    assert 60 <= again_s - asked_s < 65


def test_another_invocation_is_asked_and_counts_in_the_same_budget(successive: Successive) -> None:
    for requests in (1, 2):
        tree = successive.start("-m 100 --budget 2/1h --repeat infinity app.service")
        app = successive.top / "system.slice" / "app.service"
        if requests == 1:
            app = tree.make("app.service", 90)
        else:
            restart(tree, app, 90)
        tree.advance(5)
        use(app, 110 * MIB)
        tree.advance(5)
        assert tree.asked == [TERM]
        assert any(f"request {requests} of 2 within 1 h" in line for line in tree.log.lines)
    tree = successive.start("-m 100 --budget 2/1h --repeat infinity app.service")
    restart(tree, successive.top / "system.slice" / "app.service", 110)
    tree.advance(30)
    assert tree.asked == []
    assert any("asked 2 times within 1 h" in line for line in tree.log.lines)


def test_what_became_of_a_request_is_said_though_its_monitor_is_gone(successive: Successive) -> None:
    tree = successive.start("-m 100 app.service")
    app = tree.make("app.service", 90)
    tree.advance(5)
    use(app, 110 * MIB)
    tree.advance(5)
    tree = successive.start("-m 100 app.service")
    restart(tree, app, 20)
    tree.advance(10)
    assert len([line for line in tree.log.lines if "active again after" in line]) == 1
    tree.advance(30)
    assert len([line for line in tree.log.lines if "active again after" in line]) == 1


def test_the_restart_that_was_to_follow_follows(successive: Successive) -> None:
    tree = successive.start("-m 100 --repeat infinity --then-restart 30 app.service")
    app = tree.make("app.service", 90)
    tree.advance(5)
    use(app, 110 * MIB)
    tree.advance(5)
    tree = successive.start("-m 100 --repeat infinity --then-restart 30 app.service")
    tree.advance(20)
    assert tree.asked == []
    tree.advance(10)
    assert tree.asked == ["restart app.service"]
    tree = successive.start("-m 100 --repeat infinity --then-restart 30 app.service")
    tree.advance(100)
    assert tree.asked == [], "once in an invocation"


def test_growth_is_since_the_invocation_was_first_measured_by_either(successive: Successive) -> None:
    tree = successive.start("-m 100 app.service")
    app = tree.make("app.service", 50)
    tree.advance(5)
    begun_s = tree.target("app.service").begun_s
    use(app, 60 * MIB)
    tree.advance(100)
    tree = successive.start("-m 100 app.service")
    tree.advance(5)
    app_target = tree.target("app.service")
    assert (app_target.begun_s, app_target.begun_bytes) == (begun_s, 50 * MIB)
    restart(tree, app, 30)
    tree.advance(5)
    assert app_target.begun_bytes == 30 * MIB


def test_states_and_their_reasons_are_in_the_file_as_they_change(successive: Successive) -> None:
    tree = successive.start("-m 100 --for 20 --min-age 0 --repeat infinity app.service")

    def state() -> tuple[str, str | None]:
        (record,) = state_file.records_in(successive.path.read_bytes())[1]
        return record.state, record.hold

    tree.advance(1)
    assert state() == ("waiting", None)
    app = tree.make("app.service", 90)
    tree.advance(5)
    assert state() == ("ok", None)
    use(app, 110 * MIB)
    tree.advance(5)
    assert state() == ("over", None)
    usual = tree.manager.usual
    tree.manager.usual = replace(usual, active_state="deactivating")
    tree.advance(25)
    assert state() == ("held", "stopping")
    tree.manager.usual = usual
    tree.advance(60)
    assert state() == ("signalled", None)
    (record,) = state_file.records_in(successive.path.read_bytes())[1]
    assert (record.requests, record.cgroup) == (1, str(app))
    use(app, 10 * MIB)
    tree.advance(5)
    assert state() == ("ok", None)
