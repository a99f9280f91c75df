"""Processes, by /proc on Linux and by psutil elsewhere: one `if`, the same names on both sides."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

NOT_PERMITTED_HINT: Final = "run as root, as that user, or with CAP_KILL"


class Process(Protocol):
    """One process, held so that its PID can't become somebody else's unnoticed.

    Every method raises OSError: ProcessLookupError when it ended, PermissionError where it isn't ours to ask.
    """

    pid: int
    name: str

    def rss_bytes(self) -> int:
        """Resident set size."""

    def pss_bytes(self) -> int:
        """Proportional set size."""

    def swap_bytes(self) -> int:
        """What of it is in swap."""

    def age_s(self) -> float:
        """The time since it was started."""

    def may_execute(self) -> bool:
        """Whether it was forked a moment ago, and its name and memory may still be those of who forked it."""

    def is_still(self, prefix: bytes) -> bool:
        """Whether it lives, is the one that was opened, and its name begins with `prefix`."""

    def send(self, signal_number: int) -> None:
        """Signal this very process."""

    def close(self) -> None:
        """Give its descriptors back."""


class Finder(Protocol):
    """New processes with a name, at each call."""

    unreadable: TimeoutError | None
    """Why the name of a process couldn't be read at the last call, if any couldn't."""
    sees_all: bool
    """Whether other users' processes are shown to this one."""

    def find(self, now_s: float) -> list[int]:
        """PIDs of matching processes that were not found before; OSError."""

    def forget(self, pid: int) -> None:
        """Process `pid` is no more; whoever gets that PID next is new."""

    def close(self) -> None:
        """Give its descriptors back."""


@dataclass(frozen=True, slots=True)
class ProcessTable:
    """One way to the processes of this machine."""

    open: Callable[[int], Process]
    finder: Callable[[bytes, float], Finder]
    ancestors: Callable[[], set[int]]
    """This process, those above it, and PID 1: what is never signalled."""


def by_proc() -> ProcessTable:
    """The Linux way: pidfds and /proc, cheap enough for every look."""
    from memmon_systemd.linux import proc
    from memmon_systemd.processes import finder, linux

    return ProcessTable(linux.LinuxProcess, finder.Finder, proc.ancestors)


def by_psutil() -> ProcessTable:
    """The way of every other system; imported here only, it costs 3 MB."""
    from memmon_systemd.processes import portable

    return ProcessTable(portable.PortableProcess, portable.PortableFinder, portable.ancestors)


def process_table() -> ProcessTable:
    """The way of this system; StartError where that can't be taken."""
    if sys.platform != "linux":
        return by_psutil()
    from memmon_systemd.linux.pid_namespace import check_proc

    check_proc()
    return by_proc()
