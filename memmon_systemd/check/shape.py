"""How a unit is made, as far as that decides what a request does to it: frozen values. Sizes are in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class MaximumState(StrEnum):
    """What became of the unit's own MemoryMax=."""

    AS_SET = "as set"
    """It is in the file that is read; or there is none."""
    NOT_IN_FORCE = "not in force"
    """No cgroup has it."""
    BY_V1 = "by cgroup v1"
    """The kernel holds to it, but a share isn't one of it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is read of a unit that runs, or of a process; the defaults are those of what isn't known."""

    peak_bytes: int | None = None
    """memory.peak: the most that its cgroup has used, page cache included."""
    shared_bytes: int = 0
    """shmem of memory.stat: files in a tmpfs, and memory that processes share."""
    mapped_bytes: int = 0
    """The most of it that one process has mapped."""
    is_wrapper: bool = False
    """Whether its main process would end by the signal, and its children use more memory than it does."""
    dropped_by: str | None = None
    """As "NAME[PID]": the process at which the signal ends, for the kernel drops it (pid_namespaces(7))."""
    is_frozen: bool = False
    """Whether its cgroup is frozen: by itself, or by a slice above it."""
    maximum_state: MaximumState = MaximumState.AS_SET


NO_SHAPE: Final = Shape()
"""That of what doesn't run, or of which nothing is known."""
