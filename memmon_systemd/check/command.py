"""`--check`: looks at the targets and at the machine, says what is wrong, acts on nothing.

The only entry point of this folder: nothing that runs imports it.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Final

from memmon_systemd.check import rules_memory as checkmemory
from memmon_systemd.check import rules_restart as checkrules
from memmon_systemd.check import rules_rights as checkrights
from memmon_systemd.check.facts import Case, Checked, Finding, Level, Missing, Resolved, Target
from memmon_systemd.check.json_form import as_json
from memmon_systemd.check.read_machine import RunningMonitor, read_machine, running_monitors
from memmon_systemd.check.read_process import find_pids, read_process_target
from memmon_systemd.check.read_unit import read_unit_target
from memmon_systemd.check.text import as_text, missing_line
from memmon_systemd.check.unit_properties import known_units, matching_units
from memmon_systemd.errors import EXIT_FOUND, EXIT_NOT_FOUND, EXIT_OK, StartError, UsageError
from memmon_systemd.linux import cgroup, proc
from memmon_systemd.monitor.report import Report
from memmon_systemd.names import Meaning, Names
from memmon_systemd.settings import NameKind, Settings
from memmon_systemd.sources import Machine, Systemd
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.systemd.properties import LOADED
from memmon_systemd.units.watch import UNTOUCHABLE

_RULES: Final[Sequence[Callable[[Case], Finding | None]]] = (
    *checkrules.RULES,
    *checkrights.RULES,
    *checkmemory.RULES,
)
_ORDER: Final = tuple(Level)
_NEAREST: Final = 3


def judge(case: Case) -> tuple[Finding, ...]:
    """All findings of a target, the worst first."""
    found = [finding for rule in _RULES if (finding := rule(case))]
    return tuple(sorted(found, key=lambda finding: _ORDER.index(finding.level)))


def check(settings: Settings, machine: Machine, report: Report) -> int:
    """Print the report on stdout; the exit status. UsageError, StartError or OSError: there is none."""
    try:
        meanings = list(Names(settings, machine.manager_if_any, report).meanings())
        checker = _Checker(settings, machine, report)
        resolved = [checker.resolve(meaning) for meaning in meanings]
    except BusError as error:
        raise StartError(f"systemd can't be asked: {error}") from None
    status = exit_status(resolved)
    if settings.json:
        _print(as_json(settings, checker.facts, resolved, status))
    else:
        _print(as_text(resolved))
    for one in resolved:
        if one.missing is not None:
            print(f"memory-monitor: {missing_line(one.missing)}", file=sys.stderr)
    return status


def exit_status(resolved: Sequence[Resolved]) -> int:
    """4 where a name stands for nothing, 3 where there are errors or warnings, else 0."""
    if any(one.missing for one in resolved):
        return EXIT_NOT_FOUND
    found = (finding for one in resolved for checked in one.targets for finding in checked.findings)
    return EXIT_FOUND if any(finding.level is not Level.NOTE for finding in found) else EXIT_OK


class _Checker:
    """Reads what a meaning stands for, and judges it."""

    def __init__(self, settings: Settings, machine: Machine, report: Report) -> None:
        self.facts = read_machine()
        self._settings = settings
        self._machine = machine
        self._report = report

    def resolve(self, meaning: Meaning) -> Resolved:
        """What a name stands for, and what is to be said of it."""
        if meaning.kind is NameKind.UNIT:
            targets, why = self._units(meaning)
        elif meaning.kind is NameKind.OWNER:
            targets = self._owners(meaning.name)
            why = "no process that belongs to a unit has a name that begins so"
        else:
            pids = self._pids(meaning.name)
            targets = [target for pid in pids if (target := self._process(pid))]
            why = "no process has a name that begins so"
            if self._settings.name_kind is NameKind.AUTO:
                why = f"{meaning.why}, and {why}"
        missing = None if targets else Missing(meaning.asked, why, self._nearest(meaning))
        cases = (Case(self._settings.target, self._settings.user, self.facts, target) for target in targets)
        checked = tuple(Checked(case, judge(case)) for case in cases)
        kind = "glob" if meaning.is_glob else meaning.kind.value
        return Resolved(meaning.asked, kind, meaning.why, checked, missing)

    def _units(self, meaning: Meaning) -> tuple[list[Target], str]:
        """The units that a name stands for; if none, why."""
        if not meaning.is_glob:
            target = self._unit(self._machine.unit(meaning.name)[0])
            if target.properties is None or target.properties.load_state == "not-found":
                return [], f"there is no unit {meaning.name}"
            return [target], ""
        systemd = self._machine.connect()
        names = matching_units(systemd.manager, meaning.name)
        named = (name for name in names if name.endswith(cgroup.UNIT_SUFFIXES))
        return self._touchable(systemd, named), f"no loaded unit matches {meaning.name}"

    def _touchable(self, systemd: Systemd, names: Iterable[str]) -> list[Target]:
        """Units without those that can't be monitored from here, which are said."""
        targets: list[Target] = []
        for name in names:
            if name in systemd.untouchable:
                self._report.warn.unit_skipped(name, UNTOUCHABLE)
            else:
                targets.append(self._unit(name))
        return targets

    def _pids(self, prefix: str) -> list[int]:
        """Processes without those that are never signalled, which are said."""
        found = find_pids(prefix, self._machine.table)
        untouchable = self._machine.table.ancestors()
        for pid in sorted(untouchable.intersection(found)):
            self._report.warn.process_skipped(pid)
        return [pid for pid in found if pid not in untouchable]

    @cached_property
    def _monitors(self) -> list[RunningMonitor]:
        """Read when the first target is: by then it is known whether there is a service manager."""
        return running_monitors(self._is_loaded) if sys.platform == "linux" else []

    def _is_loaded(self, unit: str) -> bool:
        """Whether there is such a unit, as far as a service manager is asked at all."""
        try:
            systemd = self._machine.systemd
            return systemd is not None and systemd.manager.load(unit)[1] == LOADED
        except BusError:
            return False  # What can't be a unit's name.

    def _owners(self, prefix: str) -> list[Target]:
        """The units that processes of a name belong to."""
        systemd = self._machine.connect()
        groups = (cgroup.control_group_of(pid) or "" for pid in self._pids(prefix))
        owners = (units[-1] for group in groups if (units := cgroup.units_of(group, systemd.top_group)))
        return self._touchable(systemd, dict.fromkeys(name for name in owners if not name.endswith(".slice")))

    def _unit(self, name: str) -> Target:
        systemd = self._machine.connect()
        return read_unit_target(
            name, self._settings, systemd.manager, systemd.hierarchy, self.facts, self._monitors
        )

    @cached_property
    def _manager_of_processes(self) -> Manager | None:
        """Who can tell what a process belongs to; None where no service manager runs, or none answers."""
        try:
            return self._machine.manager_if_any()
        except (StartError, UsageError) as error:
            self._report.warn.systemd_unavailable(str(error))
            return None

    def _process(self, pid: int) -> Target | None:
        machine = self._machine
        manager = self._manager_of_processes
        return read_process_target(
            pid,
            self._settings,
            machine.table,
            self.facts,
            machine.hierarchy,
            manager,
            self._monitors,
        )

    def _nearest(self, meaning: Meaning) -> tuple[str, ...]:
        """The names that there are and that look most like the one that was given."""
        asked = meaning.asked
        suffixes: tuple[str, ...] = cgroup.UNIT_SUFFIXES
        if asked.endswith(suffixes):
            asked, dot, suffix = asked.rpartition(".")
            suffixes = (dot + suffix,)
        names: dict[str, str] = {}
        if self._settings.name_kind in (NameKind.AUTO, NameKind.UNIT) and self._machine.systemd is not None:
            for unit in known_units(self._machine.systemd.manager):
                if unit.endswith(suffixes):
                    names.setdefault(unit.rpartition(".")[0], unit)
        if meaning.kind is not NameKind.UNIT and sys.platform == "linux":
            names = {name: name for name in _process_names()} | names
        close = difflib.get_close_matches(asked, names, n=_NEAREST, cutoff=0.6)
        return tuple(names[name] for name in close)


def _process_names() -> set[str]:
    found: set[str] = set()
    for pid in proc.pids():
        try:
            found.add(proc.read_stat(pid).comm.decode(errors="backslashreplace"))
        except OSError:
            continue  # It has ended.
    return found


def _print(text: str) -> None:
    """All of it on stdout, or OSError: by `print` a failure would only show at the interpreter's end."""
    data = text.encode(errors="backslashreplace")
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError as error:
        raise OSError(f"the report can't be written: {error.strerror}") from None
