"""Processes on Linux: held by a pidfd, and found by a look at /proc that is cheap while nothing is new.

A PID is only a number that the kernel gives out again. A process here is a pidfd, opened before its name
and start time are read; a check that the pidfd still lives after that makes the three belong together.

/proc/loadavg ends in the PID that was given out last. While that stays the same no process was made, so
there is nothing to scan: one read of 30 bytes instead of 5,000 files. exec(2) and prctl(2) can rename a
process later, so young ones are looked at again, and all of them every 30 s.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from memmon_systemd.linux import proc

FULL_SCAN_S: Final = 30.0
"""An old process that was renamed is found within this time."""
YOUNG_S: Final = 10.0
"""A new process usually has its final name within milliseconds of fork; a start script may take longer."""
_SPARE_DESCRIPTORS: Final = 64
"""So many stay free for what is opened for a moment: without any, nothing can be read or signalled."""
_MANY_NEW: Final = 500
"""From here on a scan of /proc costs less than a try at every new PID: most of them are gone already."""


class LinuxProcess:
    """One process, held by a pidfd and an open statm where descriptors allow it."""

    __slots__ = ("_pidfd", "_statm", "name", "pid", "start")

    def __init__(self, pid: int) -> None:
        """Hold process `pid`; OSError where there is none. Kernel threads can't be held (ESRCH)."""
        self.pid = pid
        self._pidfd = -1
        self._statm = -1
        try:
            self._pidfd = os.pidfd_open(pid)
            self._statm = os.open(f"/proc/{pid}/statm", os.O_RDONLY)
        except OSError as error:
            self.close()
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        try:
            stat = self._checked_stat()
        except OSError:
            self.close()
            raise
        self.name = stat.comm.decode(errors="backslashreplace")
        self.start = stat.start_ticks
        if self._statm >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_DESCRIPTORS:
            self.close()

    def rss_bytes(self) -> int:
        """Resident set size by statm, or by stat where it isn't held; ESRCH when it ended or is a zombie."""
        if self._statm < 0:
            return self._same_stat().resident_bytes
        return proc.resident_bytes(os.pread(self._statm, 128, 0))

    def pss_bytes(self) -> int:
        """Proportional set size by smaps_rollup, which walks its page tables: milliseconds."""
        return proc.kib_field(proc.read(f"/proc/{self.pid}/smaps_rollup", 4096), b"\nPss:")

    def swap_bytes(self) -> int:
        """What of it is in swap (VmSwap); 0 where the kernel has no swap."""
        return proc.kib_field(proc.read(f"/proc/{self.pid}/status", 8192), b"\nVmSwap:")

    def is_still(self, prefix: bytes) -> bool:
        """Whether it lives, is the process that was opened, and its name begins with `prefix`.

        OSError where that can't be read.
        """
        try:
            stat = self._same_stat()
        except ProcessLookupError:
            return False
        return proc.is_named(self.pid, stat.comm, prefix)

    def send(self, signal_number: int) -> None:
        """Signal this very process; ProcessLookupError, PermissionError."""
        if self._pidfd >= 0:
            signal.pidfd_send_signal(self._pidfd, signal_number)
            return
        pidfd = os.pidfd_open(self.pid)
        try:
            self._same_stat()
            signal.pidfd_send_signal(pidfd, signal_number)
        finally:
            os.close(pidfd)

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor in (self._pidfd, self._statm):
            if descriptor >= 0:
                os.close(descriptor)
        self._pidfd = self._statm = -1

    def _same_stat(self) -> proc.Stat:
        stat = self._checked_stat()
        if stat.start_ticks != self.start:
            raise ProcessLookupError(errno.ESRCH, "the PID is another process's now")
        return stat

    def _checked_stat(self) -> proc.Stat:
        stat = proc.read_stat(self.pid)
        if stat.kernel_thread or stat.state in b"ZXx":
            raise ProcessLookupError(errno.ESRCH, "a kernel thread or a zombie")
        if self._pidfd >= 0:
            # EPERM: it lives; whether it may be signalled shows when it is.
            with suppress(PermissionError):
                signal.pidfd_send_signal(self._pidfd, 0)
        return stat


class Finder:
    """New processes with a name, at each call."""

    __slots__ = (
        "_comm_prefix",
        "_full_scan_s",
        "_known",
        "_loadavg",
        "_newest",
        "_pid_max",
        "_prefix",
        "_young",
        "_young_s",
    )

    def __init__(self, prefix: bytes, interval_s: float) -> None:
        """A finder that is asked every `interval_s` seconds at most."""
        self._prefix = prefix
        self._comm_prefix = prefix[: proc.COMM_BYTES]
        self._known: set[int] = set()
        self._young: dict[int, float] = {}
        self._young_s = max(YOUNG_S, 2 * interval_s)
        self._full_scan_s = float("-inf")
        self._newest = 0
        self._loadavg = os.open("/proc/loadavg", os.O_RDONLY)
        self._pid_max = int(Path("/proc/sys/kernel/pid_max").read_text())

    def find(self, now_s: float) -> list[int]:
        """PIDs of matching processes that were not found before, at `now_s` of a monotonic clock."""
        newest = int(os.pread(self._loadavg, 128, 0).rpartition(b" ")[2])
        if newest == self._newest and not self._young and now_s < self._full_scan_s:
            return []
        candidates = self._candidates(newest, now_s)
        found = [pid for pid in candidates if self._is_match(pid, now_s)]
        self._known.update(found)
        return found

    def forget(self, pid: int) -> None:
        """Process `pid` is no more; whoever gets that PID next is new."""
        self._known.discard(pid)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._loadavg)

    def _candidates(self, newest: int, now_s: float) -> Iterable[int]:
        last, self._newest = self._newest, newest
        new = (newest - last) % self._pid_max
        too_many = not last or new > _MANY_NEW
        for pid in [pid for pid, until_s in self._young.items() if until_s <= now_s]:
            del self._young[pid]
        if not too_many:
            for step in range(1, new + 1):
                self._young[(last + step) % self._pid_max] = now_s + self._young_s
        if not too_many and now_s < self._full_scan_s:
            return list(self._young)
        # After many new ones once more at the next look: some may not have been in /proc yet.
        self._full_scan_s = now_s if too_many else now_s + FULL_SCAN_S
        return self._all(last, new if last and too_many else 0, now_s + self._young_s)

    def _all(self, last: int, new: int, until_s: float) -> Iterator[int]:
        """Every PID; the first `new` that were given out after `last` are young."""
        for pid in proc.pids():
            if (pid - last - 1) % self._pid_max < new:
                self._young[pid] = until_s
            yield pid

    def _is_match(self, pid: int, now_s: float) -> bool:
        if pid in self._known:
            return False
        try:
            comm = proc.read(f"/proc/{pid}/comm", 64)[:-1]
            return (
                comm.startswith(self._comm_prefix)
                and proc.is_named(pid, comm, self._prefix)
                and not proc.is_thread(pid)
            )
        except OSError:
            # A number that was given out a moment ago may not be in /proc yet: it gets another look.
            if self._young.get(pid, now_s) < now_s + self._young_s:
                self._young.pop(pid, None)
            return False
