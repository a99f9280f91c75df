"""Processes found on Linux by a look at /proc that is cheap while nothing is new.

/proc/loadavg ends in the PID that was given out last. While that stays the same no process was made, so
there is nothing to scan: one read of 30 bytes instead of 5,000 files. exec(2) and prctl(2) can rename a
process later, so young ones are looked at again, and all of them every 30 s.

In a container that file may be another one (lxcfs mounts its own), whose number is 0 or one of the host, or
it is hidden (ProcSubset=pid): then each look is a scan.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final

from memmon_systemd.linux import command_line, proc, slow_read

FULL_SCAN_S: Final = 30.0
"""An old process that was renamed is found within this time."""
YOUNG_S: Final = 10.0
"""A new process usually has its final name within milliseconds of fork; a start script may take longer."""
_MANY_NEW: Final = 500
"""From here on a scan of /proc costs less than a try at every new PID: most of them are gone already."""


class Finder:
    """New processes with a name, at each call."""

    __slots__ = (
        "_comm_prefix",
        "_full_scan_s",
        "_known",
        "_loadavg",
        "_newest",
        "_prefix",
        "_young",
        "_young_s",
        "sees_all",
        "unreadable",
    )

    def __init__(self, prefix: bytes, interval_s: float) -> None:
        """A finder that is asked every `interval_s` seconds at most."""
        if len(prefix) > proc.COMM_BYTES:
            slow_read.start()  # A thread takes memory, and there may be none at the first such process.
        self._prefix = prefix
        self._comm_prefix = prefix[: proc.COMM_BYTES]
        self._known: set[int] = set()
        self._young: dict[int, float] = {}
        self._young_s = max(YOUNG_S, 2 * interval_s)
        self._full_scan_s = float("-inf")
        self._newest = 0
        self._loadavg = _open_loadavg()
        self.unreadable: TimeoutError | None = None
        """Why the name of a process couldn't be read at the last call, if any couldn't."""
        self.sees_all = proc.shows_all()

    def find(self, now_s: float) -> list[int]:
        """PIDs of matching processes that were not found before, at `now_s` of a monotonic clock."""
        self.unreadable = None
        if self._loadavg is None:
            candidates: Iterable[int] = proc.pids()
        else:
            newest = _last_pid(self._loadavg)
            if newest == self._newest and not self._young and now_s < self._full_scan_s:
                return []
            candidates = self._candidates(newest, now_s)
        try:
            found = [pid for pid in candidates if self._is_match(pid, now_s)]
        except OSError:
            self._full_scan_s = float("-inf")  # The rest of the list is seen at the next call, not in 30 s.
            raise
        self._known.update(found)
        return found

    def forget(self, pid: int) -> None:
        """Process `pid` is no more; whoever gets that PID next is new."""
        self._known.discard(pid)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._loadavg is not None:
            os.close(self._loadavg)

    def _candidates(self, newest: int, now_s: float) -> Iterable[int]:
        last, self._newest = self._newest, newest
        for pid in [pid for pid, until_s in self._young.items() if until_s <= now_s]:
            del self._young[pid]
        # Fewer than before: they begin again at 300, after pid_max.
        too_many = not last or newest < last or newest - last > _MANY_NEW
        if not too_many:
            for pid in range(last + 1, newest + 1):
                self._young[pid] = now_s + self._young_s
        if not too_many and now_s < self._full_scan_s:
            return list(self._young)
        # After many new ones once more at the next look: some may not have been in /proc yet.
        self._full_scan_s = now_s if too_many else now_s + FULL_SCAN_S
        return self._all(last if too_many else newest, newest, now_s + self._young_s)

    def _all(self, last: int, newest: int, until_s: float) -> Iterator[int]:
        """Every PID; those that were given out after `last`, up to `newest`, are young. `last` 0: none is."""
        for pid in proc.pids():
            if last and (last < pid <= newest if last <= newest else pid > last or pid <= newest):
                self._young[pid] = until_s
            yield pid

    def _is_match(self, pid: int, now_s: float) -> bool:
        if pid in self._known:
            return False
        try:
            comm = proc.read(f"/proc/{pid}/comm", 64)[:-1]
            return (
                comm.startswith(self._comm_prefix)
                and command_line.is_named(pid, comm, self._prefix)
                and not proc.is_thread(pid)
            )
        except TimeoutError as error:
            self.unreadable = error
            return False
        except OSError:
            # A number that was given out a moment ago may not be in /proc yet: it gets another look.
            if self._young.get(pid, now_s) < now_s + self._young_s:
                self._young.pop(pid, None)
            return False


def _open_loadavg() -> int | None:
    """/proc/loadavg; None where it isn't the kernel's own: another file is mounted there, or none."""
    try:
        loadavg = os.open("/proc/loadavg", os.O_RDONLY)
    except OSError:
        return None
    if os.fstat(loadavg).st_dev != os.stat("/proc").st_dev:
        os.close(loadavg)
        return None
    return loadavg


def _last_pid(loadavg: int) -> int:
    return int(os.pread(loadavg, 128, 0).rpartition(b" ")[2])
