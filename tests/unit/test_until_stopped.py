import shutil
from collections.abc import Callable

import pytest

from memmon_systemd.systemd.errors import BusError
from tests.unit.trees import Tree, linux_only

pytestmark = linux_only
Start = Callable[..., Tree]


@pytest.mark.parametrize("name", ["app.service", "a*.service"])
def test_it_ends_once_the_unit_was_running_and_has_stopped_for_good(start: Start, name: str) -> None:
    tree = start(f"-m 100 --until-stopped {name}")
    tree.manager.stopped = {"app.service"}  # it hasn't been started yet
    tree.advance(10)
    assert not tree.monitor.stopping
    app = tree.make("app.service", 10)
    tree.advance(10)
    assert not tree.monitor.stopping
    shutil.rmtree(app)
    tree.advance(1)
    assert tree.monitor.why_stopped == "every unit has stopped"


@pytest.mark.parametrize("name", ["app.service", "a*.service"])
def test_it_goes_on_while_the_unit_is_about_to_start_again(start: Start, name: str) -> None:
    tree = start(f"-m 100 --until-stopped {name}")
    app = tree.make("app.service", 10)
    tree.advance(2)
    shutil.rmtree(app)
    tree.advance(30)
    assert not tree.monitor.stopping
    tree.make("app.service", 101)
    tree.advance(1)
    assert len(tree.asked) == 1


def test_a_stop_that_comes_after_a_failed_restart_is_noticed_within_a_second(start: Start) -> None:
    tree = start("-m 100 -i 60 --until-stopped app.service")
    app = tree.make("app.service", 10)
    tree.advance(2)
    shutil.rmtree(app)
    tree.advance(30)
    tree.manager.stopped = {"app.service"}
    tree.advance(1.1)
    assert tree.monitor.stopping


def test_of_several_units_every_one_has_to_have_run_and_stopped(start: Start) -> None:
    tree = start("-m 100 --until-stopped app.service other.service")
    app = tree.make("app.service", 10)
    tree.advance(2)
    tree.manager.stopped = {"app.service", "other.service"}
    shutil.rmtree(app)
    tree.advance(10)
    assert not tree.monitor.stopping
    other = tree.make("other.service", 10)
    tree.advance(2)
    shutil.rmtree(other)
    tree.advance(2)
    assert tree.monitor.stopping


def test_while_nobody_can_say_whether_it_has_stopped_it_says_so_once(start: Start) -> None:
    tree = start("-m 100 --until-stopped app.service")
    app = tree.make("app.service", 10)
    tree.advance(2)
    tree.manager.failure = BusError(111, "no bus there")
    shutil.rmtree(app)
    tree.advance(60)
    (warning,) = tree.log.having("warning")
    assert "can't tell whether app.service has stopped for good: no bus there" in warning
    tree.manager.failure = None
    tree.manager.stopped = {"app.service"}
    tree.advance(1.1)
    assert tree.monitor.stopping
