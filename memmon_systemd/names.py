"""What a NAME means: the only place that decides whether it is a unit, a glob, a process or an owner."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from memmon_systemd.errors import StartError, UsageError
from memmon_systemd.linux import cgroup
from memmon_systemd.monitor.report import Report
from memmon_systemd.settings import PROCESS_METRICS, Action, Metric, NameKind, Settings

if TYPE_CHECKING:
    from memmon_systemd.systemd.manager import Manager

_GLOB: Final = re.compile(r"[*?\[]")
_UNIT_NAME: Final = re.compile(r"[A-Za-z0-9:_.\\@*?\[\]!-]+")
"""What systemd.unit(5) allows, and what a glob adds."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A NAME and what it stands for."""

    asked: str
    """As it was on the command line."""
    name: str
    """As the system has it: a unit's with its suffix."""
    kind: NameKind
    """UNIT, PROCESS or OWNER."""
    why: str
    """What decided that, for a reader."""
    absent_unit: str | None = None
    """The unit that it would have been, if there were one."""

    @property
    def is_glob(self) -> bool:
        """Whether it stands for every unit that matches."""
        return self.kind is NameKind.UNIT and bool(_GLOB.search(self.name))


class Names:
    """The names of the settings; asks the service manager only where it must."""

    def __init__(self, settings: Settings, connect: Callable[[], Manager | None], report: Report) -> None:
        """`connect` gives the service manager; None where none runs, StartError where it doesn't answer."""
        self._settings = settings
        self._connect = connect
        self._report = report

    def meanings(self) -> Iterator[Meaning]:
        """What each name stands for, and why; UsageError, StartError."""
        for name in dict.fromkeys(self._settings.names):
            meaning = meaning_of(name, self._settings.name_kind, self._is_loaded)
            check_options(self._settings, meaning)
            yield meaning

    def _is_loaded(self, unit: str) -> bool:
        """Whether the service manager, where one runs, has such a unit."""
        try:
            manager = self._connect()
        except StartError as error:
            return self._guess(unit, error)
        if manager is None:
            return False
        # Imported here: where no service manager runs, nothing of it is loaded.
        from memmon_systemd.systemd.errors import BusError
        from memmon_systemd.systemd.properties import LOADED

        try:
            return manager.load(unit)[1] == LOADED
        except BusError as error:
            return self._guess(unit, error)

    def _guess(self, unit: str, error: Exception) -> bool:
        self._report.warn.name_guessed(unit.removesuffix(".service"), unit, str(error))
        return False


def meaning_of(name: str, kind: NameKind, is_loaded: Callable[[str], bool]) -> Meaning:
    """What a name stands for where `kind` is `--as`; UsageError. `is_loaded` says whether there is a unit."""
    has_suffix = name.endswith(cgroup.UNIT_SUFFIXES)
    if kind in (NameKind.PROCESS, NameKind.OWNER):
        return Meaning(name, name, kind, f"--as {kind.value}")
    if name.endswith(cgroup.OTHER_SUFFIXES):
        raise UsageError(f"'{name}' has no processes: name a {', '.join(cgroup.UNIT_SUFFIXES)}")
    unit = name if has_suffix else f"{name}.service"
    if kind is NameKind.UNIT:
        return Meaning(name, unit, NameKind.UNIT, "--as unit")
    if _GLOB.search(name):
        return Meaning(name, unit, NameKind.UNIT, "a glob of units")
    if has_suffix:
        return Meaning(name, unit, NameKind.UNIT, f"its name ends in .{name.rpartition('.')[2]}")
    if not is_unit_name(unit):
        return Meaning(name, name, NameKind.PROCESS, f"no unit {unit} is loaded")
    if is_loaded(unit):
        return Meaning(name, unit, NameKind.UNIT, "a unit of that name is loaded")
    return Meaning(name, name, NameKind.PROCESS, f"no unit {unit} is loaded", absent_unit=unit)


def is_unit_name(name: str) -> bool:
    """Whether systemd, or a glob of its units, allows these characters."""
    return bool(_UNIT_NAME.fullmatch(name))


def load(manager: Manager, name: str) -> tuple[str, str]:
    """The own name of a unit, of which `name` may be an alias, and its LoadState; UsageError, StartError."""
    from memmon_systemd.systemd.errors import BusError

    if not is_unit_name(name):
        raise UsageError(
            f"'{name}' is not a valid unit name: use letters, digits and :-_.\\@, or --as process"
        )
    try:
        return manager.load(name)
    except BusError as error:
        if not error.is_answer:
            raise StartError(f"'{name}': systemd can't be asked: {error}") from None
        raise UsageError(f"'{name}': {error}: name a unit as systemctl does") from None


def check_options(settings: Settings, meaning: Meaning) -> None:
    """Refuse options that mean nothing for what a name stands for; UsageError."""
    asked = settings.target
    if meaning.kind is NameKind.PROCESS:
        for option, given in (
            ("--restart", asked.action is Action.RESTART),
            ("--reload", asked.action is Action.RELOAD),
            ("--then-restart", asked.then_restart_s is not None),
            ("--at-most", asked.at_most is not None),
            ("--condition-unit", asked.condition_unit is not None),
            ("--on-request", asked.on_request is not None),
            ("--kill-whom", asked.kill_whom is not None),
            ("--until-stopped", settings.until_stopped),
        ):
            if given:
                raise UsageError(
                    f"{option}: '{meaning.name}' is a process and only units have that: name a unit"
                )
        if asked.metric is not None and asked.metric not in PROCESS_METRICS:
            raise UsageError(f"--metric {asked.metric.value}: '{meaning.name}' is a process: use rss or pss")
        if sys.platform != "linux" and (asked.swap or asked.metric is Metric.PSS):
            option = "--swap" if asked.swap else "--metric pss"
            raise UsageError(f"{option}: {sys.platform} doesn't count that for a process: use --metric rss")
    elif asked.metric in PROCESS_METRICS:
        raise UsageError(
            f"--metric {asked.metric.value}: '{meaning.name}' means units:"
            " use unreclaimable, current, working-set or anon"
        )
    if meaning.kind is NameKind.OWNER and settings.until_stopped:
        raise UsageError(f"--until-stopped: the units that own '{meaning.name}' change: name a unit")
