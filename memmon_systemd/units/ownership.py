"""Which unit a process makes a target (`--as owner`): not every one that it runs in.

Any user can start a process of any name, and many units run what users tell them to: cron, a login session, a
container. So a unit is only meant by its main process, or by processes that run as its own user.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from memmon_systemd.linux import cgroup, proc
from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.systemd.manager import Manager

_NEVER: Final = re.compile(r"session-.+\.scope|user@.+\.service|init\.scope")
WHY_NEVER: Final = "a login session or a user manager is only monitored if you name it"
WHY_NOT: Final = "its main process has another name, and not all processes of that name are of its user"


@dataclass(frozen=True, slots=True)
class Home:
    """The unit that a process runs in."""

    unit: str
    control_group: str
    """Of the unit; that of the process may be below it."""

    @property
    def is_never_meant(self) -> bool:
        """Whether it is a login session or a user manager, in which users start what they like."""
        return bool(_NEVER.fullmatch(self.unit))


@dataclass(frozen=True, slots=True)
class Ownership:
    """What the units of one manager own."""

    manager: Manager
    hierarchy: Hierarchy
    top_group: str
    """The control group that its units are in."""

    def home_of(self, pid: int) -> Home | None:
        """The unit that a process runs in; None where that is no unit of this manager.

        What another manager has made of it is not: a service in a container, or of a user.
        """
        group = cgroup.control_group_of(pid) or ""
        units = cgroup.units_of(group, self.top_group)
        if not units or units[-1].endswith(".slice"):
            return None
        parts = [part for part in group.split("/") if part]
        depth = sum(1 for part in self.top_group.split("/") if part) + len(units)
        home = Home(units[-1], "/" + "/".join(parts[:depth]))
        if any(cgroup.unit_of(part) for part in parts[depth:]) and not home.is_never_meant:
            return None
        return home

    def owns(self, home: Home, pids: Collection[int]) -> bool:
        """Whether a unit with these processes, which have the name, is meant; BusError, OSError.

        A service by its main process, or if all of them are of its user; a scope, which has neither, by its
        first process. No other type of unit has one of its own.
        """
        if home.unit.endswith(".service"):
            unit = self.manager.unit(home.unit)
            if self.manager.main_pid(unit) in pids:
                return True
            user = self.manager.service_user(unit)
            return all(set(proc.user_ids(pid)) == {user} for pid in pids)
        if home.unit.endswith(".scope"):
            directory = self.hierarchy.directory(home.control_group)
            return proc.first_of(cgroup.processes_below(directory)) in pids
        return False
