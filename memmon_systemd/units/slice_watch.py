"""Which units have a cgroup, told by inotify: without polling.

inotify works on cgroupfs (kernels 6.1 and 6.12): the directory of a slice tells the name of each unit's
cgroup as it comes and goes. Where inotify or one of its watches can't be had
(`fs.inotify.max_user_instances`, `fs.inotify.max_user_watches`), the slices are listed at every interval
until it can.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from memmon_systemd.linux import cgroup, inotify
from memmon_systemd.linux.libc import IN_CREATE, IN_DELETE, IN_MODIFY, IN_ONLYDIR, IN_Q_OVERFLOW, Libc
from memmon_systemd.monitor.poller import NO_DESCRIPTOR


@dataclass(frozen=True, slots=True)
class News:
    """What happened since the last question."""

    units: bool
    """A wanted unit, or any slice, came or went."""
    limits: bool
    """A memory.max that matters was written to."""


class SliceWatch:
    """Watches every slice below the control group of a manager, and the limits of units.

    A removed cgroup doesn't take its watch with it (kernels 6.1, 6.12 and 6.18; other file systems send
    IN_IGNORED), and all processes of a user share `fs.inotify.max_user_watches`, those of root with PID 1:
    whatever is no longer in use is taken away.
    """

    __slots__ = (
        "_is_said",
        "_libc",
        "_limits",
        "_root",
        "_slices",
        "_top",
        "descriptor",
        "has_all",
        "on_other",
        "problem",
    )

    def __init__(self, libc: Libc, top: str, root: str) -> None:
        """A watch on `top` and its slices, and on limits up to `root`; `problem` says what can't be had."""
        self._libc = libc
        self._top = top
        self._root = root
        self._slices: set[int] = set()
        self._limits: set[int] = set()
        self._is_said = False
        self.has_all = True
        """Whether inotify tells all that is asked for; else it is to be looked for, once in an interval."""
        self.on_other: Callable[[], None] | None = None
        """Told of an event of no unit: somebody else watches a directory by the same descriptor."""
        self.problem: str | None = None
        self.descriptor = NO_DESCRIPTOR
        self._open()

    def scan(self, is_wanted: Callable[[str], bool]) -> dict[str, cgroup.Found]:
        """The wanted units that have a cgroup now; what changes after this call is told by inotify.

        OSError where a slice can't be listed: what is known is as good as it was.
        """
        self._is_said = not self.has_all
        self.has_all = True
        self._open()
        watches: set[int] = set()

        def enter(directory: str) -> None:
            self._add(watches, directory, IN_CREATE | IN_DELETE | IN_ONLYDIR)

        try:
            units = {unit: found for unit, found in cgroup.units_below(self._top, enter) if is_wanted(unit)}
        except OSError:
            self._slices |= watches
            raise
        self._slices = self._keep(watches, self._slices)
        return units

    def watch_limits(self, directories: Iterable[str]) -> None:
        """Tell when memory.max of one of these cgroups, or of one above them, is written to; of no other."""
        groups: set[str] = set()
        for directory in directories:
            while directory not in groups and len(directory) >= len(self._root):
                groups.add(directory)
                directory = os.path.dirname(directory)
        watches: set[int] = set()
        for group in groups:
            self._add(watches, f"{group}/memory.max", IN_MODIFY)
        self._limits = self._keep(watches, self._limits)

    def news(self, is_wanted: Callable[[str], bool]) -> News:
        """What happened since the last call; where inotify doesn't tell all, anything may have."""
        units = limits = not self.has_all
        if self.descriptor != NO_DESCRIPTOR:
            for mask, name in inotify.events(self.descriptor):
                unit = cgroup.unit_of(name)
                if unit is None and name and self.on_other is not None:
                    self.on_other()
                matters = unit is not None and (unit.endswith(".slice") or is_wanted(unit))
                units = units or matters or bool(mask & IN_Q_OVERFLOW)
                limits = limits or bool(mask & (IN_MODIFY | IN_Q_OVERFLOW))
        return News(units, limits)

    def rehearse(self) -> None:
        """Read an event as inotify writes it."""
        for _, name in inotify.parsed(inotify.event(IN_CREATE, b"rehearsal.scope")):
            cgroup.unit_of(name)

    def _open(self) -> None:
        if self.descriptor != NO_DESCRIPTOR:
            return
        try:
            self.descriptor = self._libc.inotify()
        except OSError as error:
            self._lacks(f"inotify: {error.strerror}: raise fs.inotify.max_user_instances")

    def _add(self, watches: set[int], path: str, mask: int) -> None:
        """Put the watch of a file into `watches`."""
        if self.descriptor == NO_DESCRIPTOR:
            return
        try:
            watches.add(self._libc.watch(self.descriptor, path, mask))
        except FileNotFoundError:
            return  # The slice went away between the listing and this call, or it has no such limit.
        except OSError as error:
            hint = ": raise fs.inotify.max_user_watches" if error.errno == errno.ENOSPC else ""
            self._lacks(f"inotify on {path}: {error.strerror}{hint}")

    def _lacks(self, problem: str) -> None:
        """Something can't be watched; said once, until everything could be."""
        if not self._is_said:
            self.problem = problem
        self._is_said = True
        self.has_all = False

    def _keep(self, watches: set[int], before: set[int]) -> set[int]:
        """Take away those of `before` that are no longer in use."""
        for watch in before - watches:
            self._libc.unwatch(self.descriptor, watch)
        return watches
