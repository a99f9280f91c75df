"""The warning at start-up: a service that systemd would leave down after the signal.

Before READY only: asking takes memory, and what a unit's file says rarely changes later.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping

from memmon_systemd.monitor.report import Report
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.systemd.restart_rules import Disposition, Down, remedy, sentence, verdict
from memmon_systemd.systemd.unit import Unit, one_of_each_template


def warn_of_what_stays_down(
    signals: Mapping[str, int | None], manager: Manager, report: Report, still_starting: Callable[[], None]
) -> None:
    """A line for each service, for only one of a template's: instances are alike.

    By name: the signal that it is asked with; None: its own.
    """
    for name in one_of_each_template(name for name in signals if name.endswith(".service")):
        still_starting()
        try:
            unit = manager.unit(name)
            rules = manager.restart_rules(unit)
            stop_signal = manager.stop_signal(unit) or signal.SIGTERM
        except BusError as error:
            report.warn.restart_unknown(name, str(error))
            continue
        if rules is None:
            continue  # It may come; nothing is known of it yet.
        sent = signals[name] or stop_signal
        found = verdict(rules, sent, Disposition.UNKNOWN)
        if found is not None and found.expected and not _is_triggered(manager, unit, found.why):
            lines = " ".join(remedy(found, rules))
            report.warn.stays_down(name, sentence(rules, found, sent), lines)


def _is_triggered(manager: Manager, unit: Unit, why: Down) -> bool:
    """Whether it needs no Restart=, for a socket, timer or path starts it when it is needed."""
    if why not in (Down.NO_RESTART, Down.NOT_THIS_END):
        return False
    try:
        return bool(manager.triggers(unit))
    except BusError:
        return False
