"""Which units have a cgroup, told by inotify: nobody is asked again and again.

inotify works on cgroupfs (kernels 6.1 and 6.12): the directory of a slice tells the name of each unit's
cgroup as it comes and goes. Where inotify can't be had (`fs.inotify.max_user_instances`), the slices are
listed at every interval.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from memmon_systemd import cgroup
from memmon_systemd.libc import IN_Q_OVERFLOW, Libc
from memmon_systemd.target import NO_DESCRIPTOR

_HEADER: Final = struct.Struct("iIII")
"""struct inotify_event: watch, mask, cookie, length of the name (inotify(7))."""
_READ_BYTES: Final = 16384


class SliceWatch:
    """Watches every slice below the control group of a manager."""

    __slots__ = ("_libc", "_top", "descriptor", "problem")

    def __init__(self, libc: Libc, top: Path) -> None:
        """A watch on `top` and its slices; without inotify `problem` says why."""
        self._libc = libc
        self._top = top
        self.problem = ""
        self.descriptor = NO_DESCRIPTOR
        try:
            self.descriptor = libc.inotify()
        except OSError as error:
            self.problem = f"inotify: {error.strerror}: raise fs.inotify.max_user_instances"

    def scan(self, is_wanted: Callable[[str], bool]) -> dict[str, cgroup.Found]:
        """The wanted units that have a cgroup now; what changes after this call is told by inotify."""
        for directory in cgroup.slices(self._top):
            self._watch(directory)
        return {unit: found for unit, found in cgroup.units_below(self._top) if is_wanted(unit)}

    def has_news(self, is_wanted: Callable[[str], bool]) -> bool:
        """Whether a wanted unit, or any slice, came or went since the last call."""
        if self.descriptor == NO_DESCRIPTOR:
            return True
        news = False
        while True:
            try:
                events = os.read(self.descriptor, _READ_BYTES)
            except BlockingIOError:
                return news
            for mask, name in _parsed(events):
                unit = cgroup.unit_of(name)
                matters = unit is not None and (unit.endswith(".slice") or is_wanted(unit))
                news = news or matters or bool(mask & IN_Q_OVERFLOW)

    def _watch(self, directory: Path) -> None:
        if self.descriptor == NO_DESCRIPTOR:
            return
        try:
            self._libc.watch_directory(self.descriptor, directory)
        except FileNotFoundError:
            return  # The slice went away between the listing and this call.
        except OSError as error:
            self.problem = f"inotify on {directory}: {error.strerror}: raise fs.inotify.max_user_watches"


def _parsed(events: bytes) -> Iterator[tuple[int, str]]:
    at = 0
    while at < len(events):
        _, mask, _, length = _HEADER.unpack_from(events, at)
        at += _HEADER.size
        yield mask, os.fsdecode(events[at : at + length].rstrip(b"\0"))
        at += length
