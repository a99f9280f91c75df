"""What every verb is given, and how it fails."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from memmon_systemd.ctl.state import MonitorState, States, read_states
from memmon_systemd.ctl.words import Terminal, safe
from memmon_systemd.errors import EXIT_FAILED, EXIT_NO_MONITOR, EXIT_NOT_FOUND
from memmon_systemd.nearest import nearest
from memmon_systemd.output.record import Record

FORM: Final = 1
"""Counted up when a field changes its meaning or goes; new fields don't count it up."""
Object: TypeAlias = dict[str, object]


class CallError(Exception):
    """The command ends with one line for the user, and this status."""

    def __init__(self, message: str, status: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Call:
    """One run of the command."""

    environ: Mapping[str, str]
    directories: Sequence[str]
    """Where the state files are."""
    is_json: bool
    terminal: Terminal
    managers: Sequence[bool] = ()
    """The service managers that can be asked: False is the system's, True the user's."""

    def states(self) -> States:
        """What the state files say; CallError where no monitor runs, and there is no problem to tell."""
        states = read_states(self.directories)
        was_killed = any(not state.monitor.has_ended for state in states.monitors)
        if not states.running and not states.unreadable and not was_killed:
            raise CallError(_how_to_start("no monitor is running"), EXIT_NO_MONITOR)
        return states


def as_json(answer: Object) -> str:
    """The answer as a JSON object with the version of its form."""
    return json.dumps({"version": FORM, **answer}, indent=2) + "\n"


def targets_of(states: States, name: str) -> list[tuple[MonitorState, Record]]:
    """The targets that a name or a glob means, each with its monitor; CallError where there is none."""
    if not states.running:
        raise CallError(_how_to_start("no monitor is running"), EXIT_NO_MONITOR)
    for asked in (name, f"{name}.service"):
        found = [(state, record) for state in states.running for record in state.matching(asked)]
        if found:
            return found
    raise CallError(unknown(states, name), EXIT_NOT_FOUND)


def unknown(states: States, name: str) -> str:
    """That nothing of this name is monitored, and what may have been meant."""
    names = states.names
    units = [one for one in names if not one.endswith("]")]
    found = nearest(name, units, set(names) - set(units))
    meant = f"did you mean {safe(found[0])}?" if found else "memmonctl list shows what is"
    return f"'{safe(name)}' is not monitored: {meant}"


def _how_to_start(why: str) -> str:
    ways = "systemctl enable --now memory-monitor (for what unit files configure), or memory-monitor@NAME"
    return f"{why}: start one with {ways}"
