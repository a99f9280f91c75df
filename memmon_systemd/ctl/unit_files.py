"""What the files of units say of their monitoring: the section [X-MemoryMonitor], as systemd orders them."""

from __future__ import annotations

from dataclasses import dataclass

from memmon_systemd.settings import TargetSettings
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.units.unit_file import read_section
from memmon_systemd.units.unit_settings import unit_settings


@dataclass(frozen=True, slots=True)
class InFiles:
    """What is configured for one unit."""

    settings: TargetSettings | None
    """None: it isn't to be monitored, or that is wrong."""
    assignments: tuple[str, ...]
    """As they stand there: "Threshold=80%"."""
    files: tuple[str, ...]
    """Where they stand."""
    problems: tuple[str, ...]


def settings_in_files(manager: Manager, name: str, defaults: TargetSettings) -> InFiles:
    """What the files that systemd has read of a unit say, if they say something; BusError."""
    section = read_section(manager.unit_files(manager.unit(name)))
    wanted = unit_settings(section, name, defaults)
    return InFiles(wanted.settings, section.written, section.files, wanted.problems)
