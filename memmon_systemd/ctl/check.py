"""`memmonctl check`: memory-monitor --check, with the settings of the monitors that run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from memmon_systemd.app import open_sink
from memmon_systemd.check import command as checks
from memmon_systemd.check.command import Asked
from memmon_systemd.check.configured import Configured
from memmon_systemd.check.read_monitors import settings_of
from memmon_systemd.ctl.call import Call, CallError, targets_of
from memmon_systemd.ctl.state import MonitorState, States
from memmon_systemd.ctl.unit_files import settings_in_files
from memmon_systemd.linux import command_line
from memmon_systemd.machine import Machine
from memmon_systemd.monitor.log import Log
from memmon_systemd.monitor.report import Report
from memmon_systemd.settings import UNSET, NameKind, Settings
from memmon_systemd.systemd.errors import BusError

_LONGEST_BYTES = 65536


def run(call: Call, names: Sequence[str]) -> int:
    """Check these units, or all that are monitored, in one report; its exit status."""
    states = call.states()
    report = Report(Log(open_sink(call.environ), is_quiet=False))
    machines: dict[bool, Machine] = {}

    def machine_for(settings: Settings) -> Machine:
        return machines.setdefault(settings.user, Machine(settings, call.environ))

    asked = [
        one for state, units in _units_of(states, names) for one in _asked(call, state, units, machine_for)
    ]
    form = Settings((), UNSET, check=True, json=call.is_json, by_monitors_settings=True)
    return checks.check_each(form, asked, machine_for, report)


def _units_of(states: States, names: Sequence[str]) -> list[tuple[MonitorState, list[str]]]:
    """By monitor, the units to check; none: all that it was started for."""
    if not names:
        return [(state, []) for state in states.running]
    by_path: dict[str, tuple[MonitorState, list[str]]] = {}
    for name in names:
        for state, record in targets_of(states, name):
            units = by_path.setdefault(state.path, (state, []))[1]
            if record.is_unit and record.name not in units:
                units.append(record.name)
    return list(by_path.values())


def _asked(
    call: Call, state: MonitorState, units: Sequence[str], machine_for: Callable[[Settings], Machine]
) -> Iterator[Asked]:
    """What to check of one monitor, with the settings that it has; CallError."""
    pid = state.monitor.pid
    settings = replace(
        _settings_of(state), check=True, json=call.is_json, until_stopped=False, configured=False, verbosity=0
    )
    if settings.names:
        kind = NameKind.UNIT if units else settings.name_kind
        asked = replace(settings, names=tuple(units) or settings.names, name_kind=kind)
        yield Asked(asked, None, pid)
        return
    manager = machine_for(settings).connect().manager
    for name in units or [record.name for record in state.targets]:
        try:
            found = settings_in_files(manager, name, settings.target)
        except BusError as error:
            raise CallError(f"{name}: systemd can't be asked for its files: {error}") from None
        if found.settings is not None:
            own = Configured(f"{state.monitor.name}.service", found.assignments, found.files)
            asked = replace(settings, names=(name,), name_kind=NameKind.UNIT, target=found.settings)
            yield Asked(asked, own, pid)


def _settings_of(state: MonitorState) -> Settings:
    """What the command line of a monitor asked for; CallError."""
    pid = state.monitor.pid
    try:
        line = command_line.read(pid, _LONGEST_BYTES)
    except OSError as error:
        why = error.strerror or str(error)
        raise CallError(f"the command line of {state.monitor.name} (PID {pid}): {why}") from None
    settings = settings_of([os.fsdecode(word) for word in line.split(b"\0")[:-1]])
    if settings is None:
        raise CallError(f"the command line of {state.monitor.name} (PID {pid}) isn't memory-monitor's")
    return settings
