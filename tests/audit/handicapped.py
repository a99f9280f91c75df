"""memory-monitor without one of the things that keep its promise: the audit shows that each is needed.

    python3 handicapped.py WITHOUT[,WITHOUT...] ARGUMENTS...

The arguments are memory-monitor's; it is the real one, but for what it goes without:

    rehearsal    no path is walked before READY
    reserve      no memory is taken and kept for later
    lock         nothing is locked
    start-up     what start-up touched is evicted before the rehearsal: only what that needs comes back
"""

import ctypes
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from memmon_systemd import cli, settle
from memmon_systemd.libc import Libc

KINDS: Final = ("rehearsal", "reserve", "lock", "start-up")
_MADV_PAGEOUT: Final = 21


def main() -> int:
    """memory-monitor's exit status."""
    without = sys.argv[1].split(",")
    unknown = set(without) - set(KINDS)
    if unknown:
        sys.exit(f"handicapped.py: {', '.join(unknown)}: use {', '.join(KINDS)}")
    del sys.argv[1]
    real_settle = settle.settle

    def settle_without(libc: Libc, rehearse: Callable[[], None]) -> object:
        if "start-up" in without:
            evict_this_process()
        return real_settle(libc, nothing if "rehearsal" in without else rehearse)

    replace(settle, "settle", settle_without)
    if "reserve" in without:
        replace(settle, "Reserve", nothing)
        replace(Libc, "keep_freed_memory", lambda _: True)
    if "lock" in without:
        replace(Libc, "lock_memory", nothing)
        replace(Libc, "lock_range", nothing)
    return cli.main()


def nothing(*_: object) -> None:
    """Instead of what is gone without."""


def replace(owner: object, name: str, value: object) -> None:
    """Put something else in the place of what must be there."""
    getattr(owner, name)
    setattr(owner, name, value)


def evict_this_process() -> None:
    """Have the kernel take all that can be read again from files; anonymous memory stays without swap."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for line in Path("/proc/self/maps").read_text().splitlines():
        if re.search(r"\[v\w+\]$", line):
            continue
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if libc.madvise(start, end - start, _MADV_PAGEOUT) != 0:
            raise OSError(ctypes.get_errno(), f"{line}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    sys.exit(main())
