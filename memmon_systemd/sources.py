"""From names to sources: connects what is there, and wires it up."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from memmon_systemd.errors import StartError, UsageError
from memmon_systemd.imports import forget
from memmon_systemd.linux import cgroup
from memmon_systemd.monitor.source import Context, Source
from memmon_systemd.names import Meaning, Names, is_unit_name, load
from memmon_systemd.processes.table import process_table
from memmon_systemd.settings import Action, NameKind, Settings

if TYPE_CHECKING:
    from memmon_systemd.systemd.manager import Manager
    from memmon_systemd.units.slice_watch import SliceWatch
    from memmon_systemd.units.watch import UnitWatch

_WHY_WAITING: Final = {
    "loaded": "it isn't running",
    "masked": "it is masked",
    "not-found": "there is no such unit yet",
}
"""By LoadState."""

_MOST_TARGETS: Final = 320
"""Where it isn't known how many will come."""


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

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        """Connects to the service manager where one is needed in any case; UsageError, StartError."""
        self._settings = settings
        self._environ = environ
        self.hierarchy = cgroup.find_hierarchy()
        self.table = process_table()
        self.systemd: Systemd | None = None
        if settings.user or settings.name_kind in (NameKind.UNIT, NameKind.OWNER):
            self.connect()

    def connect(self) -> Systemd:
        """The service manager; UsageError or StartError where there is none."""
        self.systemd = self.systemd or _connect(self._settings, self._environ, self.hierarchy)
        return self.systemd

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


class Sources:
    """Makes the sources for the names of the settings."""

    def __init__(self, settings: Settings, machine: Machine, context: Context) -> None:
        self._settings = settings
        self._machine = machine
        self._context = context
        self.follows_processes = False
        """Whether processes are found by their names: many can come at once."""
        self.slice_watch: SliceWatch | None = None
        """What reads inotify events already, where units are monitored."""
        self.most_targets = _MOST_TARGETS
        """For so many there are to be records."""

    def open(self) -> list[Source]:
        """What the names stand for; UsageError, StartError."""
        settings, machine = self._settings, self._machine
        meanings = list(Names(settings, machine.manager_if_any, self._context.report).meanings())
        self.follows_processes = any(meaning.kind is not NameKind.UNIT for meaning in meanings)
        if not self.follows_processes and not any(meaning.is_glob for meaning in meanings):
            self.most_targets = len(meanings)
        for meaning in meanings:
            if meaning.kind is NameKind.UNIT:
                self._add_unit(meaning)
        owners = [self._owner(meaning) for meaning in meanings if meaning.kind is NameKind.OWNER]
        prefixes = {
            meaning.name: self._near_unit(meaning) for meaning in meanings if meaning.kind is NameKind.PROCESS
        }
        # Units last: what the owners find in a refresh is looked for in the same one.
        return [*owners, *self._prefixes(prefixes), *([self.units] if self._has_units else [])]

    @property
    def _has_units(self) -> bool:
        return "units" in vars(self)

    @cached_property
    def units(self) -> UnitWatch:
        """The units of the service manager; UsageError or StartError where there is none."""
        # Imported here: a monitor of processes needs neither D-Bus (5 MB) nor inotify.
        from memmon_systemd.linux.libc import Libc
        from memmon_systemd.units.aftermath import Aftermath
        from memmon_systemd.units.ledger import Ledger
        from memmon_systemd.units.measured import UnitContext
        from memmon_systemd.units.roll import Rolls
        from memmon_systemd.units.signaller import Signaller
        from memmon_systemd.units.slice_watch import SliceWatch
        from memmon_systemd.units.watch import UnitWatch

        systemd, asked = self._machine.connect(), self._settings.target
        ledger = Ledger()
        root = systemd.hierarchy.root
        self.slice_watch = SliceWatch(Libc(), systemd.hierarchy.directory(systemd.top_group), root)
        unit_context = UnitContext(
            systemd.manager,
            systemd.hierarchy,
            Signaller(systemd.manager, self._machine.table),
            ledger,
            Rolls(systemd.manager, self._context.targets, ledger, asked.interval_s),
            Aftermath(systemd.manager, ledger, self._context.report, asked.action),
            self._context,
        )
        return UnitWatch(
            unit_context,
            asked,
            self.slice_watch,
            systemd.untouchable,
            until_stopped=self._settings.until_stopped,
        )

    def warn_of_what_stays_down(self) -> None:
        """Say of the units that are known now if systemd would leave them down after the signal."""
        asked = self._settings.target
        if self._has_units and asked.action is Action.SIGNAL:
            from memmon_systemd.units.restart_warning import warn_of_what_stays_down

            names = self.units.names()
            manager = self._machine.connect().manager
            warn_of_what_stays_down(names, manager, asked.signal_number, self._context.report)
            del warn_of_what_stays_down
            forget(("memmon_systemd.units.restart_warning", "memmon_systemd.systemd.restart_rules"))

    def rehearse(self) -> None:
        """Go the way to the service manager, where one is used; what fails there is said."""
        if not self._has_units:
            return
        from memmon_systemd.systemd.errors import BusError

        self.units.rehearse()
        try:
            self._machine.connect().manager.rehearse()
        except BusError as error:
            self._context.report.warn.systemd_unavailable(str(error))

    def _add_unit(self, meaning: Meaning) -> None:
        if meaning.is_glob and is_unit_name(meaning.name):
            self.units.add_glob(meaning.name)
            return
        own_name, load_state = self._machine.unit(meaning.name)
        why_waiting = _WHY_WAITING.get(load_state, f"it can't be loaded ({load_state})")
        if load_state == "not-found":
            why_waiting += self._suggestion(own_name)
        self.units.add_name(own_name, why_waiting)

    def _owner(self, meaning: Meaning) -> Source:
        from memmon_systemd.units.owner import OwnerSource
        from memmon_systemd.units.ownership import Ownership

        systemd, table = self._machine.connect(), self._machine.table
        ownership = Ownership(systemd.manager, systemd.hierarchy, systemd.top_group)
        interval_s = self._settings.target.interval_s
        return OwnerSource(meaning.name, interval_s, table, ownership, self.units, self._context)

    def _near_unit(self, meaning: Meaning) -> str:
        """What to say of the unit that a process-name prefix may have been meant to be."""
        suggestion = self._suggestion(meaning.absent_unit) if meaning.absent_unit else ""
        return suggestion and f"; no unit {meaning.absent_unit}{suggestion}"

    def _suggestion(self, unit: str) -> str:
        """The unit that may have been meant by the name of one that there isn't; "" where none is alike."""
        manager = self._machine.manager_if_any()
        if manager is None:
            return ""
        from memmon_systemd.nearest import known_units, nearest
        from memmon_systemd.systemd.errors import BusError

        try:
            found = nearest(unit, known_units(manager), ())
        except BusError:
            found = ()  # It is the name that matters, and that was already asked for.
        del known_units, nearest
        forget(("memmon_systemd.nearest", "difflib"))
        return f"; did you mean {found[0]}?" if found else ""

    def _prefixes(self, names: Mapping[str, str]) -> list[Source]:
        from memmon_systemd.processes.source import PrefixSource

        settings, machine, context = self._settings.target, self._machine, self._context
        return [
            PrefixSource(name, settings, machine.table, machine.hierarchy, context, near_unit)
            for name, near_unit in names.items()
            # A process that two names match would be signalled twice.
            if not name.startswith(tuple(other for other in names if other != name))
        ]


def _connect(settings: Settings, environ: Mapping[str, str], hierarchy: cgroup.Hierarchy | None) -> Systemd:
    if sys.platform != "linux":
        raise UsageError(f"units need systemd, which {sys.platform} doesn't have: use --as process")
    # Imported here: a monitor of processes needs no D-Bus.
    from memmon_systemd.systemd.bus import ABSENT, CALL_DEADLINE_S, PATIENT_DEADLINE_S
    from memmon_systemd.systemd.errors import BusError
    from memmon_systemd.systemd.manager import Manager
    from memmon_systemd.units.untouchable import untouchable_units

    try:
        deadline_s = PATIENT_DEADLINE_S if settings.check else CALL_DEADLINE_S
        manager = Manager(settings.user, environ, deadline_s)
        top_group = manager.control_group()
    except BusError as error:
        if settings.user and error.errno in ABSENT:
            raise UsageError(f"--user: no user's service manager: {error}; log in as that user") from None
        raise StartError(f"systemd can't be asked: {error}; --as process works without it") from None
    if hierarchy is None:
        hidden = "none is mounted below /sys/fs/cgroup, or something is mounted over it"
        raise StartError(f"no cgroup hierarchy is there: {hidden}; --as process works without")
    untouchable = untouchable_units(process_table().ancestors(), top_group)
    return Systemd(manager, hierarchy, top_group, frozenset(untouchable))
