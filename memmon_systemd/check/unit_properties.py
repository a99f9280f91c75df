"""What `--check` asks of a service manager (org.freedesktop.systemd1(5)); the running monitor never does.

Every function raises BusError.
"""

from __future__ import annotations

import errno
import os
import signal
from dataclasses import dataclass, field
from typing import Final

from memmon_systemd.systemd.bus import Bus, BusError
from memmon_systemd.systemd.manager import LOADED, MANAGER, Manager, Unit
from memmon_systemd.systemd.restart_rules import RestartRules

_UNLIMITED: Final = 2**64 - 1
_ENDLESS: Final = float("inf")
_MEANINGS: Final = {errno.EACCES: False, errno.EPERM: False, errno.ESRCH: True}
"""What an answer to a signal for nobody says of the permission."""


@dataclass(frozen=True, slots=True)
class UnitProperties:
    """A unit's options and state. Sizes are in bytes, None: unlimited; times in seconds."""

    load_state: str = LOADED
    active_state: str = "active"
    sub_state: str = "running"
    needs_reload: bool = False
    """Its file has changed since systemd read it."""
    transient: bool = False
    """Made by systemd-run: it has no file that could be edited."""
    control_group: str = ""
    slice: str = ""
    memory_max_bytes: int | None = None
    memory_high_bytes: int | None = None
    swap_max_bytes: int | None = None
    timeout_stop_s: float = _ENDLESS
    service: ServiceProperties | None = None
    """What only services have."""


@dataclass(frozen=True, slots=True)
class ServiceProperties:
    """What only a service has."""

    type: str = "simple"
    pid_file: str = ""
    main_pid: int = 0
    control_pid: int = 0
    kill_mode: str = "control-group"
    oom_policy: str = "stop"
    restart: RestartRules = field(default_factory=RestartRules)
    restart_s: float = 0.1
    start_limit_interval_s: float = 10.0
    start_limit_burst: int = 5


class Reader:
    """Reads the properties of one unit."""

    def __init__(self, bus: Bus, unit: Unit) -> None:
        """A reader; asks nobody yet."""
        self._bus = bus
        self._unit = unit

    def text(self, name: bytes, *, common: bool = False) -> str:
        """A string."""
        where = self._unit.common if common else self._unit.typed
        return os.fsdecode(self._bus.property(where, name, b"s"))

    def flag(self, name: bytes) -> bool:
        """A boolean of every type of unit."""
        return bool(self._bus.property(self._unit.common, name, b"b"))

    def number(self, name: bytes) -> int:
        """A 32-bit number."""
        return int(self._bus.property(self._unit.typed, name, b"u"))

    def size_bytes(self, name: bytes) -> int | None:
        """A limit; None where there is none."""
        size_bytes = int(self._bus.property(self._unit.typed, name, b"t"))
        return None if size_bytes == _UNLIMITED else size_bytes

    def time_s(self, name: bytes, *, common: bool = False) -> float:
        """A time; infinite where it never ends."""
        where = self._unit.common if common else self._unit.typed
        microseconds = int(self._bus.property(where, name, b"t"))
        return _ENDLESS if microseconds == _UNLIMITED else microseconds / 1e6


def read_unit(manager: Manager, unit: Unit) -> UnitProperties:
    """The properties of a unit of a type that has a cgroup."""
    reader = Reader(manager.bus, unit)
    load_state = reader.text(b"LoadState", common=True)
    if load_state != LOADED:
        return UnitProperties(load_state=load_state, active_state="inactive", sub_state="dead")
    return UnitProperties(
        load_state=load_state,
        active_state=reader.text(b"ActiveState", common=True),
        sub_state=reader.text(b"SubState", common=True),
        needs_reload=reader.flag(b"NeedDaemonReload"),
        transient=reader.flag(b"Transient"),
        control_group=reader.text(b"ControlGroup"),
        slice=reader.text(b"Slice"),
        memory_max_bytes=reader.size_bytes(b"MemoryMax"),
        memory_high_bytes=reader.size_bytes(b"MemoryHigh"),
        swap_max_bytes=reader.size_bytes(b"MemorySwapMax"),
        timeout_stop_s=manager.invocation(unit).timeout_stop_s or _ENDLESS,
        service=_read_service(manager, unit, reader) if unit.is_service else None,
    )


def _read_service(manager: Manager, unit: Unit, reader: Reader) -> ServiceProperties:
    return ServiceProperties(
        type=reader.text(b"Type"),
        pid_file=reader.text(b"PIDFile"),
        main_pid=reader.number(b"MainPID"),
        control_pid=reader.number(b"ControlPID"),
        kill_mode=reader.text(b"KillMode"),
        oom_policy=reader.text(b"OOMPolicy"),
        restart=manager.restart_rules(unit),
        restart_s=reader.time_s(b"RestartUSec"),
        start_limit_interval_s=reader.time_s(b"StartLimitIntervalUSec", common=True),
        start_limit_burst=int(manager.bus.property(unit.common, b"StartLimitBurst", b"u")),
    )


def matching_units(manager: Manager, pattern: str) -> list[str]:
    """The loaded units that a glob names."""
    rows = manager.bus.call(MANAGER, b"ListUnitsByPatterns", b"asas", [], [os.fsencode(pattern)])
    return sorted(os.fsdecode(row[0]) for row in rows if row[2] == LOADED.encode())


def known_units(manager: Manager) -> list[str]:
    """Every unit that systemd has loaded, and those that it would find if it were asked to.

    By the directories that it searches: ListUnitFiles took more than a second on a slow machine.
    """
    rows = manager.bus.call(MANAGER, b"ListUnits", b"")
    names = {os.fsdecode(row[0]) for row in rows if row[2] != b"not-found"}
    for directory in manager.bus.property(MANAGER, b"UnitPath", b"as"):
        try:
            names.update(os.listdir(os.fsdecode(directory)))
        except OSError:
            continue  # Most of these directories don't exist, on most machines.
    return sorted(names)


def may_signal(manager: Manager, unit: Unit, control_pid: int) -> bool | None:
    """Whether systemd lets this user, who isn't root, signal the unit; None where that can't be told.

    Nobody but root may ask polkit what its rules say of one unit. But systemd asks it before it looks for
    who would get the signal: so KillUnit is called for the control process of a unit that has none, and
    what it answers is either "not permitted" or "no such process". It is SIGCONT, which does nothing to a
    process that runs, should a control process start at that very moment.
    """
    if control_pid:
        return None
    try:
        manager.kill(unit, "control", signal.SIGCONT)
    except BusError as error:
        return _MEANINGS.get(error.errno)
    return None
