"""Units that are configured to be monitored, and aren't now: by the files that systemd reads."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from memmon_systemd.ctl.unit_files import InFiles, settings_in_files
from memmon_systemd.linux.cgroup import ALL_SUFFIXES, OTHER_SUFFIXES
from memmon_systemd.linux.text_file import text_of
from memmon_systemd.settings import UNSET
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.systemd.properties import LOADED
from memmon_systemd.units.other_monitors import MACHINE_WIDE, TEMPLATE
from memmon_systemd.units.unit_file import SECTION

MONITOR: Final = MACHINE_WIDE.removesuffix(".service")
"""The machine-wide monitor, as its state file is named."""
_HEADER: Final = f"[{SECTION}]".encode()
_DROP_INS, _WANTS = ".d", ".wants"


@dataclass(frozen=True, slots=True)
class Unmonitored:
    """One such unit."""

    name: str
    active_state: str
    monitor: str
    """Which one would monitor it."""
    threshold: str | None
    """As its files say; None: they don't, or it is wrong."""
    problem: str | None
    """Why it isn't monitored although it runs, or never can be; None: it doesn't run."""


def unmonitored(manager: Manager, monitored: Collection[str], monitors: Collection[str]) -> list[Unmonitored]:
    """The units of one manager that are configured, without those that are monitored; BusError.

    `monitors` are the names of the monitors that run.
    """
    sections, instances = _candidates(manager)
    found: dict[str, Unmonitored] = {}
    for name in sorted(instances):
        unit = f"{name}.service"
        if unit not in monitored and (one := _with_instance(manager, unit, f"{TEMPLATE}{name}")):
            found[one.name] = one
    for name in sorted(sections - found.keys() - set(monitored)):
        if (one := _with_section(manager, name, MONITOR in monitors)) and one.name not in monitored:
            found.setdefault(one.name, one)
    return list(found.values())


def _with_section(manager: Manager, asked: str, is_monitor_running: bool) -> Unmonitored | None:
    try:
        name, load_state = manager.load(asked)
        if load_state != LOADED:
            return None
        active_state = manager.state(manager.unit(name)).active_state
        said = settings_in_files(manager, name, UNSET)
    except BusError as error:
        if not error.is_answer:
            raise
        return None  # No name of a unit.
    if said.settings is None and not said.problems:
        return None  # It opts out.
    problem = None
    if name.endswith(OTHER_SUFFIXES):
        problem = said.problems[0]
    elif active_state not in ("inactive", "failed"):
        problem = _why(said, active_state, is_monitor_running=is_monitor_running)
    threshold = None if said.settings is None else str(said.settings.threshold)
    return Unmonitored(name, active_state, MONITOR, threshold, problem)


def _why(said: InFiles, active_state: str, *, is_monitor_running: bool) -> str:
    if said.settings is None:
        return f"{active_state}, and not monitored: {said.problems[0]}"
    if not is_monitor_running:
        start = f"systemctl enable --now {MONITOR}"
        return f"{active_state}, and not monitored: {MACHINE_WIDE} isn't running: {start}"
    return f"{active_state}, and not monitored (yet): see journalctl -u {MONITOR}"


def _with_instance(manager: Manager, unit: str, monitor: str) -> Unmonitored | None:
    try:
        name, load_state = manager.load(unit)
        active_state = manager.state(manager.unit(name)).active_state if load_state == LOADED else "not-found"
    except BusError as error:
        if not error.is_answer:
            raise
        return None
    problem = None
    if active_state not in ("inactive", "failed", "not-found"):
        start = f"systemctl start '{monitor}'"
        problem = f"{active_state}, and not monitored: {monitor}.service isn't running: {start}"
    return Unmonitored(name, active_state, monitor, None, problem)


def _candidates(manager: Manager) -> tuple[set[str], set[str]]:
    """The units whose own files have the section, and the instances of the template that are enabled."""
    sections: set[str] = set()
    instances: set[str] = set()
    for directory in manager.unit_path():
        for entry in _entries(directory):
            name = entry.name
            if name.endswith(ALL_SUFFIXES) and _has_section(entry.path):
                sections.add(name)
            elif name.endswith(_DROP_INS) and any(
                one.name.endswith(".conf") and _has_section(one.path) for one in _entries(entry.path)
            ):
                sections.add(name.removesuffix(_DROP_INS))
            elif name.endswith(_WANTS):
                instances.update(_instances(entry.path))
    units: set[str] = set()
    for name in sections:
        stem = name.rpartition(".")[0]
        if stem.endswith("@"):  # Of a template those instances count that systemd knows.
            units.update(one for one, _ in manager.list_units(name.replace("@.", "@*.")))
        elif stem and not stem.endswith("-"):  # Not what holds for all of a type, or for a common beginning.
            units.add(name)
    return units, instances


def _instances(directory: str) -> Iterator[str]:
    for entry in _entries(directory):
        if entry.name.startswith(TEMPLATE) and entry.name.endswith(".service"):
            yield entry.name.removeprefix(TEMPLATE).removesuffix(".service")


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []  # Most of these directories don't exist, on most machines.


def _has_section(path: str) -> bool:
    try:
        return _HEADER in text_of(path)
    except (OSError, ValueError):
        return False  # systemd says of it what there is to say.
