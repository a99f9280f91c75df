"""Processes by /proc, on Linux: identity, name, memory, and the way to signal one (proc(5), pidfd_open(2)).

A PID is only a number that the kernel gives out again. A process here is a pidfd, opened before its name
and start time are read; a check that the pidfd still lives after that makes the three belong together.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

COMM_BYTES: Final = 15
"""comm is cut to 15 bytes (TASK_COMM_LEN less the NUL)."""
_KERNEL_THREAD: Final = 0x0020_0000
"""PF_KTHREAD in the flags of /proc/PID/stat."""
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_CMDLINE_BYTES: Final = 4096
_SPARE_DESCRIPTORS: Final = 64
"""So many stay free for what is opened for a moment: without any, nothing can be read or signalled."""


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of /proc/PID/stat that tell who a process is."""

    comm: bytes
    state: bytes
    parent: int
    kernel_thread: bool
    start_ticks: int
    resident_bytes: int


def read_stat(pid: int) -> Stat:
    """Who the process is; OSError where there is none, or where its stat can't be understood (EBADMSG)."""
    path = f"/proc/{pid}/stat"
    text = read(path, 1024)
    try:
        begin, end = text.index(b"(") + 1, text.rindex(b")")
        rest = text[end + 2 :].split()
        is_kernel_thread = bool(int(rest[6]) & _KERNEL_THREAD)
        resident_bytes = int(rest[21]) * _PAGE_BYTES
        return Stat(text[begin:end], rest[0], int(rest[1]), is_kernel_thread, int(rest[19]), resident_bytes)
    except (ValueError, IndexError):
        raise _not_understood(path) from None


def is_thread(pid: int) -> bool:
    """Whether `pid` is a thread other than its process's first; OSError where there is none.

    Threads have numbers of the same kind, and /proc/TID opens though no listing shows it.
    """
    status = read(f"/proc/{pid}/status", 1024)
    return b"\nTgid:\t%d\n" % pid not in status


def is_named(pid: int, comm: bytes, prefix: bytes) -> bool:
    """Whether the name of process `pid`, of which `comm` is the first 15 bytes, begins with `prefix`.

    Longer names are in no file; the base names of the first arguments are compared, where comm is
    their beginning: the program (`argv[0]`), or the script that an interpreter was started for.
    """
    if not comm.startswith(prefix[:COMM_BYTES]):
        return False
    if len(prefix) <= COMM_BYTES:
        return True
    try:
        arguments = read(f"/proc/{pid}/cmdline", _CMDLINE_BYTES).split(b"\0")[:3]
    except OSError:
        return False
    names = (argument.rpartition(b"/")[2] for argument in arguments)
    return any(name.startswith(prefix) and name.startswith(comm) for name in names)


def pids() -> Iterator[int]:
    """The PIDs of all processes, one at a time: a list of 5,000 names would be 300 kB of memory."""
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                yield int(entry.name)


def ancestors() -> set[int]:
    """This process and those above it: what it must never signal. PID 1 is always one of them."""
    found = {1, os.getpid()}
    pid = os.getppid()
    while pid > 1 and pid not in found:
        found.add(pid)
        try:
            pid = read_stat(pid).parent
        except OSError:
            break
    return found


def rss_bytes(pid: int) -> int:
    """The resident set size of a process that isn't held open; OSError where there is none."""
    return _resident_bytes(read(f"/proc/{pid}/statm", 128))


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
        return _resident_bytes(os.pread(self._statm, 128, 0))

    def pss_bytes(self) -> int:
        """Proportional set size by smaps_rollup, which walks its page tables: milliseconds."""
        return _kib_field(read(f"/proc/{self.pid}/smaps_rollup", 4096), b"\nPss:")

    def swap_bytes(self) -> int:
        """What of it is in swap (VmSwap); 0 where the kernel has no swap."""
        return _kib_field(read(f"/proc/{self.pid}/status", 8192), b"\nVmSwap:")

    def is_still(self, prefix: bytes) -> bool:
        """Whether it lives, is the process that was opened, and its name begins with `prefix`.

        OSError where that can't be read.
        """
        try:
            stat = self._same_stat()
        except ProcessLookupError:
            return False
        return is_named(self.pid, stat.comm, prefix)

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

    def _same_stat(self) -> Stat:
        stat = self._checked_stat()
        if stat.start_ticks != self.start:
            raise ProcessLookupError(errno.ESRCH, "the PID is another process's now")
        return stat

    def _checked_stat(self) -> Stat:
        stat = read_stat(self.pid)
        if stat.kernel_thread or stat.state in b"ZXx":
            raise ProcessLookupError(errno.ESRCH, "a kernel thread or a zombie")
        if self._pidfd >= 0:
            # EPERM: it lives; whether it may be signalled shows when it is.
            with suppress(PermissionError):
                signal.pidfd_send_signal(self._pidfd, 0)
        return stat


def raise_descriptor_limit() -> None:
    """Allow as many descriptors as the hard limit does: 1,024 is usual, and a process takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _resident_bytes(statm: bytes) -> int:
    fields = statm.split(maxsplit=2)
    if fields[:1] == [b"0"]:
        raise ProcessLookupError(errno.ESRCH, "no memory left: a zombie")
    if len(fields) < 2 or not fields[1].isdigit():
        raise _not_understood("statm")
    return int(fields[1]) * _PAGE_BYTES


def _kib_field(text: bytes, key: bytes) -> int:
    begin = text.find(key)
    if begin < 0:
        return 0
    number = text[begin + len(key) :].split(maxsplit=1)[:1]
    if not number or not number[0].isdigit():
        raise _not_understood(key.decode().strip())
    return int(number[0]) * 1024


def _not_understood(what: str) -> OSError:
    return OSError(errno.EBADMSG, "can't be understood", what)


def read(path: str, at_most_bytes: int) -> bytes:
    """The beginning of a file of /proc/PID in one read, as the kernel makes it up; OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), path) from None
    try:
        return os.read(descriptor, at_most_bytes)
    finally:
        os.close(descriptor)
