"""What `--check` judges of the monitor that is there, or is configured: pure, from facts to findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

from memmon_systemd.check.configured import ABSENT
from memmon_systemd.check.facts import Case, OtherMonitor
from memmon_systemd.check.findings import Finding, Id, Level, Remedy
from memmon_systemd.check.rules_restart import edit_file, systemctl
from memmon_systemd.check.section_lines import section_lines
from memmon_systemd.settings import TargetSettings
from memmon_systemd.units.other_monitors import MACHINE_WIDE, TEMPLATE, is_monitor
from memmon_systemd.units.unit_file import SECTION

_EDITED: Final = "override.conf"
"""The drop-in that systemctl edit makes."""


def monitored(case: Case) -> Finding | None:
    """Another monitor: all is well if it does the same, but two would both signal it."""
    known = case.subject.monitors.known
    if not known:
        return _not_monitored(case)
    if case.configured is not None and not case.configured.is_valid:
        return None  # There are no settings to compare.
    others = [monitor for monitor in known if not _is_alike(case, monitor)]
    if len(known) == 1 and not others:
        if _is_unread(case, known[0]):
            return _unread(case)
        return Finding(Id.MONITORED, Level.NOTE, f"{_who(known[0])} monitors it with these settings")
    if len(known) == 1 and known[0].unit is not None and is_monitor(known[0].unit):
        return _other_settings(case, known[0], known[0].unit)
    # A monitor of its own stays, if there is one, and what does the same.
    by_hand = [monitor for monitor in known if not is_monitor(monitor.unit or "")]
    other = ([one for one in by_hand if one in others] or by_hand or others or list(known))[0]
    text = f"another memory-monitor already monitors it ({_who(other)}): both would signal it"
    stop = systemctl(case, "stop", other.unit) if other.unit is not None else f"kill {other.pid}"
    return Finding(Id.ALREADY_MONITORED, Level.WARNING, text, Remedy(stop))


def _is_alike(case: Case, monitor: OtherMonitor) -> bool:
    return monitor.settings == replace(case.settings, dry_run=False)


def _who(monitor: OtherMonitor) -> str:
    return f"process {monitor.pid}" + (f" of {monitor.unit}" if monitor.unit is not None else "")


def _is_unread(case: Case, monitor: OtherMonitor) -> bool:
    """Whether it takes its settings from files that it may not have read since they were changed."""
    properties = case.subject.properties
    return monitor.unit == MACHINE_WIDE and properties is not None and properties.needs_reload


def _unread(case: Case) -> Finding:
    text = (
        f"the unit's files have changed since systemd read them: {MACHINE_WIDE} reads them when it does, and"
        " may use the settings of before"
    )
    return Finding(Id.SETTINGS_NOT_IN_FORCE, Level.WARNING, text, Remedy(systemctl(case, "daemon-reload")))


def _other_settings(case: Case, monitor: OtherMonitor, unit: str) -> Finding | None:
    own = case.configured
    if own is not None and own.rival is not None and own.rival.is_in_force:
        return None  # Which one is in force is said.
    restart = systemctl(case, "restart", unit)
    if case.configured is not None and case.configured.unit == unit:
        text = f"{unit} still runs with other settings than those that are configured now"
        return Finding(Id.SETTINGS_NOT_IN_FORCE, Level.WARNING, text, Remedy(restart))
    text = f"{unit} already monitors it, with other settings: a second monitor would signal it, too"
    if unit == MACHINE_WIDE and case.subject.unit is not None and monitor.settings is not None:
        way = _change_section(case, case.subject.unit, monitor.settings, monitor.section_files)
        return Finding(Id.ALREADY_MONITORED, Level.WARNING, text, way)
    directory = "~/.config/memory-monitor" if case.user else "/etc/memory-monitor"
    instance = unit.removeprefix(TEMPLATE).removesuffix(".service").replace("\\", "")
    advice = f"after these settings have been written to {directory}/{instance}.conf"
    return Finding(Id.ALREADY_MONITORED, Level.WARNING, text, Remedy(restart, advice=advice))


def _change_section(case: Case, unit: str, present: TargetSettings, files: Sequence[str]) -> Remedy:
    """Have the settings in the section of the unit.

    Drop-ins are sorted by their names: those behind the one that systemctl edit makes are stronger.
    """
    lines = section_lines(case.settings, present)
    drop_ins = [path for path in files if PurePosixPath(path).parent.suffix == ".d"]
    stronger = [path for path in drop_ins if PurePosixPath(path).name > _EDITED]
    if not stronger:
        return edit_file(case, unit, SECTION, *lines)
    advice = f"after these lines have been written to the section in {stronger[-1]}: {', '.join(lines)}"
    return Remedy(systemctl(case, "daemon-reload"), advice=advice)


def _not_monitored(case: Case) -> Finding | None:
    """Its monitor doesn't run, though it does."""
    own = case.configured
    if own is None or not case.subject.is_running or case.subject.monitors.unread:
        return None
    if own.active_state == ABSENT:
        text = f"there is no {own.unit}: nothing monitors it"
        advice = "install it, or give it a monitor of its own"
        return Finding(Id.NOT_MONITORED, Level.WARNING, text, Remedy(advice=advice))
    if own.active_state not in ("inactive", "failed"):
        return None
    text = f"{own.unit} isn't running ({own.active_state}): nothing monitors it"
    if own.rival is not None and own.rival.is_in_force:
        text = f"{MACHINE_WIDE} isn't running, nor is {own.unit}: nothing monitors it"
    way = Remedy(systemctl(case, "enable", "--now", own.unit))
    return Finding(Id.NOT_MONITORED, Level.WARNING, text, way)


def two_configurations(case: Case) -> Finding | None:
    """A section and a monitor of its own: only one of them is in force."""
    own = case.configured
    if own is None or own.rival is None:
        return None
    here = f"the section [{SECTION}]" if own.unit == MACHINE_WIDE else own.unit
    there = own.rival.name
    if own.unit == MACHINE_WIDE:
        text = f"{there} is enabled, too: once it runs, that is in force, and {here} isn't"
        remedy = Remedy(systemctl(case, "disable", there))
    elif own.rival.is_in_force:
        text = f"{here} isn't running: {there} is in force"
        remedy = Remedy(systemctl(case, "enable", "--now", here))
    else:
        text = f"{here} is running, so its settings are in force, and {there} isn't"
        remedy = Remedy(systemctl(case, "disable", "--now", here))
    level = Level.NOTE if own.rival.is_alike else Level.WARNING
    return Finding(Id.TWO_CONFIGURATIONS, level, text, remedy)


def mistakes(case: Case) -> Iterator[Finding]:
    """What systemd, or memory-monitor, doesn't take as it was meant."""
    if case.configured is None:
        return
    for mistake in case.configured.mistakes:
        if mistake.is_refused:
            text = f"{mistake.words}: a monitor that runs keeps the settings of before, if there were any"
            yield Finding(Id.SETTING_WRONG, Level.ERROR, text)
        else:
            yield Finding(Id.SETTING_IGNORED, Level.WARNING, mistake.words)
    for found in case.configured.problems:
        problem = found.problem
        place = f"{found.path}:{problem.line}" if problem.line else found.path
        advice = None if problem.instead is None else f"use {problem.instead}"
        text = f"{place}: {problem.words}"
        yield Finding(Id.SETTING_IGNORED, Level.WARNING, text, Remedy(advice=advice))


RULES: Final = (monitored, two_configurations)
