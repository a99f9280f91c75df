"""From names to sources: opens what they stand for, and wires it up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final

from memmon_systemd.imports import forget
from memmon_systemd.machine import Machine
from memmon_systemd.monitor.schedule import search_interval_s
from memmon_systemd.monitor.source import Context, Source
from memmon_systemd.names import Meaning, Names, is_unit_name
from memmon_systemd.settings import NameKind, Settings, TargetSettings

if TYPE_CHECKING:
    from memmon_systemd.own_settings import OwnSettings
    from memmon_systemd.systemd.manager import Manager
    from memmon_systemd.units.configured import Configured
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


class Sources:
    """Makes the sources for the names of the settings."""

    def __init__(self, settings: Settings, machine: Machine, context: Context) -> None:
        self._settings = settings
        self._machine = machine
        self._context = context
        self._environ = machine.environ
        self._place: int | None = None
        """What holds the place of the only monitor of configured units."""
        self._own_settings: OwnSettings | None = None
        self.are_found_by_process = False
        """Whether processes of a name decide what is a target: many can come at once."""
        self.slice_watch: SliceWatch | None = None
        """What reads inotify events already, where units are monitored."""
        self.most_targets = _MOST_TARGETS
        """For so many there are to be records."""

    def open(self) -> list[Source]:
        """What the names stand for; UsageError, StartError."""
        settings, machine = self._settings, self._machine
        if settings.configured:
            return [self.units]
        meanings = list(Names(settings, machine.manager_if_any, self._context.report).meanings())
        self.are_found_by_process = any(meaning.kind is not NameKind.UNIT for meaning in meanings)
        if not self.are_found_by_process and not any(meaning.is_glob for meaning in meanings):
            self.most_targets = len(meanings)
        for meaning in meanings:
            if meaning.kind is NameKind.UNIT:
                self._add_unit(meaning)
        owners = [self._owner(meaning) for meaning in meanings if meaning.kind is NameKind.OWNER]
        prefixes = {
            meaning.name: self._near_unit(meaning) for meaning in meanings if meaning.kind is NameKind.PROCESS
        }
        others = [*owners, *self._prefixes(prefixes)]
        self._own_settings = self._own(is_all_units=not others)
        # Units last: what the owners find in a refresh is looked for in the same one.
        found = (self._own_settings, *others, self.units if self._has_units else None)
        return [source for source in found if source is not None]

    @property
    def _has_units(self) -> bool:
        return "units" in vars(self)

    @cached_property
    def units(self) -> UnitWatch:
        """The units of the service manager; UsageError or StartError where there is none."""
        # Imported here: a monitor of processes needs neither D-Bus (5 MB) nor inotify.
        from memmon_systemd.linux.libc import Libc
        from memmon_systemd.units.aftermath import Aftermath
        from memmon_systemd.units.hooks import Hooks
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
            Aftermath(systemd.manager, ledger, self._context.report),
            Hooks(systemd.manager, ledger, self._context.report),
            self._context,
        )
        return UnitWatch(
            unit_context,
            asked,
            self.slice_watch,
            systemd.untouchable,
            until_stopped=self._settings.until_stopped,
            configured=self._configured(systemd.manager, asked) if self._settings.configured else None,
        )

    def _configured(self, manager: Manager, defaults: TargetSettings) -> Configured:
        """The units that say so in their files; StartError where another monitor has them."""
        # Imported here: a monitor of names reads no unit files.
        from memmon_systemd.linux.libc import Libc
        from memmon_systemd.units.configured import Configured
        from memmon_systemd.units.only_one import take_place
        from memmon_systemd.units.other_monitors import OtherMonitors
        from memmon_systemd.units.reload_watch import ReloadWatch, runtime_directory

        user = self._settings.user
        directory = runtime_directory(self._environ, user=user)
        self._place = take_place(f"{directory}/memory-monitor")
        report = self._context.report
        watch = ReloadWatch(Libc(), f"{directory}/systemd")
        others, still_starting = OtherMonitors(report), self._context.still_starting
        return Configured(manager, defaults, report.warn, watch, others, still_starting, user=user)

    def _own(self, *, is_all_units: bool) -> OwnSettings | None:
        """What reads the settings of this process again, where it has a file of them: memory-monitor@."""
        if not self._environ.get("MEMORY_MONITOR_SETTINGS") or self._settings.once or not self._has_units:
            return None
        # Imported here: who isn't reloaded needs no parsers.
        from memmon_systemd.own_settings import OwnSettings, own_service

        systemd = self._machine.connect()
        service = own_service(systemd.top_group)
        if service is None:
            return None
        targets = self.units if is_all_units else None
        return OwnSettings(self._settings, systemd.manager, service, targets, self._context.report)

    @property
    def can_reload(self) -> bool:
        """Whether there is something to read again at SIGHUP."""
        return self._settings.configured or self._own_settings is not None

    def reload(self) -> None:
        """Read the files of the units, or the own settings, again, at the next turn of the loop."""
        if self._own_settings is not None:
            self._own_settings.reload()
        elif self._has_units:
            self.units.reload()

    def warn_of_what_stays_down(self) -> None:
        """Say of the units that are known now if systemd would leave them down after the signal."""
        if self._has_units:
            from memmon_systemd.units.restart_warning import warn_of_what_stays_down

            manager = self._machine.connect().manager
            warn_of_what_stays_down(
                self.units.asked_by_signal(), manager, self._context.report, self._context.still_starting
            )
            del warn_of_what_stays_down
            forget(("memmon_systemd.units.restart_warning", "memmon_systemd.systemd.restart_rules"))

    def warn_of_hooks(self) -> None:
        """Say of the hooks of the units that are known now if they are of no use."""
        if not self._has_units:
            return
        targets = {
            name: settings for name, settings in self.units.settings_of_all().items() if settings.has_hooks
        }
        if targets:
            from memmon_systemd.units.hook_problems import warn_of_hooks

            warn_of_hooks(targets, self._machine.connect().manager, self._context.report)
            del warn_of_hooks
            forget(("memmon_systemd.units.hook_problems",))

    def warn_of_missing_rights(self, environ: Mapping[str, str]) -> None:
        """Say of the units that are known now if systemd wouldn't let this user ask them."""
        settings = self._settings
        if not self._has_units or settings.user or settings.target.dry_run or os.geteuid() == 0:
            return
        from memmon_systemd.systemd.bus import PATIENT_DEADLINE_S
        from memmon_systemd.systemd.errors import BusError
        from memmon_systemd.systemd.manager import Manager
        from memmon_systemd.units.rights_warning import warn_of_missing_rights

        try:
            manager = Manager(settings.user, environ, PATIENT_DEADLINE_S)
        except BusError:
            return  # Said already of the connection that there is.
        warn_of_missing_rights(self.units.names(), manager, settings.target, self._context.report)
        manager.close()
        del warn_of_missing_rights
        forget(("memmon_systemd.units.rights_warning", "memmon_systemd.systemd.rights"))

    def rehearse(self) -> None:
        """Go the way to the service manager, where one is used; what fails there is said."""
        if not self._has_units:
            return
        from memmon_systemd.systemd.errors import BusError

        self.units.rehearse()
        if self._own_settings is not None:
            self._own_settings.rehearse()
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
        interval_s = search_interval_s(self._settings.target)
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
