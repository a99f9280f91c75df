"""`memmonctl check`: memory-monitor --check, with the settings of the monitors that run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from memmon_systemd.app import open_sink
from memmon_systemd.check import command as checks
from memmon_systemd.check.read_monitors import settings_of
from memmon_systemd.ctl.call import Call, CallError, targets_of
from memmon_systemd.ctl.state import MonitorState, States
from memmon_systemd.errors import EXIT_OK
from memmon_systemd.linux import command_line
from memmon_systemd.machine import Machine
from memmon_systemd.monitor.log import Log
from memmon_systemd.monitor.report import Report
from memmon_systemd.settings import NameKind, Settings

_LONGEST_BYTES = 65536


def run(call: Call, names: Sequence[str]) -> int:
    """Check these units, or all that are monitored; the highest exit status of the checks."""
    states = call.states()
    status = EXIT_OK
    for state, units in _units_of(states, names):
        settings = _settings_of(state)
        asked = replace(
            settings,
            names=tuple(units) or settings.names,
            name_kind=NameKind.UNIT if units else settings.name_kind,
            check=True,
            json=call.is_json,
            until_stopped=False,
            verbosity=0,
        )
        report = Report(Log(open_sink(call.environ), is_quiet=False))
        machine = Machine(asked, call.environ)
        status = max(status, checks.check(asked, machine, report, state.monitor.pid))
    return status


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
