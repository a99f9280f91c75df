"""A way out of reads that may never return.

/proc/PID/cmdline and smaps_rollup wait for the lock of that process' memory map. Its owner can hold that for
ever: a mapping of a FUSE file whose server doesn't answer is enough.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

T = TypeVar("T")

_ONE_READ_S: Final = 1.0
_ALL_READS_S: Final = 4.0
"""What all reads that don't return may take together: there can be many such processes."""
_SHORTEST_S: Final = 0.02
"""A read that returns takes less than a millisecond."""


class Patience:
    """Waits for reads in threads, which end with the process if they don't end before."""

    __slots__ = ("_left_s",)

    def __init__(self) -> None:
        self._left_s = _ALL_READS_S

    def read(self, function: Callable[[], T], longest_s: float = _ONE_READ_S) -> T:
        """What `function` gives, or raises; TimeoutError where it doesn't return in time."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except Exception as error:  # raised again where the value is asked for
                future.set_exception(error)

        longest_s = max(min(longest_s, self._left_s), _SHORTEST_S)
        began_s = time.monotonic()
        threading.Thread(target=run, daemon=True).start()
        try:
            return future.result(longest_s)
        except TimeoutError:
            if future.done():
                raise
            self._left_s -= time.monotonic() - began_s
            raise TimeoutError(errno.ETIMEDOUT, f"no answer within {longest_s:.2g} s") from None
