"""oom_kill of memory.events: how many processes of a cgroup, or below it, the OOM killer has killed."""

from __future__ import annotations

import os
from dataclasses import dataclass

_EVENTS_BYTES = 256
"""Six lines: 170 bytes with the largest numbers that there are."""
_KEY = b"\noom_kill "


@dataclass(frozen=True, slots=True)
class OomKills:
    """What is known of one unit at one moment; None: unknown."""

    of_unit: int | None
    """In its cgroup, as it was last read: the file goes with the cgroup."""
    path: str | None
    """Of its cgroup. What is above it stays, and counts what was killed below (cgroup-v2.rst)."""

    def of_parent(self) -> int | None:
        """In the cgroup above it, now."""
        return None if self.path is None else read_below(os.path.dirname(self.path))


UNKNOWN_KILLS = OomKills(None, None)


def read(descriptor: int) -> int | None:
    """The number in an open memory.events; None: it isn't there. OSError."""
    # Behind a newline, as every line but the first is.
    text = b"\n" + os.pread(descriptor, _EVENTS_BYTES, 0)
    _, found, rest = text.partition(_KEY)
    digits, end, _ = rest.partition(b"\n")
    return int(digits) if found and end and digits.isdigit() else None


def read_below(directory: str) -> int | None:
    """The number of a cgroup; None where that can't be read."""
    try:
        descriptor = os.open(f"{directory}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return read(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
