"""Which units have a cgroup, told by inotify: without polling.

inotify works on cgroupfs (kernels 6.1 and 6.12): the directory of a slice tells the name of each unit's
cgroup as it comes and goes. Where inotify can't be had (`fs.inotify.max_user_instances`), the slices are
listed at every interval.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from memmon_systemd.linux import cgroup
from memmon_systemd.linux.libc import IN_CREATE, IN_DELETE, IN_MODIFY, IN_ONLYDIR, IN_Q_OVERFLOW, Libc
from memmon_systemd.monitor.poller import NO_DESCRIPTOR

_HEADER: Final = struct.Struct("iIII")
"""struct inotify_event: watch, mask, cookie, length of the name (inotify(7))."""
_READ_BYTES: Final = 16384


@dataclass(frozen=True, slots=True)
class News:
    """What happened since the last question."""

    units: bool
    """A wanted unit, or any slice, came or went."""
    limits: bool
    """A memory.max that matters was written to."""


class SliceWatch:
    """Watches every slice below the control group of a manager."""

    __slots__ = ("_libc", "_top", "descriptor", "problem")

    def __init__(self, libc: Libc, top: Path) -> None:
        """A watch on `top` and its slices; without inotify `problem` says why."""
        self._libc = libc
        self._top = top
        self.problem: str | None = None
        self.descriptor = NO_DESCRIPTOR
        try:
            self.descriptor = libc.inotify()
        except OSError as error:
            self.problem = f"inotify: {error.strerror}: raise fs.inotify.max_user_instances"

    def scan(self, is_wanted: Callable[[str], bool]) -> dict[str, cgroup.Found]:
        """The wanted units that have a cgroup now; what changes after this call is told by inotify."""
        for directory in cgroup.slices(self._top):
            self._add(directory, IN_CREATE | IN_DELETE | IN_ONLYDIR)
        return {unit: found for unit, found in cgroup.units_below(self._top) if is_wanted(unit)}

    def watch_limits(self, directory: Path) -> None:
        """Tell when memory.max of a cgroup, or of one above it, is written to."""
        while directory != self._top.parent:
            self._add(directory / "memory.max", IN_MODIFY)
            directory = directory.parent

    def news(self, is_wanted: Callable[[str], bool]) -> News:
        """What happened since the last call; without inotify anything may have."""
        if self.descriptor == NO_DESCRIPTOR:
            return News(units=True, limits=True)
        units = limits = False
        while True:
            try:
                events = os.read(self.descriptor, _READ_BYTES)
            except BlockingIOError:
                return News(units, limits)
            for mask, name in _parsed(events):
                unit = cgroup.unit_of(name)
                matters = unit is not None and (unit.endswith(".slice") or is_wanted(unit))
                units = units or matters or bool(mask & IN_Q_OVERFLOW)
                limits = limits or bool(mask & (IN_MODIFY | IN_Q_OVERFLOW))

    def rehearse(self) -> None:
        """Read an event as inotify writes it."""
        event = _HEADER.pack(0, IN_CREATE, 0, 16) + b"rehearsal.scope\0"
        for _, name in _parsed(event):
            cgroup.unit_of(name)

    def _add(self, path: Path, mask: int) -> None:
        if self.descriptor == NO_DESCRIPTOR:
            return
        try:
            self._libc.watch(self.descriptor, path, mask)
        except FileNotFoundError:
            return  # The slice went away between the listing and this call, or it has no such limit.
        except OSError as error:
            self.problem = f"inotify on {path}: {error.strerror}: raise fs.inotify.max_user_watches"


def _parsed(events: bytes) -> Iterator[tuple[int, str]]:
    at = 0
    while at < len(events):
        _, mask, _, length = _HEADER.unpack_from(events, at)
        at += _HEADER.size
        yield mask, os.fsdecode(events[at : at + length].rstrip(b"\0"))
        at += length
