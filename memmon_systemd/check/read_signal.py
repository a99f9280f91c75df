"""What a process does with a signal that ends programs."""

from __future__ import annotations

import signal

from memmon_systemd.linux.signal_masks import SignalMasks, signal_masks
from memmon_systemd.systemd.restart_rules import END_SIGNALS, Disposition


def disposition(pid: int, signal_number: int) -> Disposition:
    """What process `pid` does with a signal; UNKNOWN where there is none, or its file can't be read."""
    try:
        return _disposition(signal_masks(pid), signal_number)
    except OSError:
        return Disposition.UNKNOWN


def obeyed(pid: int) -> tuple[int, ...]:
    """Of the signals that end a program by its own code, those that process `pid` doesn't ignore."""
    try:
        masks = signal_masks(pid)
    except OSError:
        return ()
    asking = (number for number in END_SIGNALS if number not in (signal.SIGABRT, signal.SIGKILL))
    return tuple(int(number) for number in asking if not masks.ignores(number))


def _disposition(masks: SignalMasks, signal_number: int) -> Disposition:
    if masks.ignores(signal_number):
        return Disposition.IGNORED
    return Disposition.HANDLED if masks.handles(signal_number) else Disposition.DEFAULT
