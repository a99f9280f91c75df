"""What there is on this machine: its service manager and its cgroups, connected to where they are needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memmon_systemd.errors import StartError, UsageError
from memmon_systemd.linux import cgroup
from memmon_systemd.names import load
from memmon_systemd.processes.table import process_table
from memmon_systemd.settings import NameKind, Settings

if TYPE_CHECKING:
    from memmon_systemd.monitor.warnings import Warnings
    from memmon_systemd.systemd.manager import Manager


@dataclass(frozen=True, slots=True)
class Systemd:
    """A service manager, and where its units are."""

    manager: Manager
    hierarchy: cgroup.Hierarchy
    top_group: str
    """The control group that its units are in."""
    untouchable: frozenset[str]
    """The units that contain this process, one above it, or PID 1."""


class Machine:
    """What there is on this machine, connected to when it is first asked for."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], warn: Warnings | None = None) -> None:
        """Connects to the service manager where one is needed in any case; UsageError, StartError.

        With `warn`, a manager that is busy is waited for, and that is said.
        """
        self._settings = settings
        self._warn = warn
        self.environ = environ
        _check_clocks()
        self.hierarchy = cgroup.find_hierarchy()
        self.table = process_table()
        self.systemd: Systemd | None = None
        if settings.user or settings.name_kind in (NameKind.UNIT, NameKind.OWNER):
            self.connect()

    def connect(self) -> Systemd:
        """The service manager; UsageError or StartError where there is none."""
        self.systemd = self.systemd or _connect(self._settings, self.environ, self.hierarchy, self._warn)
        return self.systemd

    def hasten(self) -> None:
        """Wait for answers of the service manager no longer than a monitor may that runs."""
        if self.systemd is not None:
            self.systemd.manager.hasten()

    def manager_if_any(self) -> Manager | None:
        """The service manager; None where none runs; UsageError or StartError where it doesn't answer."""
        if self.systemd is None and not os.path.isdir("/run/systemd/system"):
            return None
        return self.connect().manager

    def unit(self, name: str) -> tuple[str, str]:
        """The own name of a unit that may be monitored, and its LoadState; UsageError, StartError."""
        from memmon_systemd.units.untouchable import UNTOUCHABLE

        systemd = self.connect()
        own_name, load_state = load(systemd.manager, name)
        if own_name in systemd.untouchable:
            raise UsageError(f"'{own_name}' can't be monitored from here: {UNTOUCHABLE}")
        return own_name, load_state


def _check_clocks() -> None:
    if sys.platform == "linux":
        from memmon_systemd.linux.time_namespace import check_clocks

        check_clocks()


def _connect(
    settings: Settings, environ: Mapping[str, str], hierarchy: cgroup.Hierarchy | None, warn: Warnings | None
) -> Systemd:
    if sys.platform != "linux":
        raise UsageError(f"units need systemd, which {sys.platform} doesn't have: use --as process")
    # Imported here: a monitor of processes needs no D-Bus.
    from memmon_systemd.systemd.bus import ABSENT, CALL_DEADLINE_S, PATIENT_DEADLINE_S
    from memmon_systemd.systemd.errors import BusError
    from memmon_systemd.systemd.manager import Manager
    from memmon_systemd.units.untouchable import untouchable_units

    try:
        deadline_s = PATIENT_DEADLINE_S if settings.check else CALL_DEADLINE_S
        on_busy = None if settings.check or warn is None else warn.systemd_busy
        manager = Manager(settings.user, environ, deadline_s, on_busy)
        top_group = manager.control_group()
    except BusError as error:
        if settings.user and error.errno in ABSENT:
            raise UsageError(f"--user: {_without_bus(environ, str(error))}") from None
        raise StartError(f"systemd can't be asked: {error}; --as process works without it") from None
    if hierarchy is None:
        hidden = "none is mounted below /sys/fs/cgroup, or something is mounted over it"
        raise StartError(f"no cgroup hierarchy is there: {hidden}; --as process works without")
    untouchable = untouchable_units(process_table().ancestors(), top_group)
    return Systemd(manager, hierarchy, top_group, frozenset(untouchable))


def _without_bus(environ: Mapping[str, str], why: str) -> str:
    """Why a user's service manager can't be asked, and what helps."""
    runtime = environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    if os.path.exists(f"{runtime}/systemd/private"):
        return f"the user's service manager has no D-Bus: {why}; install dbus-user-session and log in again"
    return f"no user's service manager: {why}; log in as that user"
