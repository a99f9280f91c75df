"""The end of start-up: from here on nobody is asked for memory.

What Python, libc and libsystemd need for a moment comes from memory that was taken, touched and locked
here. Measured on CPython 3.11 and glibc 2.36, 50 rounds of 2 MB of small and 1 MB of large objects:
107 mmap or munmap, 197 brk and 23,763 page faults before, none of any after.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Final

from memmon_systemd.libc import Libc

_SMALL_BYTES: Final = 768 * 1024
_LARGE_BYTES: Final = 512 * 1024
_BLOCK_BYTES: Final = 400
_ARENA_PART_BITS: Final = 18
"""An arena of pymalloc is 256 KiB (2^18) or more; a block kept in each part keeps it mapped."""


class Reserve:
    """Memory that stays with this process; it must be kept as long as that runs."""

    __slots__ = ("_pins",)

    def __init__(self, libc: Libc) -> None:
        """Take it and touch it."""
        self._pins = _fill_arenas(_SMALL_BYTES)
        block = bytearray(b"\1") * _LARGE_BYTES
        del block
        libc.touch_stack()


def settle(libc: Libc, rehearse: Callable[[], None]) -> tuple[Reserve, str]:
    """Rehearse every path, take the reserve and lock it all; what could not be had, or "" .

    Twice: the first rehearsal takes what the second would have had to ask for.
    """
    problem = "" if libc.keep_freed_memory() else "mallopt(3) refused: freed memory may be given back"
    rehearse()
    gc.collect()
    gc.freeze()
    reserve = Reserve(libc)
    try:
        libc.lock_memory()
        _lock_writable(libc)
    except OSError as error:
        problem = (
            f"memory isn't locked ({error.strerror}): when memory is short this may be slow;"
            " set LimitMEMLOCK=64M in the unit, or give CAP_IPC_LOCK"
        )
    rehearse()
    return reserve, problem


def _fill_arenas(total_bytes: int) -> tuple[bytes, ...]:
    blocks = [bytes(_BLOCK_BYTES) for _ in range(total_bytes // _BLOCK_BYTES)]
    return tuple({id(block) >> _ARENA_PART_BITS: block for block in blocks}.values())


def _lock_writable(libc: Libc) -> None:
    """Touch and lock all that can be written to, rehearsed or not: 1 to 2 MB.

    Code is locked as far as start-up and the rehearsals have run it. To lock all that is mapped would
    cost 6 to 8 MB more, nearly all of it parts of libpython and libc that nothing here runs.
    """
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, permissions, *_ = line.split()
        if permissions.startswith("rw") and not line.endswith("[stack]"):
            start, end = (int(part, 16) for part in addresses.split("-"))
            libc.lock_range(start, end - start)
