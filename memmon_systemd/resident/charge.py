"""A reserve of charge: what the kernel takes for the monitor must fit below the limit of its cgroup.

Messages on AF_UNIX sockets, opened files and inodes of /proc are kernel memory that is charged to the cgroup
of whoever causes it. In a cgroup at its limit that has no page cache to drop the OOM killer ends the monitor,
at the very moment when it is to ask: after 10 of 15 fresh starts on Debian 12 (kernel 6.1).

So a pipe is filled before READY: its pages are charged as kernel memory, which nothing reclaims. When the
limit is near it is closed, which gives them back at once. Anonymous memory would do as well
(MADV_DONTNEED_LOCKED), but it is part of RSS, needs Linux 5.18, and each page taken again is a page fault.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from memmon_systemd.monitor.room import Room
from memmon_systemd.monitor.schedule import BUFFER_BYTES, NEARER, Step
from memmon_systemd.units.gauge import open_file

RESERVE_BYTES: Final = 512 * 1024
"""More than two sockets can hold whose messages aren't read: net.core.wmem_default is 208 KiB for each."""
_NEAR_BYTES: Final = 384 * 1024
"""What is given back when less is left: one request, with its lines, takes less than 208 KiB twice."""
_ROOMY_BYTES: Final = RESERVE_BYTES + 2 * _NEAR_BYTES
"""What has to be left for the reserve to be taken again."""
_PIECE: Final = bytes(os.sysconf("SC_PAGE_SIZE"))


class _Level:
    """One cgroup that the monitor's memory is charged to."""

    __slots__ = ("_current", "_current_file", "_far", "_known", "_max", "_max_file", "above")

    def __init__(self, directory: str, above: _Level | None) -> None:
        """Open its files; OSError where it has none."""
        self.above = above
        self._max_file = open_file(directory, "memory.max")
        try:
            self._current_file = open_file(directory, "memory.current")
        except OSError:
            self._max_file.close()
            raise
        self._max, self._known = bytearray(BUFFER_BYTES), bytearray(BUFFER_BYTES)
        self._current = bytearray(BUFFER_BYTES)
        self._far = NEARER
        """Up to its reading enough is left; NEARER, the last of the steps, holds for every reading."""

    def close(self) -> None:
        """Close its files."""
        self._max_file.close()
        self._current_file.close()

    def is_short(self) -> bool:
        """Whether less than `_NEAR_BYTES` is left. Compares texts: an int would be an allocation."""
        self._max_file.seek(0)
        self._max_file.readinto(self._max)
        if self._max != self._known:
            self._known[:] = self._max
            limit_bytes = _number(self._max)
            self._far = NEARER
            if limit_bytes is not None:
                self._far = Step(0.0, max(limit_bytes - _NEAR_BYTES, 0), NEARER)
        self._current_file.seek(0)
        length = self._current_file.readinto(self._current) or 0
        far = self._far
        return length > far.length or (length == far.length and far.bound < self._current)

    def is_roomy(self) -> bool:
        """Whether the reserve can be taken again, as after the limit was raised."""
        if self.is_short():
            return False
        limit_bytes, current_bytes = _number(self._max), _number(self._current)
        return limit_bytes is None or limit_bytes - (current_bytes or 0) >= _ROOMY_BYTES


class ChargeReserve(Room):
    """Holds the reserve, gives it back when the limit is near, and takes it again when it isn't."""

    __slots__ = ("_lowest", "_pipe")

    def __init__(self, directories: Sequence[str]) -> None:
        """Take it, if one of these cgroups, from the lowest up, can have a limit; OSError if it can't."""
        self._lowest: _Level | None = None
        for directory in reversed(directories):
            with suppress(OSError):  # The root has no limit, nor has a cgroup without the controller.
                self._lowest = _Level(directory, self._lowest)
        self._pipe: tuple[int, int] | None = None
        try:
            if self._lowest is not None:
                self._take()
        except OSError:
            self.close()
            raise

    def make(self) -> None:
        """Give the reserve back if the limit is near. Raises nothing.

        Calls no allocator while it is held and the limit is far.
        """
        if self._pipe is None:
            if self._lowest is not None:
                with suppress(OSError):  # It is tried again the next time.
                    self._take_again()
        elif self._is_short():
            self._give_back()

    def rehearse(self) -> None:
        """Give it back, and take it again."""
        self.make()
        self._give_back()
        self.make()

    def close(self) -> None:
        """Give it back for good."""
        self._give_back()
        while self._lowest is not None:
            self._lowest.close()
            self._lowest = self._lowest.above

    def _is_short(self) -> bool:
        level = self._lowest
        try:
            while level is not None:  # A `for` would make an iterator.
                if level.is_short():
                    return True
                level = level.above
        except OSError:
            return True  # Nothing can be said of a cgroup that isn't there any more.
        return False

    def _take_again(self) -> None:
        level = self._lowest
        while level is not None:
            if not level.is_roomy():
                return
            level = level.above
        self._take()

    def _take(self) -> None:
        ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, RESERVE_BYTES)
            for _ in range(RESERVE_BYTES // len(_PIECE)):
                os.write(ends[1], _PIECE)
        except OSError:
            for end in ends:
                os.close(end)
            raise
        self._pipe = ends

    def _give_back(self) -> None:
        ends, self._pipe = self._pipe or (), None
        for end in ends:
            os.close(end)


def _number(text: bytearray) -> int | None:
    """The number in a file's text; None: "max"."""
    digits = text.partition(b"\n")[0]
    return int(digits) if digits.isdigit() else None
