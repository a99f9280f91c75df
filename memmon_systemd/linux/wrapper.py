"""Whether a main process is only a wrapper: it ends by the signal, and its children have the memory.

A shell that waits for a program is one (`ExecStart=/bin/sh -c "setup; program"`): it has no handler
for SIGTERM, ends at once, and tells its child nothing. By stat, statm and status of /proc/PID alone, which
wait for nobody (proc(5)); /proc/PID/exe isn't shown to a process with CAP_KILL only.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from memmon_systemd.linux import proc

_MASKS: Final = (b"\nSigBlk:", b"\nSigIgn:", b"\nSigCgt:")


def is_wrapper(main_pid: int, pids: Collection[int], signal_number: int) -> bool:
    """Whether process `main_pid` would leave others of `pids` behind, which use more than it does.

    False where it handles the signal, for then it may well stop them; and where it has ended.
    """
    try:
        if not _has_child(main_pid, pids) or not has_default(main_pid, signal_number):
            return False
        main_bytes = proc.rss_bytes(main_pid)
    except OSError:
        return False
    return 2 * main_bytes < proc.total_rss_bytes(pids)


def has_old_memory(main_pid: int, pids: Collection[int]) -> bool:
    """Whether processes that are older than the main one use more than half of what all of `pids` use.

    An earlier invocation left them; another restart won't end them either. By one read of stat for each.
    """
    try:
        main_ticks = proc.read_stat(main_pid).start_ticks
    except OSError:
        return False  # It has ended.
    total_bytes = old_bytes = 0
    for pid in pids:
        try:
            stat = proc.read_stat(pid)
        except OSError:
            continue
        total_bytes += stat.resident_bytes
        if stat.start_ticks < main_ticks:
            old_bytes += stat.resident_bytes
    return 2 * old_bytes > total_bytes


def has_default(pid: int, signal_number: int) -> bool:
    """Whether a process neither handles, nor ignores, nor waits for (blocks) a signal; OSError."""
    bit = 1 << (signal_number - 1)
    return not any(int(proc.status_line(f"/proc/{pid}", mask) or b"0", 16) & bit for mask in _MASKS)


def _has_child(main_pid: int, pids: Collection[int]) -> bool:
    for pid in pids:
        try:
            if proc.read_stat(pid).parent == main_pid:
                return True
        except OSError:
            continue  # It has ended.
    return False
