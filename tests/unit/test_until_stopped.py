import shutil
from collections.abc import Callable

import pytest

from memmon_systemd.systemd.bus import BusError
from tests.unit.trees import House, linux_only

pytestmark = linux_only
Start = Callable[..., House]


@pytest.mark.parametrize("name", ["app.service", "a*.service"])
def test_it_ends_once_the_unit_was_running_and_has_stopped_for_good(start: Start, name: str) -> None:
    house = start(f"-m 100 --until-stopped {name}")
    house.manager.stopped = {"app.service"}  # it hasn't been started yet
    house.advance(10)
    assert not house.monitor.stopping
    app = house.make("app.service", 10)
    house.advance(10)
    assert not house.monitor.stopping
    shutil.rmtree(app)
    house.advance(1)
    assert house.monitor.why_stopped == "every unit has stopped"


@pytest.mark.parametrize("name", ["app.service", "a*.service"])
def test_it_goes_on_while_the_unit_is_about_to_start_again(start: Start, name: str) -> None:
    house = start(f"-m 100 --until-stopped {name}")
    app = house.make("app.service", 10)
    house.advance(2)
    shutil.rmtree(app)
    house.advance(30)
    assert not house.monitor.stopping
    house.make("app.service", 101)
    house.advance(1)
    assert len(house.asked) == 1


def test_a_stop_that_comes_after_a_failed_restart_is_noticed_within_a_second(start: Start) -> None:
    house = start("-m 100 -i 60 --until-stopped app.service")
    app = house.make("app.service", 10)
    house.advance(2)
    shutil.rmtree(app)
    house.advance(30)
    house.manager.stopped = {"app.service"}
    house.advance(1.1)
    assert house.monitor.stopping


def test_of_several_units_every_one_has_to_have_run_and_stopped(start: Start) -> None:
    house = start("-m 100 --until-stopped app.service other.service")
    app = house.make("app.service", 10)
    house.advance(2)
    house.manager.stopped = {"app.service", "other.service"}
    shutil.rmtree(app)
    house.advance(10)
    assert not house.monitor.stopping
    other = house.make("other.service", 10)
    house.advance(2)
    shutil.rmtree(other)
    house.advance(2)
    assert house.monitor.stopping


def test_while_nobody_can_say_whether_it_has_stopped_it_says_so_once(start: Start) -> None:
    house = start("-m 100 --until-stopped app.service")
    app = house.make("app.service", 10)
    house.advance(2)
    house.manager.failure = BusError(111, "no bus there")
    shutil.rmtree(app)
    house.advance(60)
    (warning,) = house.log.having("warning")
    assert "can't say whether app.service has stopped for good: no bus there" in warning
    house.manager.failure = None
    house.manager.stopped = {"app.service"}
    house.advance(1.1)
    assert house.monitor.stopping
