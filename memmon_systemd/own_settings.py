"""The settings that the monitor was started with, read again while it runs: `systemctl reload`, SIGHUP.

They are what systemd would start it with now: the words of ExecStart=, with the variables of Environment= and
of the settings file. It keeps its targets and what it has counted; what it can't read or use changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from memmon_systemd.argv import arguments_of, settings_of_words
from memmon_systemd.conf_file import expand, read_conf, variables_of, wrong_setting
from memmon_systemd.errors import UsageError
from memmon_systemd.linux import cgroup
from memmon_systemd.linux.text_file import text_of
from memmon_systemd.monitor.report import Report
from memmon_systemd.monitor.source import Reader
from memmon_systemd.monitor.target import NEVER
from memmon_systemd.names import check_options, meaning_of
from memmon_systemd.settings import Settings, TargetSettings
from memmon_systemd.systemd.command import path_read
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.units.differences import by_option, differences

_REHEARSED: Final = """\
MAX_MEMORY='1 apple'
OPTIONS="--for 10s --swap -n --metric=anon --budget 5/1h --repeat infinity --kill-whom all -s USR1"
INTERVALL=5
"""
_REHEARSED_WORDS: Final = (
    "memory-monitor --until-stopped -m 1G -i 2 --hard 2G --min-age 1h $OPTIONS -- x.service"
)


def own_service(top_group: str) -> str | None:
    """The service that this process runs in; None where it runs in none."""
    units = cgroup.units_of(cgroup.control_group_of("self") or "", top_group)
    return units[-1] if units and units[-1].endswith(".service") else None


class Adopter(Protocol):
    """What can go on by other settings."""

    def adopt(self, settings: TargetSettings, now_s: float) -> None:
        """Go on by these."""


class OwnSettings(Reader):
    """The settings of this process; refreshed by the loop, so that a signal handler only has to note."""

    def __init__(
        self, settings: Settings, manager: Manager, unit: str, targets: Adopter | None, report: Report
    ) -> None:
        """`unit` is the monitor's own; `targets` has all that there are, None: they can't be changed."""
        super().__init__()
        self._settings = settings
        self._manager = manager
        self._unit = unit
        self._targets = targets
        self._report = report
        self._is_asked = False

    def reload(self) -> None:
        """Read them again, at the next turn of the loop; for a signal handler."""
        self._is_asked = True
        self.due_s = 0.0

    def refresh(self, now_s: float) -> None:
        """Read them again where that is asked for."""
        self.due_s, self.is_stale = NEVER, False
        if not self._is_asked:
            return
        self._is_asked = False
        try:
            wanted = self._wanted()
            self._adopt(wanted, now_s)
        except BusError as error:
            self._say(f"systemd can't be asked: {error}", is_kept=True)
        except UsageError as error:
            self._say(str(error), is_kept=True)
        except FileNotFoundError as error:
            self._say(f"{error.filename}: {error.strerror}", is_kept=True)

    def rehearse(self) -> None:
        """Read what would be read, and a file and options in which everything stands that can."""
        conf = read_conf(_rehearsed_file())
        for problem in conf.problems:
            problem.in_file(self._unit)
        for values in (conf.values, {}):
            try:
                words = expand(_REHEARSED_WORDS.split(), values)
                other = settings_of_words(arguments_of(words) or ())
                differences(self._settings.target, other.target, by_option())
                settings_of_words(["-m", values.get("MAX_MEMORY", "1M"), "--hard", "5 apples", "x.service"])
            except UsageError:
                continue
        try:
            self._wanted(is_said=False)
        except (BusError, UsageError, FileNotFoundError):
            return  # It is said when it is asked for.

    def _adopt(self, wanted: Settings, now_s: float) -> None:
        asked, known = wanted.target, self._settings.target
        if self._targets is None or replace(wanted, target=known) != self._settings:
            raise UsageError(f"only the settings of units can change while it runs: restart {self._unit}")
        if asked != known:
            self._targets.adopt(asked, now_s)
            self._settings = wanted
        changes = differences(known, asked, by_option())
        self._report.own_settings_read(self._settings.names, changes)

    def _wanted(self, *, is_said: bool = True) -> Settings:
        """The settings that it would start with now; UsageError, FileNotFoundError, BusError."""
        command = self._manager.command(self._manager.unit(self._unit))
        known = variables_of(command.words)
        values = dict(command.environment)
        places: dict[str, str] = {}
        for written, is_optional in command.files:
            path = path_read(written)
            try:
                conf = read_conf(_text(path), known)
            except FileNotFoundError:
                if not is_optional:
                    raise
                continue
            values |= conf.values
            places |= {one.name: f"{path}:{one.line}" for one in conf.assignments}
            for problem in conf.problems if is_said else ():
                self._say(problem.in_file(path), is_kept=False)
        return _parsed(_options(command.words, values, places), places)

    def _say(self, problem: str, *, is_kept: bool) -> None:
        self._report.warn.unit_settings(self._unit, problem, is_kept=is_kept)


def _rehearsed_file() -> bytes:
    """A settings file, read as one: the own one may not be there yet (1 page fault at the first reload)."""
    descriptor = os.memfd_create("rehearsal", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, _REHEARSED.encode())
        return text_of(f"/proc/self/fd/{descriptor}")
    except OSError:
        return _REHEARSED.encode()  # No reason not to start.
    finally:
        os.close(descriptor)


def _text(path: str) -> bytes:
    """What is in a file; FileNotFoundError, UsageError where it can't be read."""
    try:
        return text_of(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def _options(words: Sequence[str], values: Mapping[str, str], places: Mapping[str, str]) -> Sequence[str]:
    """The arguments of the command; UsageError."""
    try:
        options = arguments_of(expand(words, values))
    except ValueError as error:
        raise UsageError(f"{places.get('OPTIONS', 'OPTIONS=')}: {error}") from None
    if options is None:
        raise UsageError("its ExecStart= doesn't run memory-monitor")
    return options


def _parsed(options: Sequence[str], places: Mapping[str, str]) -> Settings:
    """The settings that these are, with the place of what is wrong; UsageError."""
    try:
        settings = settings_of_words(options)
        for name in settings.names:
            check_options(settings, meaning_of(name, settings.name_kind, lambda _: True))
    except UsageError as error:
        setting, said = wrong_setting(str(error))
        place = f"{places[setting]}: " if setting in places else ""
        raise UsageError(f"{place}{setting}=: {said}") from None
    return settings
