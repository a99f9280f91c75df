"""The units that say in their own files that they are monitored: the section [X-MemoryMonitor]."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from memmon_systemd.linux.cgroup import UNIT_SUFFIXES, Found
from memmon_systemd.monitor.target import NEVER
from memmon_systemd.monitor.warnings import Warnings
from memmon_systemd.settings import Size, TargetSettings
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.units.differences import by_key, differences
from memmon_systemd.units.other_monitors import OtherMonitors, is_monitor
from memmon_systemd.units.reload_watch import BLIND_PAUSE_S, ReloadWatch
from memmon_systemd.units.unit_file import read_section
from memmon_systemd.units.unit_settings import unit_settings

_READ_AT_ONCE: Final = 16
"""Each is two questions to systemd and some files: then targets and the watchdog have their turn."""

_MOST_GONE: Final = 256

_MOST_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Change:
    """Of the settings of a unit."""

    settings: TargetSettings | None
    """None: it isn't monitored any more."""
    said: Sequence[str]
    """What differs from before, where it was monitored then."""


class Configured:
    """What the files of the units say; read when a unit comes, and again after a daemon-reload.

    A unit whose files can't be read, or are wrong, keeps what held before.
    """

    def __init__(
        self,
        manager: Manager,
        defaults: TargetSettings,
        warn: Warnings,
        watch: ReloadWatch,
        others: OtherMonitors,
        still_starting: Callable[[], None],
        *,
        user: bool = False,
    ) -> None:
        """Settings that a section leaves out are those of `defaults`, but for its threshold."""
        self._still_starting = still_starting
        self._manager = manager
        self._defaults = defaults
        self._warn = warn
        self._watch = watch
        if watch.problem is not None:
            warn.reloads_unseen(watch.problem, BLIND_PAUSE_S)
        self._present: Mapping[str, int] = {}
        """The units that have a cgroup, and the inode of that: a restart is another one."""
        self._known: dict[str, TargetSettings | None] = {}
        self._values: dict[TargetSettings, TargetSettings] = {}
        """Equal settings are one value."""
        self._problems: dict[str, tuple[str, ...]] = {}
        """What was said of a unit's files, while it holds."""
        self._unread: dict[str, None] = {}
        """The units to be read, in this order."""
        self._is_unanswered = False
        self._is_count_news = True
        self._has_noted = False
        self._edit = f"systemctl {'--user ' if user else ''}edit UNIT"
        self.others = others
        """Units that have a monitor of their own."""
        self.is_outdated = False
        """Whether all of them are to be read again, for somebody says so."""
        self.due_s = NEVER
        """When to read the next ones."""

    @property
    def descriptor(self) -> int:
        """What has something to read when systemd reads all files again."""
        return self._watch.descriptor

    def may_be(self, name: str) -> bool:
        """Whether a unit can be monitored so."""
        return name.endswith(UNIT_SUFFIXES)

    def settings_of(self, name: str) -> TargetSettings | None:
        """How a unit is monitored; None: it isn't, or that isn't known yet."""
        return self._known.get(name)

    def note(self, seen: Mapping[str, Found], now_s: float) -> None:
        """These units have a cgroup: those whose cgroup is new are read."""
        self._has_noted = True
        for name in self._present.keys() - seen.keys():
            self._unread.pop(name, None)
            if self._known.get(name) is None and name not in self._problems:
                self._known.pop(name, None)
        for name, found in seen.items():
            if self._present.get(name) != found.inode and not is_monitor(name):
                self._unread[name] = None
        self._present = {name: found.inode for name, found in seen.items()}
        self._forget_old()
        if self._unread:
            self.due_s = now_s

    def _forget_old(self) -> None:
        """The last ones that are gone are remembered: they may come back, with a file that is wrong."""
        gone = [name for name in self._known if name not in self._present]
        for name in gone[: max(len(gone) - _MOST_GONE, 0)]:
            del self._known[name]
            self._problems.pop(name, None)

    def chosen(self, seen: Mapping[str, Found]) -> Mapping[str, Found]:
        """Those of the units that are configured, and have no monitor of their own."""
        wanted = {name: found for name, found in seen.items() if self._known.get(name) is not None}
        self.others.note(seen.keys(), wanted.keys())
        return {name: found for name, found in wanted.items() if not self.others.have(name)}

    def rehearse(self) -> None:
        """Read a section with everything in it that can be wrong, and ask for the files of a unit."""
        text = "[X-MemoryMonitor]\nThreshold=1 apple\nTreshold=1G\nnonsense\n"
        descriptor = os.memfd_create("rehearsal", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
            section = read_section([f"/proc/self/fd/{descriptor}"])
        finally:
            os.close(descriptor)
        unit_settings(section, "rehearsal.service", self._defaults)
        other = replace(self._defaults, threshold=Size(1), interval_s=1.0, signal_number=9, swap=True)
        differences(self._defaults, other, by_key())
        with suppress(BusError):  # That it doesn't answer is said by who needs the answer.
            self._manager.unit_files(self._manager.unit("-.slice"))

    def changes(self, now_s: float, interval_s: float, *, all_at_once: bool) -> Mapping[str, Change]:
        """Read some of the units that are due, or all; those whose settings are others than before."""
        if self._watch.has_reloaded(now_s) or self.is_outdated:
            self.is_outdated = False
            self._is_count_news = True
            self._unread.update(dict.fromkeys(self._known))
        changed: dict[str, Change] = {}
        self.due_s = self._watch.due_s
        due = list(self._unread)
        for name in due if all_at_once else due[:_READ_AT_ONCE]:
            if all_at_once:
                self._still_starting()
            before = self._known.get(name)
            try:
                self._known[name] = self._read(name, before)
            except BusError as error:
                if not error.is_answer:
                    self._say_unanswered(error)
                    self.due_s = now_s + interval_s
                    return changed
                self._known[name] = None  # It is gone by now.
            del self._unread[name]
            self._is_unanswered = False
            if (now := self._known[name]) is not before:
                said = [] if before is None or now is None else differences(before, now, by_key())
                changed[name] = Change(now, said)
        if self._unread:
            self.due_s = now_s
        elif changed:
            self._values = {value: value for value in self._known.values() if value is not None}
        return changed

    def new_count(self) -> int | None:
        """How many units are configured: once after the start and each reload, when all are read."""
        if self._unread or not self._has_noted or not self._is_count_news:
            return None
        self._is_count_news = False
        return sum(settings is not None for settings in self._known.values())

    @property
    def why_none(self) -> str:
        """Where that is none: why, and what to do."""
        if self._problems:
            names = ", ".join(sorted(self._problems)[:_MOST_NAMED])
            return f"no running unit can be monitored as configured: see the errors of {names} in the log"
        section = "[X-MemoryMonitor] and Threshold=, such as 90%"
        return f"no running unit is configured; for each one to monitor: {self._edit}, add {section}"

    def _read(self, name: str, before: TargetSettings | None) -> TargetSettings | None:
        unit = self._manager.unit(name)
        section = read_section(self._manager.unit_files(unit))
        if not section.is_complete:
            # A transient unit's files go with it: of one that is gone systemd knows none.
            section = read_section(self._manager.unit_files(unit))
        wanted = unit_settings(section, name, self._defaults)
        self._say(name, wanted.problems, is_kept=not wanted.is_valid and before is not None)
        if not wanted.is_valid:
            return before
        settings = wanted.settings
        return None if settings is None else self._values.setdefault(settings, settings)

    def _say(self, name: str, problems: tuple[str, ...], *, is_kept: bool) -> None:
        if problems and problems != self._problems.get(name):
            for problem in problems:
                self._warn.unit_settings(name, problem, is_kept=is_kept)
        if problems:
            self._problems[name] = problems
        else:
            self._problems.pop(name, None)

    def _say_unanswered(self, error: BusError) -> None:
        if not self._is_unanswered:
            self._warn.unit_files_unknown(str(error))
        self._is_unanswered = True
