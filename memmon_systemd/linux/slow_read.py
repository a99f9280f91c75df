"""Reads of /proc/PID files that wait for the memory map of that process to be unlocked.

cmdline, environ and smaps_rollup take its mmap lock (fs/proc/base.c, fs/proc/task_mmu.c); stat, statm,
status, comm and cgroup don't. Its owner can keep that lock for ever: a mmap(2) of a file on FUSE, which any
user may mount in a user namespace, waits for a server that never answers. Only a fatal signal ends such a
read.

So threads read, and the caller waits for a limited time. A thread that is left behind comes back when the
map is unlocked or the process ends. There are a few, made once; one user can't occupy all of them: two for
the user's own UID, and one for all UIDs that a user may have been given beside it (subuid(5)). Those are the
UIDs in other user namespaces than this one, and high ones, which a set-user-ID program brings out of there.
"""

from __future__ import annotations

import _thread
import errno
import os
import signal
import time
from typing import Final

from memmon_systemd.linux import proc
from memmon_systemd.linux.libc import Libc

THREADS: Final = 4
MOST_FOR_ONE_USER: Final = 2
MOST_FOR_STRANGERS: Final = 1
"""With those of one user less than all, so that others can still be read."""
STRANGER: Final = -1
"""Instead of the UID of a process that may be anybody's."""
_FIRST_HIGH_UID: Final = 65536
"""From here on there are no users of this system but those of a directory, and subordinate ones."""
_STACK_BYTES: Final = 128 * 1024
"""Locked as a whole; the default of 8 MiB would be, too."""
LONGEST_WAIT_S: Final = 0.5
SHORTEST_WAIT_S: Final = 0.05
_REFILL: Final = 0.1
"""The part of the time that may be spent with waits, but for the shortest ones."""


class SlowReader:
    """Threads that read, for one caller; made at the first read, or before."""

    __slots__ = ("_refilled_s", "_threads", "_wait_s")

    def __init__(self) -> None:
        self._threads: list[_Thread] = []
        self._wait_s = LONGEST_WAIT_S
        self._refilled_s = 0.0

    def read(self, pid: int, path: str, at_most_bytes: int, *, takes_late: bool = False) -> bytes:
        """The beginning of a file of process `pid`; TimeoutError while its map is locked, OSError.

        Where `takes_late`, what the last call for this file didn't wait for will do.
        """
        if takes_late:
            for thread in self._threads:
                if thread.is_late_with(path):
                    return thread.take()
        thread = self._free_thread(pid, path)
        begun_s = time.monotonic()
        refill_s = (begun_s - self._refilled_s) * _REFILL
        self._wait_s = min(self._wait_s + refill_s, LONGEST_WAIT_S)
        self._refilled_s = begun_s
        is_done = thread.read(path, at_most_bytes, max(self._wait_s, SHORTEST_WAIT_S))
        self._wait_s = max(self._wait_s - (time.monotonic() - begun_s), 0.0)
        if not is_done:
            thread.leave(pid)
            raise _locked(path)
        return thread.take()

    def start(self) -> None:
        """Make the threads, if there are none; OSError."""
        if not self._threads:
            self._threads = _start()

    def rehearse(self) -> None:
        """Have each thread read a file of this process, and be left behind with it."""
        pid = os.getpid()
        for thread in self._threads:
            if thread.is_back():
                if not thread.read(f"/proc/{pid}/cmdline", 1, 0.0):
                    thread.leave(pid)
                str(_locked(f"/proc/{pid}/cmdline"))
        for thread in self._threads:
            thread.return_within(SHORTEST_WAIT_S)

    def _free_thread(self, pid: int, path: str) -> _Thread:
        """One that isn't left behind; TimeoutError where this process or its user occupies enough of them."""
        self.start()
        free: _Thread | None = None
        left: list[_Thread] = []
        for thread in self._threads:
            if thread.is_back():
                free = thread
            else:
                left.append(thread)
        if free is None or (left and self._is_refused(pid, left)):
            raise _locked(path)
        return free

    def _is_refused(self, pid: int, left: list[_Thread]) -> bool:
        if any(thread.pid == pid for thread in left):
            return True
        user = user_of(pid)
        most = MOST_FOR_STRANGERS if user == STRANGER else MOST_FOR_ONE_USER
        return sum(thread.user == user for thread in left) >= most


def user_of(pid: int) -> int:
    """The UID of a process, or STRANGER; OSError where there is none."""
    user = proc.user_ids(pid)[0]
    if (user >= _FIRST_HIGH_UID and user != os.getuid()) or _uid_map(pid) != _uid_map("self"):
        return STRANGER
    return user


def _uid_map(pid: int | str) -> bytes:
    """The user namespace of a process by what it maps: its link in ns/ takes the right to trace it.

    Only root can give another one all that this one has.
    """
    try:
        return proc.read(f"/proc/{pid}/uid_map", 256)
    except ProcessLookupError:
        return b""  # A kernel without user namespaces has none; or that process has just ended.


class _Thread:
    """A thread that reads one file at a time."""

    __slots__ = (
        "_asked",
        "_at_most_bytes",
        "_done",
        "_error",
        "_is_late",
        "_is_left",
        "_path",
        "_text",
        "pid",
        "user",
    )

    def __init__(self) -> None:
        self._asked = _thread.allocate_lock()
        self._done = _thread.allocate_lock()
        self._asked.acquire()
        self._done.acquire()
        self._is_left = self._is_late = False
        self._path = ""
        self._at_most_bytes = 0
        self._text = b""
        self._error: Exception | None = None
        self.pid = self.user = 0
        """Of what it was left behind with."""

    def read(self, path: str, at_most_bytes: int, wait_s: float) -> bool:
        """Have it read; whether that was done within `wait_s`."""
        self._path, self._at_most_bytes = path, at_most_bytes
        self._text, self._error, self._is_late = b"", None, False
        self._asked.release()
        return self._done.acquire(timeout=wait_s)

    def take(self) -> bytes:
        """What it read, or the error that it met; once."""
        self._is_late = False
        if self._error is not None:
            raise self._error
        return self._text

    def leave(self, pid: int) -> None:
        """Don't wait for it any longer."""
        self._is_left = True
        self.pid = pid
        try:
            self.user = user_of(pid)
        except OSError:
            self.user = STRANGER  # It has ended, so the thread is about to come back.

    def is_back(self) -> bool:
        """Whether it can be asked."""
        if self._is_left and self._done.acquire(blocking=False):
            self._is_left, self._is_late = False, True
        return not self._is_left

    def return_within(self, wait_s: float) -> None:
        """Wait for it if it was left behind."""
        if self._is_left and self._done.acquire(timeout=wait_s):
            self._is_left = False

    def is_late_with(self, path: str) -> bool:
        """Whether it is back with a file that nobody has waited for."""
        return self.is_back() and self._is_late and self._path == path

    def run(self) -> None:
        """The thread itself."""
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        self._done.release()
        while True:
            self._asked.acquire()
            try:
                self._text = proc.read(self._path, self._at_most_bytes)
            except Exception as error:  # Whatever it is: it is raised where the read was asked for.
                self._error = error
            self._done.release()


def _start() -> list[_Thread]:
    """The threads, each once it runs; OSError where none can be made."""
    # A heap of its own for each thread would be 132 KiB.
    Libc().use_one_heap()
    before = _thread.stack_size(_STACK_BYTES)
    threads: list[_Thread] = []
    try:
        for _ in range(THREADS):
            thread = _Thread()
            _thread.start_new_thread(thread.run, ())
            thread._done.acquire()
            threads.append(thread)
    except RuntimeError as error:
        if not threads:
            raise OSError(errno.EAGAIN, f"{error}: raise TasksMax= of the unit, or ulimit -u") from None
    finally:
        _thread.stack_size(before)
    return threads


def _locked(path: str) -> TimeoutError:
    return TimeoutError(errno.ETIMEDOUT, "the memory map of that process is locked", path)


# Those of this process.
_READER: Final = SlowReader()
read: Final = _READER.read
start: Final = _READER.start
rehearse: Final = _READER.rehearse
