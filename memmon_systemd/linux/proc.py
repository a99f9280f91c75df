"""What /proc tells of processes: identity, name and memory (proc(5))."""

from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from memmon_systemd.linux.kernel_files import read_bytes

COMM_BYTES: Final = 15
"""comm is cut to 15 bytes (TASK_COMM_LEN less the NUL)."""
_KERNEL_THREAD: Final = 0x0020_0000
"""PF_KTHREAD in the flags of /proc/PID/stat."""
_FORKED: Final = 0x0000_0040
"""PF_FORKNOEXEC in them."""
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_STATUS_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of /proc/PID/stat that tell who a process is."""

    comm: bytes
    state: bytes
    parent: int
    kernel_thread: bool
    forked: bool
    """Whether it runs the program of the process that forked it: it has executed none itself."""
    cpu_ticks: int
    """The CPU time that it has used itself."""
    threads: int
    start_ticks: int
    resident_bytes: int

    @property
    def has_ended(self) -> bool:
        """Whether it is a zombie; one whose first thread alone has ended lives on."""
        return self.state in b"ZXx" and self.threads < 2

    @property
    def started_s(self) -> float:
        """When it was forked, on the monotonic clock, if the machine wasn't suspended since.

        What is in the file is of the boot time, which goes on while the machine is suspended.
        """
        slept_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
        return self.start_ticks / _TICKS_PER_S - slept_s


def read_stat(pid: int) -> Stat:
    """Who the process is; OSError where there is none, or where its stat can't be understood (EBADMSG)."""
    path = f"/proc/{pid}/stat"
    text = read(path, 1024)
    try:
        begin, end = text.index(b"(") + 1, text.rindex(b")")
        rest = text[end + 2 :].split()
        flags = int(rest[6])
        return Stat(
            comm=text[begin:end],
            state=rest[0],
            parent=int(rest[1]),
            kernel_thread=bool(flags & _KERNEL_THREAD),
            forked=bool(flags & _FORKED),
            cpu_ticks=int(rest[11]) + int(rest[12]),
            threads=int(rest[17]),
            start_ticks=int(rest[19]),
            resident_bytes=int(rest[21]) * _PAGE_BYTES,
        )
    except (ValueError, IndexError):
        raise not_understood(path) from None


def is_thread(pid: int) -> bool:
    """Whether `pid` is a thread other than its process's first; OSError where there is none.

    Threads have numbers of the same kind, and /proc/TID opens though no listing shows it.
    """
    return status_line(f"/proc/{pid}", b"\nTgid:").strip() != b"%d" % pid


def user_ids(pid: int) -> tuple[int, ...]:
    """The real, effective, saved and file-system user of a process; OSError where there is none.

    Not those of its files in /proc, which are root's where it can't be traced: any user can have that.
    """
    users = status_line(f"/proc/{pid}", b"\nUid:").split()
    if len(users) != 4 or not all(user.isdigit() for user in users):
        raise not_understood("Uid")
    return tuple(map(int, users))


def memory_directory(pid: int) -> str:
    """The directory in /proc with the memory of a process; ProcessLookupError where it has ended.

    Where its first thread has ended alone (pthread_exit(3)), that is the one of another thread.
    """
    if not read(f"/proc/{pid}/statm", 128).startswith(b"0 "):
        return f"/proc/{pid}"
    with os.scandir(f"/proc/{pid}/task") as threads:
        for thread in threads:
            if not read(f"{thread.path}/statm", 128).startswith(b"0 "):
                return thread.path
    raise ProcessLookupError(errno.ESRCH, "no memory left: a zombie")


def first_of(pids: Iterable[int]) -> int | None:
    """The oldest of these processes whose parent isn't one of them, as systemd guesses the main process."""
    known = set(pids)
    oldest: list[tuple[int, int]] = []
    for pid in known:
        try:
            stat = read_stat(pid)
        except OSError:
            continue  # It has ended.
        if stat.parent not in known:
            oldest.append((stat.start_ticks, pid))
    return min(oldest)[1] if oldest else None


def pids() -> Iterator[int]:
    """The PIDs of all processes, one at a time: a list of 5,000 names would be 300 kB of memory."""
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                yield int(entry.name)


def shows_all() -> bool:
    """Whether this user sees other users' processes, as process 1: hidepid= hides them (proc(5))."""
    return os.access("/proc/1/comm", os.R_OK)


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
    try:
        return resident_bytes(read(f"/proc/{pid}/statm", 128))
    except ProcessLookupError:
        return resident_bytes(read(f"{memory_directory(pid)}/statm", 128))


def total_rss_bytes(pids: Iterable[int]) -> int:
    """The sum of the resident set sizes of those of these processes that have not ended."""
    total_bytes = 0
    for pid in pids:
        try:
            total_bytes += rss_bytes(pid)
        except OSError:
            continue  # It ended after the list of PIDs was read.
    return total_bytes


def raise_descriptor_limit() -> None:
    """Allow as many descriptors as may be: 1,024 is usual, and a process takes two. OSError if refused.

    The hard limit can be above fs.nr_open, which is lowered for the whole machine: then that is the most.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        most = min(hard, int(read_bytes("/proc/sys/fs/nr_open")))
    except (OSError, ValueError):
        most = hard  # ProcSubset=pid hides it.
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except ValueError as error:
        raise OSError(errno.EPERM, str(error)) from None


def resident_bytes(statm: bytes) -> int:
    """The resident set size in /proc/PID/statm; ESRCH of a zombie, EBADMSG where it can't be understood."""
    fields = statm.split(maxsplit=2)
    if fields[:1] == [b"0"]:
        raise ProcessLookupError(errno.ESRCH, "no memory left: a zombie")
    if len(fields) < 2 or not fields[1].isdigit():
        raise not_understood("statm")
    return int(fields[1]) * _PAGE_BYTES


def status_line(directory: str, key: bytes, lines: int = 1) -> bytes:
    r"""What is behind `key` ("\nUid:") in `status` in a directory of /proc, up to the end of so many lines.

    Nothing without it. However long the lines before it are: 65,536 groups may be 700 kB. OSError.
    """
    descriptor = _open(f"{directory}/status")
    try:
        text = b""
        while part := os.read(descriptor, _STATUS_BYTES):
            text += part
            begin = end = text.find(key)
            for _ in range(lines):
                end = text.find(b"\n", end + 1) if end >= 0 else end
            if 0 <= begin < end:
                return text[begin + len(key) : end]
            text = text[begin:] if begin >= 0 else text[-len(key) :]
    finally:
        os.close(descriptor)
    return b""


def swap_bytes(pid: int) -> int:
    """What of a process is in swap (VmSwap in its status); OSError where there is none."""
    swap = status_line(f"/proc/{pid}", b"\nVmSwap:")
    if not swap:  # Its first thread has ended.
        swap = status_line(memory_directory(pid), b"\nVmSwap:")
    return kib_field(b":" + swap, b":")


def kib_field(text: bytes, key: bytes) -> int:
    """The number of KiB behind `key` in a file such as smaps_rollup, in bytes; 0 without that key."""
    begin = text.find(key)
    if begin < 0:
        return 0
    number = text[begin + len(key) :].split(maxsplit=1)[:1]
    if not number or not number[0].isdigit():
        raise not_understood(key.decode().strip())
    return int(number[0]) * 1024


def not_understood(what: str) -> OSError:
    """The error of a file whose contents are another's than proc(5) says."""
    return OSError(errno.EBADMSG, "can't be understood", what)


def read(path: str, at_most_bytes: int) -> bytes:
    """The beginning of a file of /proc/PID in one read, as the kernel makes it up; OSError."""
    descriptor = _open(path)
    try:
        return os.read(descriptor, at_most_bytes)
    finally:
        os.close(descriptor)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), path) from None
