"""When monitoring starts, a warning for each service that systemd would leave down after the signal."""

import importlib
import sys
from collections.abc import Callable

import pytest

from memmon_systemd.sources import Sources
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.restart_rules import ExitSet, RestartRules
from memmon_systemd.units.restart_warning import warn_of_what_stays_down
from tests.unit.trees import StandInMachine, Tree, linux_only

pytestmark = linux_only

Start = Callable[..., Tree]


def warnings(tree: Tree) -> list[str]:
    context = tree.context
    signals = tree.units.asked_by_signal()
    warn_of_what_stays_down(signals, tree.manager, context.report, context.still_starting)
    return tree.log.having("warning: ")


def test_a_service_that_would_stay_down_is_named_with_the_line_that_helps(start: Start) -> None:
    tree = start("-m 50 app.service good.service")
    tree.manager.restarts["app.service"] = RestartRules("on-failure")
    assert warnings(tree) == [
        "warning: app.service: Restart=on-failure: systemd treats an exit on SIGTERM or with status 0 as"
        " clean, so it would stay down; set Restart=always in its [Service] section: see --check"
    ]


@pytest.mark.parametrize(
    ("arguments", "rules"),
    [
        ("app.service", RestartRules("always")),
        ("app.service", RestartRules("no", force=ExitSet((0, 143), (15,)))),
        # What USR1 makes it do, only it knows.
        ("-s USR1 app.service", RestartRules("no")),
        ("-s KILL app.service", RestartRules("on-failure")),
    ],
)
def test_a_service_that_is_started_again_or_that_may_not_end_gets_none(
    start: Start, arguments: str, rules: RestartRules
) -> None:
    tree = start(f"-m 50 {arguments}")
    tree.manager.restarts["app.service"] = rules
    assert warnings(tree) == []


def test_the_instances_of_a_template_get_one_line(start: Start) -> None:
    tree = start("-m 50 worker@*.service")
    for number in range(5):
        name = f"worker@{number}.service"
        tree.make(name, 10)
        tree.manager.restarts[name] = RestartRules("no")
    tree.monitor.refresh_all()
    assert len(warnings(tree)) == 1


def test_of_a_unit_that_doesnt_exist_yet_nothing_is_said(start: Start) -> None:
    tree = start("-m 50 app.service")
    tree.manager.restarts["app.service"] = RestartRules("no")
    tree.manager.load_states = {"app.service": "not-found"}
    assert warnings(tree) == []


def test_a_scope_has_no_restart_and_gets_none(start: Start) -> None:
    tree = start("-m 50 app.scope")
    tree.manager.restarts["app.scope"] = RestartRules("no")
    assert warnings(tree) == []


def test_a_service_manager_that_doesnt_answer_is_said(start: Start) -> None:
    tree = start("-m 50 app.service")
    tree.manager.failure = BusError(110, "no answer within 1 s")
    assert warnings(tree) == [
        "warning: app.service: can't tell whether systemd would restart it: no answer within 1 s"
    ]


def test_what_only_this_needs_is_given_back_before_the_monitor_settles(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("units.restart_warning", "systemd.restart_rules")
    for name in names:  # Put back after this test, which is one process with the others.
        module = importlib.import_module(f"memmon_systemd.{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(sys.modules[module.__package__ or ""], name.partition(".")[2], module)
    tree = start("-m 50 app.service")
    tree.manager.restarts["app.service"] = RestartRules("no")
    machine = StandInMachine(tree)
    sources = Sources(tree.settings, machine, tree.context)
    tree.monitor_of(sources.open()).look_around()
    sources.warn_of_what_stays_down()
    assert len(tree.log.having("warning: app.service: Restart=no: ")) == 1
    assert not [name for name in names if f"memmon_systemd.{name}" in sys.modules]


def test_what_a_socket_starts_when_it_is_needed_gets_none(start: Start) -> None:
    tree = start("-m 50 app.service")
    tree.manager.restarts["app.service"] = RestartRules("no")
    tree.manager.triggered_by["app.service"] = ("app.socket",)
    assert warnings(tree) == []
    tree.manager.restarts["app.service"] = RestartRules("always", remain_after_exit=True)
    assert len(warnings(tree)) == 1
