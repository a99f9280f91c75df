"""What `--check` judges of the monitor that is there, or is configured: pure, from facts to findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from memmon_systemd.check.facts import Case, OtherMonitor
from memmon_systemd.check.findings import Finding, Id, Level, Remedy
from memmon_systemd.check.rules_restart import systemctl
from memmon_systemd.units.other_monitors import TEMPLATE


def monitored(case: Case) -> Finding | None:
    """Another monitor: all is well if it does the same, but two would both signal it."""
    known = case.subject.monitors.known
    if not known:
        return _not_monitored(case)
    others = [monitor for monitor in known if not _is_alike(case, monitor)]
    if len(known) == 1 and not others:
        return Finding(Id.MONITORED, Level.NOTE, f"{_who(known[0])} monitors it with these settings")
    if len(known) == 1 and known[0].unit is not None and known[0].unit.startswith(TEMPLATE):
        return _other_settings(case, known[0].unit)
    # A monitor of its own stays, if there is one, and what does the same.
    by_hand = [monitor for monitor in known if not (monitor.unit or "").startswith(TEMPLATE)]
    other = ([one for one in by_hand if one in others] or by_hand or others or list(known))[0]
    text = f"another memory-monitor already monitors it ({_who(other)}): both would signal it"
    stop = systemctl(case, "stop", other.unit) if other.unit is not None else f"kill {other.pid}"
    return Finding(Id.ALREADY_MONITORED, Level.WARNING, text, Remedy(stop))


def _is_alike(case: Case, monitor: OtherMonitor) -> bool:
    return monitor.settings == replace(case.settings, dry_run=False)


def _who(monitor: OtherMonitor) -> str:
    return f"process {monitor.pid}" + (f" of {monitor.unit}" if monitor.unit is not None else "")


def _other_settings(case: Case, unit: str) -> Finding:
    restart = systemctl(case, "restart", unit)
    if case.configured is not None and case.configured.unit == unit:
        text = f"{unit} still runs with other settings than those that are configured now"
        return Finding(Id.SETTINGS_NOT_IN_FORCE, Level.WARNING, text, Remedy(restart))
    text = f"{unit} already monitors it, with other settings: a second monitor would signal it, too"
    directory = "~/.config/memory-monitor" if case.user else "/etc/memory-monitor"
    instance = unit.removeprefix(TEMPLATE).removesuffix(".service").replace("\\", "")
    advice = f"after these settings have been written to {directory}/{instance}.conf"
    return Finding(Id.ALREADY_MONITORED, Level.WARNING, text, Remedy(restart, advice=advice))


def _not_monitored(case: Case) -> Finding | None:
    """Its monitor doesn't run, though it does."""
    own = case.configured
    if own is None or not case.subject.is_running or case.subject.monitors.unread:
        return None
    if own.active_state not in ("inactive", "failed"):
        return None
    text = f"{own.unit} isn't running ({own.active_state}): nothing monitors it"
    way = Remedy(systemctl(case, "enable", "--now", own.unit))
    return Finding(Id.NOT_MONITORED, Level.WARNING, text, way)


def ignored_settings(case: Case) -> Iterator[Finding]:
    """What systemd, or memory-monitor, doesn't take as it was meant."""
    if case.configured is None:
        return
    for found in case.configured.problems:
        problem = found.problem
        place = f"{found.path}:{problem.line}" if problem.line else found.path
        advice = None if problem.instead is None else f"use {problem.instead}"
        text = f"{place}: {problem.words}"
        yield Finding(Id.SETTING_IGNORED, Level.WARNING, text, Remedy(advice=advice))


RULES: Final = (monitored,)
