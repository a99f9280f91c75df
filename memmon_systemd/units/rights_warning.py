"""The warning at start-up: a unit that systemd doesn't let this user signal, or restart.

Before READY only, and by a connection of its own: the question may start polkit, for which the deadline of a
call of the running monitor is too short.
"""

from __future__ import annotations

from collections.abc import Iterable

from memmon_systemd.formatting import signal_name
from memmon_systemd.monitor.report import Report
from memmon_systemd.settings import Action, TargetSettings
from memmon_systemd.systemd.manager import POLKIT_HINT, Manager
from memmon_systemd.systemd.rights import may_request
from memmon_systemd.systemd.unit import one_of_each_template


def warn_of_missing_rights(
    names: Iterable[str], manager: Manager, asked: TargetSettings, report: Report
) -> None:
    """A line for each unit that this user, who isn't root, may not ask; for only one of a template's."""
    for name in one_of_each_template(names):
        if may_request(manager, manager.unit(name), asked.action) is False:
            what = asked.action.value
            if asked.action is Action.SIGNAL and asked.signal_number is not None:
                what = f"send {signal_name(asked.signal_number)} to"
            report.warn.not_permitted(name, f"systemd doesn't permit this user to {what} it", POLKIT_HINT)
