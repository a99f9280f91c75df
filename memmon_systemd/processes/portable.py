"""Processes by psutil: macOS and every other system, with the same behaviour as `proc` and `finder`.

psutil keeps the start time with the PID and compares it before it signals, which is as near to a pidfd
as these systems come.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psutil

_YOUNG_S: Final = 1.0
"""Who forks to execute another program has done so by then."""


@contextmanager
def _as_os_errors(pid: int) -> Iterator[None]:
    """The errors of psutil as those of Linux' own calls."""
    try:
        yield
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        raise ProcessLookupError(errno.ESRCH, f"process {pid} has ended") from None
    except psutil.AccessDenied:
        raise PermissionError(errno.EACCES, f"process {pid} is another user's") from None


class PortableProcess:
    """One process by PID and start time."""

    __slots__ = ("_process", "name", "pid", "start")

    def __init__(self, pid: int) -> None:
        """Hold process `pid`; OSError where there is none."""
        with _as_os_errors(pid):
            self._process = psutil.Process(pid)
            self.pid = pid
            self.name = self._process.name()
            self.start = self._process.create_time()
            if self._process.status() == psutil.STATUS_ZOMBIE:
                raise psutil.ZombieProcess(pid)

    def rss_bytes(self) -> int:
        """Resident set size; ESRCH when it ended, a zombie included."""
        with _as_os_errors(self.pid):
            rss_bytes = self._process.memory_info().rss
            if not rss_bytes and self._process.status() == psutil.STATUS_ZOMBIE:
                raise psutil.ZombieProcess(self.pid)
            return int(rss_bytes)

    def pss_bytes(self) -> int:
        """Proportional set size, which only Linux counts; OSError elsewhere."""
        with _as_os_errors(self.pid):
            return int(self._full_info("pss"))

    def swap_bytes(self) -> int:
        """What of it is in swap, which only Linux counts per process; OSError elsewhere."""
        with _as_os_errors(self.pid):
            return int(self._full_info("swap"))

    def age_s(self) -> float:
        """The time since it was started, by the wall clock."""
        return max(time.time() - self.start, 0.0)

    def may_execute(self) -> bool:
        """Whether it was forked a moment ago, by a process of the same name."""
        with _as_os_errors(self.pid):
            if time.time() - self._process.create_time() >= _YOUNG_S:
                return False
            parent = self._process.parent()
            return parent is not None and parent.name() == self.name

    def is_still(self, prefix: bytes) -> bool:
        """Whether it lives, is the process that was opened, and its name begins with `prefix`."""
        try:
            with _as_os_errors(self.pid):
                # A fresh object: psutil keeps the name of the first call.
                now = psutil.Process(self.pid)
                same = bool(now.create_time() == self.start) and now.status() != psutil.STATUS_ZOMBIE
                return same and now.name().startswith(os.fsdecode(prefix))
        except OSError:
            return False

    def send(self, signal_number: int) -> None:
        """Signal this very process; ProcessLookupError, PermissionError."""
        with _as_os_errors(self.pid):
            self._process.send_signal(signal_number)

    def close(self) -> None:
        """Nothing is held open here."""

    def _full_info(self, field: str) -> int:
        info = self._process.memory_full_info()
        if not hasattr(info, field):
            raise OSError(errno.ENOTSUP, f"{field} of a process is counted on Linux only")
        return int(getattr(info, field))


class PortableFinder:
    """New processes with a name, by a scan of all of them at each call."""

    __slots__ = ("_known", "_prefix", "sees_all", "unreadable")

    def __init__(self, prefix: bytes, interval_s: float) -> None:
        """A finder; `interval_s` is what a faster one would want to know."""
        del interval_s
        self._prefix = os.fsdecode(prefix)
        self._known: set[int] = set()
        self.unreadable: TimeoutError | None = None
        self.sees_all = True

    def find(self, now_s: float) -> list[int]:
        """PIDs of matching processes that were not found before."""
        del now_s
        found = [
            process.pid
            for process in psutil.process_iter(["name", "status"])
            if process.pid > 0  # 0 is the kernel on macOS, and to kill(2) it is the caller's process group.
            and process.pid not in self._known
            and (process.info["name"] or "").startswith(self._prefix)
            and process.info["status"] != psutil.STATUS_ZOMBIE
        ]
        self._known.update(found)
        return found

    def forget(self, pid: int) -> None:
        """Process `pid` is no more; whoever gets that PID next is new."""
        self._known.discard(pid)

    def close(self) -> None:
        """Nothing is held open here."""


def ancestors() -> set[int]:
    """This process and those above it: what it must never signal. PID 1 is always one of them."""
    with _as_os_errors(os.getpid()):
        return {1, os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
