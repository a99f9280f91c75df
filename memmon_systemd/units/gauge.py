"""A unit's memory, by the files of its cgroup.

`UnitGauge.look` is the loop's inner part and calls no allocator while memory.current alone settles it:
one seek and one read into a buffer that stays (`os.pread` would make a bytes object, `os.preadv` two
arrays), then a comparison of text with text. Everything nearer to the threshold may allocate, and is served
from memory that was reserved before READY.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Final

from memmon_systemd.linux import cgroup, limits, proc
from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.linux.memory_stat import line_number, metric_bytes
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.schedule import (
    BUFFER_BYTES,
    NEARER,
    UNREADABLE,
    LookResult,
    Schedule,
    schedule_of,
)
from memmon_systemd.settings import Metric, TargetSettings

_NEWLINE, _ZERO, _NINE = b"\n09"
_NO_NUMBER: Final = "memory.current holds no number"
_STAT_BYTES: Final = 16384
"""memory.stat has 1.5 kB on kernel 6.1; a key past this would be read as 0."""

# One look is over before the next begins, so all units are read into the same memory.
_CURRENT: Final = bytearray(BUFFER_BYTES)
_STAT: Final = bytearray(b"\n" * _STAT_BYTES)
_STAT_ROOM: Final = memoryview(_STAT)[1:]
"""Behind a newline, so that the first key is found like the others."""


class UnitGauge(Gauge):
    """A unit's memory by the files of its cgroup (cgroup-v2.rst, Memory Interface Files)."""

    __slots__ = ("_current_file", "_first", "_stat_file", "_swap_file")

    def __init__(self, directory: str, metric: Metric, swap: bool, schedule: Schedule) -> None:
        """Open the files below `directory`; OSError where there is no memory.current."""
        super().__init__(metric, schedule)
        self._current_file = open_file(directory, "memory.current")
        self._stat_file: io.FileIO | None = None
        self._swap_file: io.FileIO | None = None
        try:
            if metric is not Metric.CURRENT:
                self._stat_file = open_file(directory, "memory.stat")
            if swap and os.path.exists(f"{directory}/memory.swap.current"):
                self._swap_file = open_file(directory, "memory.swap.current")
        except OSError:
            self.close()
            raise
        self.follow(schedule)

    def follow(self, schedule: Schedule) -> None:
        """Go on with another threshold; with swap counted, memory.current alone settles nothing."""
        super().follow(schedule)
        self._first = NEARER if self._swap_file else schedule.first

    def look(self) -> LookResult:
        """What this moment says, by memory.current alone where that settles it."""
        try:
            self._current_file.seek(0)
            length = self._current_file.readinto(_CURRENT)
        except OSError as error:
            return self._failed(error)
        if not length or _CURRENT[length - 1] != _NEWLINE or not _ZERO <= _CURRENT[0] <= _NINE:
            self.trouble = _NO_NUMBER
            return UNREADABLE
        step = self._first
        while length > step.length or (length == step.length and step.bound < _CURRENT):
            step = step.next
        if step is NEARER:
            return self.look_closer()
        return step

    def measure(self) -> int:
        """The metric now, in bytes."""
        self._current_file.seek(0)
        length = self._current_file.readinto(_CURRENT) or 0  # None: EAGAIN
        usage_bytes = line_number(_CURRENT[:length], "memory.current")
        if self._stat_file is not None:
            self._stat_file.seek(0)
            end = 1 + (self._stat_file.readinto(_STAT_ROOM) or 0)
            usage_bytes = metric_bytes(self.metric, usage_bytes, _STAT, end)
        if self._swap_file is not None:
            self._swap_file.seek(0)
            swap = self._swap_file.read(BUFFER_BYTES) or b""
            usage_bytes += line_number(swap, "memory.swap.current")
        return usage_bytes

    def close(self) -> None:
        """Close the files; a descriptor of a removed cgroup would only answer ENODEV."""
        for file in (self._current_file, self._stat_file, self._swap_file):
            if file is not None:
                file.close()


class SumGauge(Gauge):
    """A unit without the memory controller: RSS summed over its processes.

    Pages that they share count once for each, so it is an upper bound.
    """

    __slots__ = ("_rss_bytes",)

    def __init__(self, rss_bytes: Callable[[], int], schedule: Schedule) -> None:
        """A gauge on `rss_bytes`, which sums up the unit's processes at each call."""
        super().__init__(Metric.RSS, schedule)
        self._rss_bytes = rss_bytes

    def measure(self) -> int:
        """The sum now, in bytes."""
        return self._rss_bytes()


class _File(io.FileIO):
    """A file whose name has a slot: in a dictionary, as usual, it takes 170 bytes more."""

    __slots__ = ("name",)


def open_file(directory: str, name: str) -> io.FileIO:
    """A file of a cgroup, to read. By its path it would keep that, and half a kilobyte with it; OSError."""
    return _File(os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC))


def open_unit_gauge(directory: str, hierarchy: Hierarchy, settings: TargetSettings) -> UnitGauge:
    """A gauge on the unit's files; FileNotFoundError where it has no memory controller."""
    metric = settings.metric or Metric.UNRECLAIMABLE
    return UnitGauge(directory, metric, settings.swap, unit_schedule(directory, hierarchy, settings))


def open_sum_gauge(directory: str, hierarchy: Hierarchy, settings: TargetSettings) -> SumGauge:
    """A gauge on the unit's processes, where there is no memory controller."""

    def rss_bytes() -> int:
        os.stat(directory)  # FileNotFoundError: the unit is gone, which no empty list of PIDs says.
        return proc.total_rss_bytes(cgroup.processes_below(directory))

    return SumGauge(rss_bytes, unit_schedule(directory, hierarchy, settings))


def unit_schedule(directory: str, hierarchy: Hierarchy, settings: TargetSettings) -> Schedule:
    """The waits below the unit's threshold; a share is one of the limit that is in force now."""
    if not settings.follows_limit:
        return schedule_of(settings, 0)
    limit_bytes = limits.tightest_limit_bytes(directory, hierarchy.root)
    # Without the memory controller MemoryMax= may be set, and isn't in force.
    is_limitable = os.path.exists(f"{directory}/memory.max")
    is_of_machine = is_limitable and limit_bytes == limits.physical_bytes()
    return schedule_of(settings, limit_bytes, is_of_machine=is_of_machine)
