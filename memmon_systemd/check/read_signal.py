"""What a process does with a signal, by the masks in /proc/PID/status (proc(5))."""

from __future__ import annotations

import signal

from memmon_systemd.linux import proc
from memmon_systemd.systemd.restart_rules import END_SIGNALS, Disposition

_MOST_BYTES = 65536
"""The list of groups comes before the masks, and may be long."""


def disposition(pid: int, signal_number: int) -> Disposition:
    """What process `pid` does with a signal; UNKNOWN where there is none, or its file can't be read."""
    try:
        # splitlines() would also break at "\r", which names may hold.
        lines = proc.read(f"/proc/{pid}/status", _MOST_BYTES).split(b"\n")
    except OSError:
        return Disposition.UNKNOWN
    masks = dict(
        line.split(b":\t", 1) for line in lines if line.startswith((b"SigBlk", b"SigIgn", b"SigCgt"))
    )
    bit = 1 << (signal_number - 1)

    def has(mask: bytes) -> bool:
        return bool(int(masks.get(mask, b"0"), 16) & bit)

    if len(masks) != 3:
        return Disposition.UNKNOWN
    if has(b"SigIgn"):
        return Disposition.IGNORED
    # Blocked: it waits for the signal by sigwait(3) or a signalfd(2).
    return Disposition.HANDLED if has(b"SigCgt") or has(b"SigBlk") else Disposition.DEFAULT


def obeyed(pid: int) -> tuple[int, ...]:
    """Of the signals that end a program by its own code, those that process `pid` doesn't ignore."""
    asking = (number for number in END_SIGNALS if number not in (signal.SIGABRT, signal.SIGKILL))
    acting = (Disposition.HANDLED, Disposition.DEFAULT)
    return tuple(int(number) for number in asking if disposition(pid, number) in acting)
