"""What `--check` reads of the section [X-MemoryMonitor] of a unit."""

from __future__ import annotations

from typing import Final

from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.systemd.properties import LOADED
from memmon_systemd.units.unit_file import Section, read_section

_NO_SECTION: Final = Section({}, (), None, is_complete=True)


def section_of(manager: Manager, name: str) -> Section:
    """The section of a unit's files, as they are now; an empty one where there is no such unit; BusError."""
    try:
        own_name, load_state = manager.load(name)
        paths = manager.unit_files(manager.unit(own_name)) if load_state == LOADED else ()
    except BusError as error:
        if not error.is_answer:
            raise
        return _NO_SECTION  # It can't be a unit's name.
    return read_section(paths)
