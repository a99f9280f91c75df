"""What a NAME means: the only place that decides whether it is a unit, a glob, a process or an owner."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from memmon_systemd.imports import forget
from memmon_systemd.linux import cgroup
from memmon_systemd.monitor.source import Loop, Source
from memmon_systemd.processes.table import process_table
from memmon_systemd.settings import Metric, NameKind, Settings, UsageError

if TYPE_CHECKING:
    from memmon_systemd.systemd.manager import Manager
    from memmon_systemd.units.watch import UnitWatch

_GLOB: Final = re.compile(r"[*?\[]")
_OTHER_SUFFIXES: Final = (".automount", ".device", ".path", ".target", ".timer")
_UNIT_NAME: Final = re.compile(r"[A-Za-z0-9:_.\\@*?\[\]!-]+")
"""What systemd.unit(5) allows, and what a glob adds."""
_WHY_WAITING: Final = {
    "loaded": "it isn't running",
    "masked": "it is masked",
    "not-found": "there is no such unit yet",
}
"""By LoadState."""
_PROCESS_METRICS: Final = (Metric.RSS, Metric.PSS)


class StartError(Exception):
    """The monitor can't begin: one line that says why and what would help."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A NAME and what it stands for."""

    name: str
    kind: NameKind
    """UNIT, PROCESS or OWNER."""
    why: str = ""
    """What decided that, for a reader."""
    asked: str = ""
    """As it was on the command line."""

    @property
    def is_glob(self) -> bool:
        """Whether it stands for every unit that matches."""
        return self.kind is NameKind.UNIT and bool(_GLOB.search(self.name))


@dataclass(frozen=True, slots=True)
class Systemd:
    """A connection to a service manager, and the watch of its units."""

    manager: Manager
    units: UnitWatch


class Resolver:
    """Turns the names of the settings into sources; asks the service manager only where it must."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], loop: Loop) -> None:
        """A resolver; StartError or UsageError where `--user` finds no user manager."""
        self._settings = settings
        self._loop = loop
        self._environ = environ
        self.hierarchy = cgroup.find_hierarchy()
        self.table = process_table()
        self.systemd: Systemd | None = None
        self.follows_processes = False
        """Whether processes are found by their names: many can come at once."""
        if settings.user or settings.name_kind in (NameKind.UNIT, NameKind.OWNER):
            self.connect()

    def sources(self) -> list[Source]:
        """What the names stand for; UsageError, StartError."""
        from memmon_systemd.processes.source import PrefixSource

        sources: list[Source] = []
        prefixes: list[str] = []
        for meaning in self.meanings():
            name = meaning.name
            self.follows_processes = self.follows_processes or meaning.kind is not NameKind.UNIT
            if meaning.kind is NameKind.PROCESS:
                prefixes.append(name)
            elif meaning.kind is NameKind.OWNER:
                from memmon_systemd.units.owner import OwnerSource  # What a unit needs, a process doesn't.

                units = self.connect().units
                sources.append(OwnerSource(name, self._settings, self.table, units, self._loop))
            else:
                self._add_unit(meaning)
        for prefix in prefixes:
            # A process that two names begin like would be signalled twice.
            if not prefix.startswith(tuple(other for other in prefixes if other != prefix)):
                sources.append(PrefixSource(prefix, self._settings, self.table, self.hierarchy, self._loop))
        # Last: what the owners find in this refresh is looked for in the same one.
        return sources + ([self.systemd.units] if self.systemd else [])

    def meanings(self) -> Iterator[Meaning]:
        """What each name stands for, and why; UsageError, StartError."""
        for name in dict.fromkeys(self._settings.names):
            meaning = replace(self._meaning(name), asked=name)
            check_options(self._settings, meaning)
            yield meaning

    def load(self, meaning: Meaning) -> tuple[str, str]:
        """The own name of a unit, and its LoadState; UsageError, StartError."""
        if not _UNIT_NAME.fullmatch(meaning.name):
            raise UsageError(
                f"'{meaning.name}' is no name of a unit: use letters, digits and :-_.\\@, or --as process"
            )
        systemd = self.connect()
        from memmon_systemd.systemd.bus import BusError
        from memmon_systemd.units.watch import UNTOUCHABLE

        try:
            own_name, load_state = systemd.manager.load(meaning.name)
        except BusError as error:
            raise UsageError(f"'{meaning.name}': {error}: name a unit as systemctl does") from None
        if systemd.units.is_untouchable(own_name):
            raise UsageError(f"'{own_name}' can't be monitored from here: {UNTOUCHABLE}")
        return own_name, load_state

    def warn_of_what_stays_down(self) -> None:
        """Say of the units that are known now if systemd would leave them down after the signal."""
        if self.systemd is not None and not self._settings.restart:
            from memmon_systemd.units.restart_warning import warn_of_what_stays_down

            names = self.systemd.units.names()
            warn_of_what_stays_down(names, self.systemd.manager, self._settings, self._loop.report)
            del warn_of_what_stays_down
            forget(("memmon_systemd.units.restart_warning", "memmon_systemd.systemd.restart_rules"))

    def rehearse(self) -> None:
        """Walk the way to the service manager, where one is used; what fails there is said."""
        if self.systemd is None:
            return
        from memmon_systemd.systemd.bus import BusError

        self.systemd.units.rehearse()
        try:
            self.systemd.manager.rehearse()
        except BusError as error:
            self._loop.report.warn(f"systemd doesn't answer: {error}")

    def _meaning(self, name: str) -> Meaning:
        kind = self._settings.name_kind
        has_suffix = name.endswith(cgroup.UNIT_SUFFIXES)
        if kind in (NameKind.PROCESS, NameKind.OWNER):
            return Meaning(name, kind, f"--as {kind.value}")
        if name.endswith(_OTHER_SUFFIXES):
            raise UsageError(f"'{name}' has no processes: name a {', '.join(cgroup.UNIT_SUFFIXES)}")
        unit = name if has_suffix else f"{name}.service"
        if kind is NameKind.UNIT:
            return Meaning(unit, NameKind.UNIT, "--as unit")
        if _GLOB.search(name):
            return Meaning(unit, NameKind.UNIT, "a glob of units")
        if has_suffix:
            return Meaning(unit, NameKind.UNIT, f"its name ends in .{name.rpartition('.')[2]}")
        if _UNIT_NAME.fullmatch(unit) and self._is_loaded(unit):
            return Meaning(unit, NameKind.UNIT, "a unit of that name is loaded")
        return Meaning(name, NameKind.PROCESS, f"no unit {unit} is loaded")

    def _is_loaded(self, unit: str) -> bool:
        """Whether the service manager, where one runs, has such a unit."""
        if not os.path.isdir("/run/systemd/system") and not self.systemd:
            return False
        from memmon_systemd.systemd.bus import BusError
        from memmon_systemd.systemd.manager import LOADED

        try:
            return self.connect().manager.load(unit)[1] == LOADED
        except (BusError, StartError) as error:
            self._loop.report.warn(
                f"'{unit.removesuffix('.service')}' is taken as the beginning of a process name, for"
                f" systemd can't be asked about {unit} ({error}); --as unit or --as process decides"
            )
            return False

    def _add_unit(self, meaning: Meaning) -> None:
        if meaning.is_glob and _UNIT_NAME.fullmatch(meaning.name):
            self.connect().units.add_glob(meaning.name)
            return
        own_name, load_state = self.load(meaning)
        why_waiting = _WHY_WAITING.get(load_state, f"it can't be loaded ({load_state})")
        self.connect().units.add_name(own_name, why_waiting)

    def connect(self) -> Systemd:
        """The service manager; UsageError or StartError where there is none."""
        self.systemd = self.systemd or connect(self._settings, self._environ, self.hierarchy, self._loop)
        return self.systemd


def connect(
    settings: Settings, environ: Mapping[str, str], hierarchy: cgroup.Hierarchy | None, loop: Loop
) -> Systemd:
    """The service manager that the settings ask for; UsageError or StartError where there is none."""
    if sys.platform != "linux":
        raise UsageError(f"units need systemd, which {sys.platform} doesn't have: use --as process")
    # Imported here: a monitor of processes needs neither D-Bus (5 MB) nor inotify.
    from memmon_systemd.linux.libc import Libc
    from memmon_systemd.systemd.bus import ABSENT, CALL_DEADLINE_S, PATIENT_DEADLINE_S, BusError
    from memmon_systemd.systemd.manager import Manager
    from memmon_systemd.units.signaller import UnitActor
    from memmon_systemd.units.slice_watch import SliceWatch
    from memmon_systemd.units.target import UnitContext
    from memmon_systemd.units.watch import UnitWatch

    try:
        deadline_s = PATIENT_DEADLINE_S if settings.check else CALL_DEADLINE_S
        manager = Manager(settings.user, environ, deadline_s)
        top_group = manager.control_group()
    except BusError as error:
        if settings.user and error.errno in ABSENT:
            raise UsageError(f"--user: no user's service manager: {error}; log in as that user") from None
        raise StartError(f"systemd can't be asked: {error}; --as process works without it") from None
    if hierarchy is None:
        raise StartError("no cgroup hierarchy is mounted below /sys/fs/cgroup: --as process works without")
    watch = SliceWatch(Libc(), hierarchy.directory(top_group))
    table = process_table()
    actor = UnitActor(manager, table, settings)
    context = UnitContext(settings, manager, hierarchy, actor, loop)
    return Systemd(manager, UnitWatch(context, watch, top_group, table.ancestors()))


def check_options(settings: Settings, meaning: Meaning) -> None:
    """Refuse options that mean nothing for what a name stands for; UsageError."""
    if meaning.kind is NameKind.PROCESS:
        for option, given in (
            ("--restart", settings.restart),
            ("--kill-whom", settings.kill_whom is not None),
            ("--until-stopped", settings.until_stopped),
        ):
            if given:
                raise UsageError(
                    f"{option}: '{meaning.name}' is a process and only units have that: name a unit"
                )
        if settings.metric is not None and settings.metric not in _PROCESS_METRICS:
            raise UsageError(
                f"--metric {settings.metric.value}: '{meaning.name}' is a process: use rss or pss"
            )
        if sys.platform != "linux" and (settings.swap or settings.metric is Metric.PSS):
            option = "--swap" if settings.swap else "--metric pss"
            raise UsageError(f"{option}: {sys.platform} doesn't count that for a process: use --metric rss")
    elif settings.metric in _PROCESS_METRICS:
        raise UsageError(
            f"--metric {settings.metric.value}: '{meaning.name}' stands for units:"
            " use unreclaimable, current, working-set or anon"
        )
    if meaning.kind is NameKind.OWNER and settings.until_stopped:
        raise UsageError(f"--until-stopped: '{meaning.name}' is an owner, found anew: name its unit")
