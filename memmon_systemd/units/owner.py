"""Processes whose name starts with a prefix, each looked up to the unit that it makes a target."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from memmon_systemd.monitor.source import Context
from memmon_systemd.processes.named import NamedProcesses
from memmon_systemd.processes.table import Process, ProcessTable
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.units.ownership import WHY_NEVER, WHY_NOT, Home, Ownership
from memmon_systemd.units.watch import UnitWatch

_LONGEST_PAUSE_S: Final = 300.0
_OWNED_PAUSE_S: Final = 60.0
_SAID_AT: Final = 3
"""A service may get its main process after its processes: how often it is asked before that is said."""
_MOST_SAID: Final = 64
"""So many units are known to have been said; there can be others for ever."""


class _Owner:
    """A unit, and its processes of the name."""

    __slots__ = ("asked", "due_s", "failed", "home", "is_owner", "processes")

    def __init__(self, home: Home) -> None:
        self.home = home
        self.processes: dict[int, Process] = {}
        self.is_owner = False
        self.due_s = 0.0
        """When to ask again whether it is one."""
        self.asked = 0
        """How often the answer was no since its processes changed."""
        self.failed = 0
        """How often there was no answer since the last one."""


class OwnerSource(NamedProcesses):
    """Processes of a name put the units that they belong to into a watch of units, while they do."""

    def __init__(
        self,
        name: str,
        interval_s: float,
        table: ProcessTable,
        ownership: Ownership,
        units: UnitWatch,
        context: Context,
    ) -> None:
        """A source for names that start with `name`."""
        super().__init__(name, interval_s, table, context)
        self._ownership = ownership
        self._units = units
        self._owners: dict[str, _Owner] = {}
        self._said_units: list[str] = []
        self._said_never = self._said_no_unit = self._said_unknown = False

    def has_targets(self) -> bool:
        """Whether there is such a process now in a unit that it makes a target."""
        return any(owner.is_owner for owner in self._owners.values())

    def _why_waiting(self) -> str:
        if self._owners:
            return "there are processes of that name, but none that makes its unit a target"
        return super()._why_waiting()

    def _begin_all(self, processes: list[Process], now_s: float) -> None:
        for process in processes:
            home = self._ownership.home_of(process.pid)
            if home is None or home.is_never_meant:
                self._say_not_meant(process, home)
                # Not held: there can be any number. What ends isn't noticed, so its PID is new each time.
                self._forget((process,))
                continue
            owner = self._owners.setdefault(home.unit, _Owner(home))
            owner.processes[process.pid] = process
            owner.due_s, owner.asked = now_s, 0

    def _settle(self, now_s: float) -> None:
        """Forget processes that ended, went elsewhere or took another name, and ask systemd of the rest."""
        for owner in list(self._owners.values()):
            is_due = owner.due_s <= now_s and not self._context.poller.is_interrupted
            self._drop_strangers(owner, is_thorough=is_due or owner.is_owner)
            if not owner.processes:
                self._let_go(owner, now_s)
                del self._owners[owner.home.unit]
            elif owner.due_s <= now_s and not self._context.poller.is_interrupted:
                self._decide(owner, now_s)

    def _drop_strangers(self, owner: _Owner, *, is_thorough: bool) -> None:
        """Forget the processes that have ended; those that went elsewhere or were renamed if thorough.

        That opens files, and in a unit that isn't meant anybody may have thousands of processes.
        """
        is_of = self._is_of if is_thorough else self._lives
        gone = [process for process in owner.processes.values() if not is_of(process, owner)]
        for process in gone:
            del owner.processes[process.pid]
            owner.due_s = 0.0
        self._forget(gone)

    def _lives(self, process: Process, _: _Owner) -> bool:
        try:
            process.rss_bytes()
        except ProcessLookupError:
            return False
        except OSError:
            return True  # It can't be told now.
        return True

    def _is_of(self, process: Process, owner: _Owner) -> bool:
        try:
            return process.is_still(self._prefix) and self._ownership.home_of(process.pid) == owner.home
        except OSError:
            return True  # It can't be told now.

    def _forget(self, processes: Iterable[Process]) -> None:
        for process in processes:
            process.close()
            self._finder.forget(process.pid)

    def _decide(self, owner: _Owner, now_s: float) -> None:
        """Ask systemd, then watch the unit or don't."""
        try:
            is_owner = self._ownership.owns(owner.home, owner.processes)
        except (BusError, OSError) as error:
            # While the bus fails it isn't called each time (`Bus`), so asking soon costs nothing.
            pause_s = self._interval_s * 2 ** min(owner.failed, 10)
            owner.due_s = now_s + min(pause_s, _OWNED_PAUSE_S)
            owner.failed += 1
            self._say_unknown(owner, str(error))
            return
        self._said_unknown = False
        owner.failed = 0
        if is_owner:
            owner.is_owner, owner.asked = True, 0
            owner.due_s = now_s + _OWNED_PAUSE_S
            self._units.add_owner(owner.home.unit, self._name)
            return
        self._let_go(owner, now_s)
        owner.due_s = now_s + min(self._interval_s * 2 ** min(owner.asked, 10), _LONGEST_PAUSE_S)
        owner.asked += 1
        if owner.asked == _SAID_AT:
            self._say_not_owner(owner)

    def _let_go(self, owner: _Owner, now_s: float) -> None:
        if owner.is_owner:
            owner.is_owner = False
            self._units.remove_owner(owner.home.unit, self._name, now_s)

    def _say_not_meant(self, process: Process, home: Home | None) -> None:
        """Of all login sessions and of all processes without a unit the first is worth a line."""
        warn = self._context.report.warn
        if home is None and not self._said_no_unit:
            self._said_no_unit = True
            warn.no_unit(_name(process))
        elif home is not None and not self._said_never:
            self._said_never = True
            warn.owner_skipped(home.unit, _name(process), WHY_NEVER)

    def _say_not_owner(self, owner: _Owner) -> None:
        unit = owner.home.unit
        if unit not in self._said_units:
            self._said_units.append(unit)
            del self._said_units[:-_MOST_SAID]
            self._context.report.warn.owner_skipped(
                unit, _name(next(iter(owner.processes.values()))), WHY_NOT
            )

    def _say_unknown(self, owner: _Owner, why: str) -> None:
        if not self._said_unknown and not owner.is_owner:
            self._said_unknown = True
            process = next(iter(owner.processes.values()))
            self._context.report.warn.owner_unknown(owner.home.unit, _name(process), why)


def _name(process: Process) -> str:
    return f"{process.name}[{process.pid}]"
