"""The processes that a NAME stands for: found, opened, and whether there is any."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import Final

from memmon_systemd.monitor.source import Context, Source
from memmon_systemd.monitor.target import EARLY
from memmon_systemd.processes.table import Process, ProcessTable

_EARLY: Final = 1.0 - EARLY
"""The fraction of an interval by which a search may be early, to go along with a look: it is one read.

A look is early by `EARLY` itself, so the two are always soon in step and cause one wake-up. A search that was
late, to the same end, would miss what grows to the threshold in one interval.
"""
_MOST_WAITING_LINES: Final = 10
"""Any user can start and end a process of that name as often as he likes."""


class NamedProcesses(Source):
    """A source of the processes of one name."""

    def __init__(
        self, name: str, interval_s: float, table: ProcessTable, context: Context, near_unit: str = ""
    ) -> None:
        """A source for names that start with `name`, searched for every `interval_s` seconds.

        OSError where the processes can't be listed.
        """
        super().__init__()
        self.early_s = interval_s * _EARLY
        self._interval_s = interval_s
        self._name = name
        self._prefix = os.fsencode(name)
        self._near_unit = near_unit
        self._table = table
        self._context = context
        self._finder = table.finder(self._prefix, interval_s)
        self._is_waiting = False
        self._waiting_lines = 0
        self._failed_searches = 0
        self._unreadable_names = 0
        self._skipped: set[int] = set()
        self._not_held: str | None = None
        """Why a process that there was at the last search couldn't be opened."""
        self._said_not_held = False

    @property
    def _is_quiet(self) -> bool:
        """Whether it was said often enough that such processes came and went."""
        return self._waiting_lines >= _MOST_WAITING_LINES

    def is_finished(self) -> bool:
        """Never: another process of that name may start at any time."""
        return False

    def refresh(self, now_s: float) -> None:
        """Find those that are new. With none it is one read of /proc/loadavg, and few Python frames."""
        self.due_s = now_s + self._interval_s
        self.is_stale = False
        try:
            found = self._finder.find(now_s)
        except (OSError, ValueError) as error:
            self._failed_searches += 1
            if self._failed_searches == 1:
                self._context.report.warn.search_failed(self._name, str(error))
            return
        if self._failed_searches:
            self._context.report.warn.search_recovered(self._name, self._failed_searches)
            self._failed_searches = 0
        if self._finder.unreadable is not None:
            self._count_unreadable(str(self._finder.unreadable))
        if found:
            opened = self._opened(found)
            self._warn_of_near_unit(opened)
            self._begin_all(opened, now_s)
        self._settle(now_s)
        if self._is_waiting is self.has_targets():
            self._say_whether_waiting()

    @abstractmethod
    def has_targets(self) -> bool:
        """Whether there is anything of that name to be measured now."""

    @abstractmethod
    def _begin_all(self, processes: list[Process], now_s: float) -> None:
        """Take up what was found."""

    def _settle(self, now_s: float) -> None:
        """Do what is to be done after each search, whatever was found."""

    def _why_waiting(self) -> str:
        if self._not_held is not None:
            return f"its processes can't be monitored ({self._not_held})"
        if not self._finder.sees_all:
            return "there is no process of that name that this user may see (hidepid= of /proc)"
        return f"there is no process of that name{self._near_unit}"

    def _warn_of_near_unit(self, processes: list[Process]) -> None:
        """The first processes show whether the prefix is what was meant."""
        if self._near_unit and processes:
            self._context.report.warn.near_unit(self._name, {it.name for it in processes}, self._near_unit)
            self._near_unit = ""

    def _opened(self, found: list[int]) -> list[Process]:
        """Each held, but for those that are none of the monitor's business."""
        untouchable = self._table.ancestors()
        self._skipped &= untouchable
        self._not_held = None
        opened: list[Process] = []
        for pid in found:
            if self._context.poller.is_interrupted:
                break
            if pid in untouchable:
                self._skip(pid)
                continue
            try:
                opened.append(self._table.open(pid))
            except ProcessLookupError:
                self._finder.forget(pid)  # It ended meanwhile; its PID may come again.
            except OSError as error:
                self._finder.forget(pid)
                self._cannot_hold(pid, error)
        return opened

    def _skip(self, pid: int) -> None:
        """Leave a process alone that the monitor runs in; forgotten, for its PID may come again."""
        self._finder.forget(pid)
        if pid not in self._skipped:
            self._skipped.add(pid)
            self._context.report.warn.process_skipped(pid)

    def _cannot_hold(self, pid: int, error: OSError) -> None:
        self._not_held = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
        if not self._said_not_held:
            self._said_not_held = True
            self._context.report.warn.process_not_held(self._name, pid, self._not_held)

    def _count_unreadable(self, why: str) -> None:
        self._unreadable_names += 1
        count = self._unreadable_names
        while count % 10 == 0:
            count //= 10
        if count == 1:
            self._context.report.warn.name_unreadable(self._name, why, self._unreadable_names)

    def _say_whether_waiting(self) -> None:
        waits = not self.has_targets()
        if waits and not self._is_waiting:
            why, is_minor = self._why_waiting(), self._is_quiet
            self._waiting_lines += 1
            if self._is_quiet and not is_minor:
                why += f" (for the {_MOST_WAITING_LINES}th time; -v logs more)"
            self._context.report.waiting(self._name, None, why, is_minor=is_minor)
        self._is_waiting = waits
