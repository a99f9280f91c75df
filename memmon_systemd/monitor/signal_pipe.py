"""Lets a signal wake the loop: Python's own handlers only run once poll(2) has returned by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from memmon_systemd.monitor.poller import Poller

_MOST_TAKEN: Final = 64
"""Signals at a time; the next wait takes the others."""


class SignalPipe:
    """A pipe that is written at each signal with a handler of Python's (signal.set_wakeup_fd)."""

    __slots__ = ("_read", "_taken", "_write")

    def __init__(self, poller: Poller) -> None:
        """Has `poller` wake up at signals from now on."""
        self._read, self._write = os.pipe2(os.O_NONBLOCK) if hasattr(os, "pipe2") else _pipe()
        self._taken = (bytearray(_MOST_TAKEN),)
        poller.watch(self._read, self)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def wake(self, now_s: float) -> None:
        """Take what the signals wrote: while a byte is in the pipe, poll(2) returns at once."""
        del now_s
        with suppress(BlockingIOError):
            os.readv(self._read, self._taken)

    def rehearse(self) -> None:
        """Write as a signal does; the next wait takes it."""
        os.write(self._write, b"\0")


def _pipe() -> Sequence[int]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends
