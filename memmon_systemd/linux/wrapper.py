"""Whether a main process is only a wrapper: it ends by the signal, and its children have the memory.

A shell that waits for a program is one (`ExecStart=/bin/sh -c "setup; program"`): it has no handler
for SIGTERM, ends at once, and tells its child nothing. By stat and status of /proc/PID alone, which
wait for nobody (proc(5)); /proc/PID/exe isn't shown to a process with CAP_KILL only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from memmon_systemd.linux import proc
from memmon_systemd.linux.signal_masks import signal_masks


@dataclass(slots=True)
class _Sums:
    """What the processes of a unit use, in bytes, by one read of stat for each."""

    main_bytes: int
    total_bytes: int = 0
    old_bytes: int = 0
    """Of processes that are older than the main one: an earlier invocation left them."""
    has_child: bool = False
    """Whether the main process has a child among them."""


def leaves_memory(main_pid: int, pids: Iterable[int], signal_number: int) -> bool:
    """Whether most of the memory of `pids` is that of others, which stay when process `main_pid` ends."""
    try:
        sums = _sums(main_pid, pids)
        return _is_mostly_old(sums) or _is_of_wrapper(sums, main_pid, signal_number)
    except OSError:
        return False  # It has ended.


def is_wrapper(main_pid: int, pids: Iterable[int], signal_number: int) -> bool:
    """Whether process `main_pid` would leave others of `pids` behind, which use more than it does.

    False where it handles the signal, for then it may well stop them; and where it has ended.
    """
    try:
        return _is_of_wrapper(_sums(main_pid, pids), main_pid, signal_number)
    except OSError:
        return False


def has_default(pid: int, signal_number: int) -> bool:
    """Whether a process neither handles, nor ignores, nor waits for (blocks) a signal; OSError."""
    masks = signal_masks(pid)
    return not (masks.ignores(signal_number) or masks.handles(signal_number))


def _is_of_wrapper(sums: _Sums, main_pid: int, signal_number: int) -> bool:
    is_small = sums.has_child and 2 * sums.main_bytes < sums.total_bytes
    return is_small and has_default(main_pid, signal_number)


def _is_mostly_old(sums: _Sums) -> bool:
    """Whether what an earlier invocation left uses most: another restart won't end it either."""
    return 2 * sums.old_bytes > sums.total_bytes


def _sums(main_pid: int, pids: Iterable[int]) -> _Sums:
    """One process after the other, for there may be thousands; OSError where the main one has ended."""
    main = proc.read_stat(main_pid)
    # Where its first thread has ended alone, stat has nothing of its memory.
    sums = _Sums(main.resident_bytes or proc.rss_bytes(main_pid))
    for pid in pids:
        try:
            stat = proc.read_stat(pid)
        except OSError:
            continue  # It has ended.
        sums.total_bytes += stat.resident_bytes
        if stat.start_ticks < main.start_ticks:
            sums.old_bytes += stat.resident_bytes
        sums.has_child = sums.has_child or stat.parent == main_pid
    return sums
