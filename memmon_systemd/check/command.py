"""`--check`: reads the units or processes and the machine, says what is wrong, changes nothing.

The only entry point of this folder: nothing that runs imports it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from memmon_systemd.check import (
    rules_configured,
    rules_containers,
    rules_hooks,
    rules_memory,
    rules_options,
    rules_restart,
    rules_rights,
    rules_room,
    rules_shape,
    rules_starts,
)
from memmon_systemd.check.configured import Configured
from memmon_systemd.check.facts import Case, Subject
from memmon_systemd.check.facts import Machine as Facts
from memmon_systemd.check.findings import Checked, Finding, Kind, Level, Missing, Resolved
from memmon_systemd.check.json_form import as_json
from memmon_systemd.check.read_configured import configured
from memmon_systemd.check.read_machine import read_machine
from memmon_systemd.check.read_monitors import MonitorReader
from memmon_systemd.check.read_process import ProcessReader
from memmon_systemd.check.read_unit import UnitReader
from memmon_systemd.check.text import as_text, missing_line
from memmon_systemd.check.unit_properties import matching_units
from memmon_systemd.errors import EXIT_FOUND, EXIT_NOT_FOUND, EXIT_OK, StartError, UsageError
from memmon_systemd.linux import cgroup, proc
from memmon_systemd.linux.command_line import name_of
from memmon_systemd.machine import Machine, Systemd
from memmon_systemd.monitor.report import Report
from memmon_systemd.names import Meaning, Names
from memmon_systemd.nearest import known_units, nearest
from memmon_systemd.output.standard import write_error, write_text
from memmon_systemd.settings import NameKind, Settings
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.units.ownership import WHY_NEVER, WHY_NOT, Home, Ownership
from memmon_systemd.units.untouchable import UNTOUCHABLE

_RULES: Final[Sequence[Callable[[Case], Finding | None]]] = (
    *rules_restart.RULES,
    *rules_rights.RULES,
    *rules_memory.RULES,
    *rules_options.RULES,
    *rules_starts.RULES,
    *rules_configured.RULES,
    *rules_shape.RULES,
    *rules_room.RULES,
    *rules_containers.RULES,
    *rules_hooks.RULES,
)
_ORDER: Final = tuple(Level)
_KINDS: Final[Mapping[NameKind, Kind]] = {
    NameKind.UNIT: Kind.UNIT,
    NameKind.PROCESS: Kind.PROCESS,
    NameKind.OWNER: Kind.OWNER,
}


def judge(case: Case) -> tuple[Finding, ...]:
    """All findings, the worst first."""
    # Without settings there is nothing to judge but why.
    rules = _RULES if case.has_settings else rules_configured.RULES
    found = [finding for rule in rules if (finding := rule(case))]
    found += rules_configured.mistakes(case)
    return tuple(sorted(found, key=lambda finding: _ORDER.index(finding.level)))


@dataclass(frozen=True, slots=True)
class Asked:
    """Names to be checked with some settings."""

    settings: Settings
    own: Configured | None = None
    """Where these are from, if not from the command line."""
    but_for: int | None = None
    """The PID of the monitor that has them already, if there is one."""


def check(settings: Settings, machine: Machine, report: Report) -> int:
    """Print the report on stdout; the exit status. UsageError, StartError or OSError: there is none."""
    return check_each(settings, _asked(settings, machine), lambda _: machine, report)


def check_each(
    settings: Settings, all_asked: Iterable[Asked], machine_for: Callable[[Settings], Machine], report: Report
) -> int:
    """As `check`, with settings for each; of `settings` only the form of the report is taken."""
    facts = read_machine()
    resolved: list[Resolved] = []
    try:
        for asked in all_asked:
            machine = machine_for(asked.settings)
            checker = _Checker(asked, machine, report, facts)
            meanings = list(Names(asked.settings, machine.manager_if_any, report).meanings())
            resolved += [checker.resolve(meaning) for meaning in meanings]
    except BusError as error:
        raise StartError(f"systemd can't be asked: {error}") from None
    status = exit_status(resolved)
    if settings.json:
        write_text(as_json(settings, facts, resolved, status))
    else:
        write_text(as_text(resolved))
    for one in resolved:
        if one.missing is not None:
            write_error(missing_line(one.missing))
    return status


def _asked(settings: Settings, machine: Machine) -> Iterator[Asked]:
    """The settings of the command line; or, for each name, those of its monitor, and where they are from."""
    if not settings.by_monitors_settings:
        yield Asked(settings)
        return
    for name in dict.fromkeys(settings.names):
        yield Asked(*configured(settings, name, lambda: machine.connect().manager))


def exit_status(resolved: Sequence[Resolved]) -> int:
    """4 where a name matches nothing, 3 where there are errors or warnings, else 0."""
    if any(one.missing for one in resolved):
        return EXIT_NOT_FOUND
    found = (finding for one in resolved for checked in one.checked for finding in checked.findings)
    return EXIT_FOUND if any(finding.level is not Level.NOTE for finding in found) else EXIT_OK


class _Checker:
    """Reads what a name means, and judges it."""

    def __init__(self, asked: Asked, machine: Machine, report: Report, facts: Facts) -> None:
        self._facts = facts
        self._own = asked.own
        self._settings = settings = asked.settings
        self._machine = machine
        self._report = report
        self._monitors = MonitorReader(lambda: self._systemd_if_any, settings.user, asked.but_for)

    def resolve(self, meaning: Meaning) -> Resolved:
        """What a name matches, and what is to be said of it."""
        if meaning.kind is NameKind.UNIT:
            subjects, why = self._units(meaning)
        elif meaning.kind is NameKind.OWNER:
            subjects = self._owners(meaning.name)
            why = "no process of a unit has a name that starts with it"
        else:
            pids = self._pids(meaning.name)
            subjects = [subject for pid in pids if (subject := self._processes.read(pid))]
            why = "no process has a name that starts with it"
            if self._settings.name_kind is NameKind.AUTO:
                why = f"{meaning.why}, and {why}"
        missing = None if subjects else Missing(meaning.asked, why, self._nearest(meaning))
        checked = tuple(Checked(case, judge(case)) for case in map(self._case, subjects))
        kind = Kind.GLOB if meaning.is_glob else _KINDS[meaning.kind]
        return Resolved(meaning.asked, kind, meaning.why, checked, missing)

    def _case(self, subject: Subject) -> Case:
        return Case(self._settings.target, self._settings.user, self._facts, subject, self._own)

    def _units(self, meaning: Meaning) -> tuple[list[Subject], str]:
        """The units that a name means; if none, why."""
        if not meaning.is_glob:
            subject = self._unit_reader.read(self._machine.unit(meaning.name)[0])
            if subject.properties is None or subject.properties.load_state == "not-found":
                return [], f"there is no unit {meaning.name}"
            return [subject], ""
        names = matching_units(self._machine.connect().manager, meaning.name)
        named = (name for name in names if name.endswith(cgroup.UNIT_SUFFIXES))
        return self._touchable(named), f"no loaded unit matches {meaning.name}"

    def _touchable(self, names: Iterable[str]) -> list[Subject]:
        """Units without those that can't be monitored from here, which are logged."""
        subjects: list[Subject] = []
        for name in names:
            if name in self._machine.connect().untouchable:
                self._report.warn.unit_skipped(name, UNTOUCHABLE)
            else:
                subjects.append(self._unit_reader.read(name))
        return subjects

    def _pids(self, prefix: str) -> list[int]:
        """Processes without those that are never signalled, which are logged."""
        found, unreadable = self._processes.find(prefix)
        if unreadable is not None:
            write_error(f"'{prefix}': the name of a process can't be read ({unreadable}): it isn't checked")
        untouchable = self._machine.table.ancestors()
        for pid in sorted(untouchable.intersection(found)):
            self._report.warn.process_skipped(pid)
        return [pid for pid in found if pid not in untouchable]

    def _owners(self, prefix: str) -> list[Subject]:
        """The units that processes of a name make a target; the others are logged."""
        systemd = self._machine.connect()
        ownership = Ownership(systemd.manager, systemd.hierarchy, systemd.top_group)
        homes: dict[Home, list[int]] = {}
        for pid in self._pids(prefix):
            if home := ownership.home_of(pid):
                homes.setdefault(home, []).append(pid)
        owners: list[str] = []
        for home, pids in homes.items():
            if not home.is_never_meant and ownership.owns(home, pids):
                owners.append(home.unit)
            else:
                why = WHY_NEVER if home.is_never_meant else WHY_NOT
                self._report.warn.owner_skipped(home.unit, f"{name_of(pids[0])}[{pids[0]}]", why)
        return self._touchable(owners)

    @cached_property
    def _unit_reader(self) -> UnitReader:
        return UnitReader(self._settings, self._machine.connect(), self._facts, self._monitors)

    @cached_property
    def _processes(self) -> ProcessReader:
        return ProcessReader(self._settings, self._machine, self._systemd_if_any, self._facts, self._monitors)

    @cached_property
    def _systemd_if_any(self) -> Systemd | None:
        """The service manager; None where none runs, or none answers, which is logged."""
        try:
            self._machine.manager_if_any()
        except (StartError, UsageError) as error:
            self._report.warn.systemd_unavailable(str(error))
        return self._machine.systemd

    def _nearest(self, meaning: Meaning) -> tuple[str, ...]:
        """Names that there are, and that look like one that matches nothing."""
        units: Iterable[str] = ()
        processes: Iterable[str] = ()
        if self._settings.name_kind in (NameKind.AUTO, NameKind.UNIT) and self._systemd_if_any is not None:
            units = known_units(self._systemd_if_any.manager)
        if meaning.kind is not NameKind.UNIT and sys.platform == "linux":
            untouchable = self._machine.table.ancestors()
            pids = (pid for pid in proc.pids() if pid not in untouchable)
            processes = {name for pid in pids if (name := name_of(pid)) is not None}
        return nearest(meaning.asked, units, processes)
