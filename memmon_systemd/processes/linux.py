"""Processes on Linux, held by a pidfd.

A PID is only a number that the kernel gives out again. A process here is a pidfd, opened before its name
and start time are read; a check that the pidfd still lives after that makes the three belong together.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import time
from contextlib import suppress
from typing import Final

from memmon_systemd.linux import command_line, proc, slow_read

_SPARE_DESCRIPTORS: Final = 64
"""So many stay free for what is opened for a moment: without any, nothing can be read or signalled."""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_YOUNG_S: Final = 1.0
"""Who forks to execute another program has usually done so by then."""
_HELD_UP_S: Final = 30.0
"""A child that gets no CPU, is stopped, or waits for a disk has so long."""
_LITTLE_CPU_TICKS: Final = _TICKS_PER_S // 10
_HELD_UP_STATES: Final = b"RDTt"
""""R" with little CPU time gets none; a worker that has nothing to do is "S"."""


class LinuxProcess:
    """One process, held by a pidfd and an open statm where descriptors allow it."""

    __slots__ = ("_may_execute", "_pidfd", "_started_s", "_statm", "name", "pid", "start")

    def __init__(self, pid: int) -> None:
        """Hold process `pid`; OSError where there is none. Kernel threads can't be held (ESRCH)."""
        self.pid = pid
        self._pidfd = -1
        self._statm = -1
        self._may_execute = True
        try:
            self._pidfd = _pidfd(pid)
            self._statm = os.open(f"/proc/{pid}/statm", os.O_RDONLY)
        except FileNotFoundError as error:
            self.close()
            raise ProcessLookupError(errno.ESRCH, error.strerror) from None
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
        self._started_s = stat.started_s
        if self._statm >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_DESCRIPTORS:
            self.close()

    def rss_bytes(self) -> int:
        """Resident set size by statm, or by stat where it isn't held; ESRCH when it ended or is a zombie."""
        if self._statm >= 0:
            statm = os.pread(self._statm, 128, 0)
            if not statm.startswith(b"0 "):
                return proc.resident_bytes(statm)
        # Without memory its first thread has ended: others may live on.
        return self._same_stat().resident_bytes or proc.rss_bytes(self.pid)

    def pss_bytes(self) -> int:
        """Proportional set size by smaps_rollup, which walks its page tables: milliseconds, or more.

        TimeoutError while its memory map is locked. What was too late for a call is the answer to the next.
        """
        try:
            text = self._smaps_rollup(f"/proc/{self.pid}")
        except ProcessLookupError:  # Its first thread, at least.
            text = self._smaps_rollup(proc.memory_directory(self.pid))
        return proc.kib_field(text, b"\nPss:")

    def swap_bytes(self) -> int:
        """What of it is in swap (VmSwap)."""
        return proc.swap_bytes(self.pid)

    def age_s(self) -> float:
        """The time since it was started; not what of it the machine was suspended since it is held.

        systemd's times of units are without such time as well.
        """
        return max(time.monotonic() - self._started_s, 0.0)

    def may_execute(self) -> bool:
        """Whether it was forked a moment ago and may be about to execute another program.

        Until then it has the name and the memory of the process that forked it; nothing tells it from a
        worker that stays. So a child is excused for a second, and longer while it couldn't go on. One that
        sleeps longer than that by itself before it executes the program is taken for a worker.
        """
        if self._may_execute:
            self._may_execute = _may_execute(self._same_stat(), self.age_s())
        return self._may_execute

    def is_still(self, prefix: bytes) -> bool:
        """Whether it lives, is the process that was opened, and its name begins with `prefix`.

        OSError where that can't be read.
        """
        try:
            stat = self._same_stat()
        except ProcessLookupError:
            return False
        return command_line.is_named(self.pid, stat.comm, prefix)

    def send(self, signal_number: int) -> None:
        """Signal this very process; ProcessLookupError, PermissionError."""
        if self._pidfd >= 0:
            signal.pidfd_send_signal(self._pidfd, signal_number)
            return
        pidfd = _pidfd(self.pid)
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

    def _smaps_rollup(self, directory: str) -> bytes:
        return slow_read.read(self.pid, f"{directory}/smaps_rollup", 4096, takes_late=True)

    def _same_stat(self) -> proc.Stat:
        stat = self._checked_stat()
        if stat.start_ticks != self.start:
            raise ProcessLookupError(errno.ESRCH, "the PID is another process's now")
        return stat

    def _checked_stat(self) -> proc.Stat:
        stat = proc.read_stat(self.pid)
        if stat.kernel_thread or stat.has_ended:
            raise ProcessLookupError(errno.ESRCH, "a kernel thread or a zombie")
        if self._pidfd >= 0:
            # EPERM: it lives; whether it may be signalled shows when it is.
            with suppress(PermissionError):
                signal.pidfd_send_signal(self._pidfd, 0)
        return stat


def _may_execute(stat: proc.Stat, age_s: float) -> bool:
    if not stat.forked:
        return False
    is_held_up = stat.state in _HELD_UP_STATES and stat.cpu_ticks < _LITTLE_CPU_TICKS
    return age_s < (_HELD_UP_S if is_held_up else _YOUNG_S)


def _pidfd(pid: int) -> int:
    """A pidfd; an OSError that isn't ESRCH says which call was refused."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, "pidfd_open(2)") from None
