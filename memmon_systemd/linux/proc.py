"""What /proc tells of processes: identity, name and memory (proc(5))."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

COMM_BYTES: Final = 15
"""comm is cut to 15 bytes (TASK_COMM_LEN less the NUL)."""
_KERNEL_THREAD: Final = 0x0020_0000
"""PF_KTHREAD in the flags of /proc/PID/stat."""
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_CMDLINE_BYTES: Final = 4096


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
    return resident_bytes(read(f"/proc/{pid}/statm", 128))


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
    """Allow as many descriptors as the hard limit does: 1,024 is usual, and a process takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def resident_bytes(statm: bytes) -> int:
    """The resident set size in /proc/PID/statm; ESRCH of a zombie, EBADMSG where it can't be understood."""
    fields = statm.split(maxsplit=2)
    if fields[:1] == [b"0"]:
        raise ProcessLookupError(errno.ESRCH, "no memory left: a zombie")
    if len(fields) < 2 or not fields[1].isdigit():
        raise _not_understood("statm")
    return int(fields[1]) * _PAGE_BYTES


def kib_field(text: bytes, key: bytes) -> int:
    """The number of KiB behind `key` in a file such as /proc/PID/status, in bytes; 0 without that key."""
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
