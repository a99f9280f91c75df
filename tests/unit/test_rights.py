"""Without root: whether a request is permitted is found out without making it, and said at the start."""

import errno
from collections.abc import Callable

import pytest

from memmon_systemd.settings import Action
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import POLKIT_HINT
from memmon_systemd.systemd.rights import may_request
from memmon_systemd.units.rights_warning import warn_of_missing_rights
from tests.unit.trees import Tree, linux_only

pytestmark = linux_only

Start = Callable[..., Tree]
ANSWERS = [
    (errno.EACCES, False),
    (errno.EPERM, False),
    (errno.ETIMEDOUT, None),
    (errno.ENOENT, None),
]


@pytest.mark.parametrize(("number", "may"), [*ANSWERS, (errno.ESRCH, True)])
def test_what_systemd_answers_about_a_signal_for_nobody(start: Start, number: int, may: bool | None) -> None:
    manager = start("-m 50 app.service").manager
    manager.failure = BusError(number, "no", was_called=True)
    assert may_request(manager, manager.unit("app.service"), Action.SIGNAL) is may


@pytest.mark.parametrize(("number", "may"), [*ANSWERS, (errno.EINVAL, True)])
@pytest.mark.parametrize("action", [Action.RESTART, Action.RELOAD])
def test_what_systemd_answers_about_a_job_that_cant_be(
    start: Start, action: Action, number: int, may: bool | None
) -> None:
    manager = start("-m 50 app.service").manager
    manager.impossible = BusError(number, "no", was_called=True)
    assert may_request(manager, manager.unit("app.service"), action) is may
    assert manager.asked == []


def test_while_there_is_a_control_process_nothing_is_sent(start: Start) -> None:
    manager = start("-m 50 app.service").manager
    assert may_request(manager, manager.unit("app.service"), Action.SIGNAL, control_pid=7) is None
    assert manager.asked == []


@pytest.mark.parametrize(
    ("options", "what"),
    [("", "signal it"), ("-s USR1", "send SIGUSR1 to it"), ("--restart", "restart it")],
)
def test_what_isnt_permitted_is_said_of_each_unit_once_of_a_template(
    start: Start, options: str, what: str
) -> None:
    tree = start(f"-m 50 {options} app.service worker@1.service worker@2.service")
    refusal = BusError(errno.EACCES, "Access denied", was_called=True)
    tree.manager.failure = tree.manager.impossible = refusal
    warn_of_missing_rights(tree.units.names(), tree.manager, tree.settings.target, tree.context.report)
    assert tree.log.lines == [
        f"warning: {unit}: systemd doesn't permit this user to {what}: {POLKIT_HINT}"
        for unit in ("app.service", "worker@2.service")
    ]


def test_what_is_permitted_or_cant_be_told_is_not_said(start: Start) -> None:
    tree = start("-m 50 --restart app.service")
    asked, report = tree.settings.target, tree.context.report
    warn_of_missing_rights(["app.service"], tree.manager, asked, report)
    tree.manager.impossible = BusError(errno.ETIMEDOUT, "no answer")
    warn_of_missing_rights(["app.service"], tree.manager, asked, report)
    assert tree.log.lines == []
