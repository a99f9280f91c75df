"""What `--check` reads of other memory-monitors: what they were told to monitor, by their command lines.

A command line is whatever its process says. So nothing of it is printed here, systemd isn't asked about each
of its names, and no read of it waits for ever.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property, partial
from typing import Final

from memmon_systemd import arguments
from memmon_systemd.argv import arguments_of
from memmon_systemd.check.facts import OtherMonitor, OtherMonitors
from memmon_systemd.check.read_section import section_of
from memmon_systemd.check.unit_properties import read_unit
from memmon_systemd.errors import UsageError
from memmon_systemd.linux import cgroup, command_line, proc
from memmon_systemd.machine import Systemd
from memmon_systemd.names import meaning_of
from memmon_systemd.settings import NameKind, Settings, TargetSettings
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.properties import LOADED
from memmon_systemd.units.other_monitors import TEMPLATE, is_monitor
from memmon_systemd.units.unit_settings import unit_settings

_COMMAND: Final = b"memory-monitor"
_PYTHONS: Final = (b"python", b"pypy")
"""How the names of interpreters start: a monitor has its own name, or that of its interpreter."""
_LONGEST_COMMAND_LINE_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class RunningMonitor:
    """Another memory-monitor, and what its names can mean."""

    pid: int
    uid: int
    user: bool
    """Whether it monitors units of a user's manager."""
    units: tuple[str, ...]
    """The units and globs that its names mean where there are such units."""
    prefixes: Mapping[str, str | None]
    """The process-name prefixes that its names mean; each with the unit that it means if that is loaded."""
    target: TargetSettings
    is_machine_wide: bool = False
    """Whether it monitors the units that say so in their files; `target` is for what these leave out."""

    @classmethod
    def of(cls, pid: int, uid: int, settings: Settings) -> RunningMonitor:
        """A process that was given these settings; UsageError for names that no monitor takes."""
        kind = settings.name_kind
        as_units = [meaning_of(name, kind, lambda _: True) for name in settings.names]
        units = tuple(meaning.name for meaning in as_units if meaning.kind is NameKind.UNIT)
        prefixes: dict[str, str | None] = {}
        for as_unit in as_units:
            if meaning_of(as_unit.asked, kind, lambda _: False).kind is not NameKind.UNIT:
                prefixes[as_unit.asked] = as_unit.name if as_unit.kind is NameKind.UNIT else None
        return cls(pid, uid, settings.user, units, prefixes, settings.target, settings.configured)

    def is_of(self, user: bool) -> bool:
        """Whether it monitors units of the system's manager, or of this user's."""
        return self.user == user and not (user and self.uid != os.geteuid())

    def monitors_unit(self, unit: str, user: bool) -> bool:
        """Whether one of its names means this unit, of the system's manager or of this user's."""
        return self.is_of(user) and any(fnmatchcase(unit, name) for name in self.units)

    def monitors_process(self, is_named: Callable[[bytes], bool], is_loaded: Callable[[str], bool]) -> bool:
        """Whether one of its names means a process with these names, and not a unit that is loaded."""
        return any(
            is_named(os.fsencode(prefix)) and not (unit is not None and is_loaded(unit))
            for prefix, unit in self.prefixes.items()
        )


class MonitorReader:
    """Finds the other monitors, once, when they are first asked for."""

    def __init__(self, systemd: Callable[[], Systemd | None], user: bool, but_for: int | None = None) -> None:
        """`systemd` gives the service manager of the report; None where there is none to ask.

        `but_for` is the PID of a monitor that is no other one: its settings are what is checked.
        """
        self._but_for = but_for
        self._systemd = systemd
        self._user = user
        self._unread: list[str] = []
        self._loaded: dict[str, bool] = {}

    def of(self, unit: str | None, pid: int) -> OtherMonitors:
        """Those of a unit, or of a process (0: of none)."""
        is_named = partial(self._is_named, pid)
        known = tuple(
            OtherMonitor(monitor.pid, self._service_of(monitor.pid), monitor.target)
            for monitor in self._running
            if (unit is not None and monitor.monitors_unit(unit, self._user))
            or (pid and monitor.monitors_process(is_named, self._is_loaded))
        )
        if unit is not None and not any(monitor.unit == f"{TEMPLATE}{unit}" for monitor in known):
            known += self._machine_wide(unit)
        return OtherMonitors(known, tuple(self._unread))

    def _machine_wide(self, unit: str) -> tuple[OtherMonitor, ...]:
        """The monitor of all units with a section, if this one has one; BusError."""
        running = [one for one in self._running if one.is_machine_wide and one.is_of(self._user)]
        systemd = self._systemd() if running else None
        if systemd is None or is_monitor(unit):
            return ()
        section = section_of(systemd.manager, unit)
        files = tuple(dict.fromkeys(one.path for one in section.assignments.values()))
        found = ((one.pid, unit_settings(section, unit, one.target).settings) for one in running)
        return tuple(
            OtherMonitor(pid, self._service_of(pid), settings, files)
            for pid, settings in found
            if settings is not None and not settings.dry_run
        )

    @cached_property
    def _running(self) -> list[RunningMonitor]:
        if sys.platform != "linux":
            return []
        own = proc.ancestors() | ({self._but_for} if self._but_for else set())
        return [
            monitor for pid in proc.pids() if pid not in own and (monitor := self._monitor(pid)) is not None
        ]

    def _monitor(self, pid: int) -> RunningMonitor | None:
        try:
            comm = proc.read(f"/proc/{pid}/comm", 64)[:-1]
            if comm != _COMMAND and not comm.startswith(_PYTHONS):
                return None
            uid = proc.user_ids(pid)[1]
            line = command_line.read(pid, _LONGEST_COMMAND_LINE_BYTES)
        except TimeoutError:
            self._unread.append(f"{comm.decode(errors='backslashreplace')}[{pid}]")
            return None
        except OSError:
            return None  # It has ended.
        settings = settings_of([os.fsdecode(word) for word in line.split(b"\0")[:-1]])
        if settings is None or settings.target.dry_run or settings.is_report:
            return None
        try:
            return RunningMonitor.of(pid, uid, settings)
        except UsageError:
            return None

    def _is_named(self, pid: int, prefix: bytes) -> bool:
        try:
            comm = proc.read_stat(pid).comm
            return command_line.is_named(pid, comm, prefix)
        except OSError:
            return False  # It has ended, or can't be told from another of the same first 15 letters.

    def _is_loaded(self, unit: str) -> bool:
        """Whether there is such a unit, as far as a service manager can be asked."""
        if unit not in self._loaded:
            systemd = self._systemd()
            try:
                self._loaded[unit] = systemd is not None and systemd.manager.load(unit)[1] == LOADED
            except BusError:
                self._loaded[unit] = False  # What can't be a unit's name.
        return self._loaded[unit]

    def _service_of(self, pid: int) -> str | None:
        """The service whose main process this is."""
        systemd = self._systemd()
        units = cgroup.units_of(cgroup.control_group_of(pid) or "", systemd.top_group) if systemd else ()
        if systemd is None or not units or not units[-1].endswith(".service"):
            return None
        try:
            service = read_unit(systemd.manager, systemd.manager.unit(units[-1])).service
        except BusError:
            return None
        return units[-1] if service is not None and service.main_pid == pid else None


def settings_of(words: Sequence[str]) -> Settings | None:
    """What a command line asks of memory-monitor; None where it is another program's, or asks for nothing."""
    options = arguments_of(words)
    try:
        return None if options is None else arguments.parse(options)
    except (UsageError, arguments.TextWanted):
        return None
