"""The end of start-up: from here on no memory is allocated.

What Python, libc and libsystemd need for a moment comes from memory that was taken, touched and locked
here. Measured on CPython 3.11 and glibc 2.36, 50 rounds of 2 MB of small and 1 MB of large objects:
107 mmap or munmap, 197 brk and 23,763 page faults before, none of any after.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from memmon_systemd.imports import forget_inspect
from memmon_systemd.linux.kernel_files import lines_of
from memmon_systemd.linux.libc import Libc

FEW_BYTES: Final = 320 * 1024
"""For targets that are known by name."""
_UNITS_BYTES: Final = 1024 * 1024
"""For 1,000 units that come at once, of which 300 are configured; with what is left of the arenas."""
_UNIT_BYTES: Final = 2048
"""What one of these 300 takes; those that are there at the start have taken it already."""
_CHANGES_BYTES: Final = 704 * 1024
"""For 300 units that get other settings, or 2,000 that restart, 600 of them configured, at the same time.

With 512 KiB there were 16 page faults in 100 reloads of 300 units.
"""
PROCESSES_BYTES: Final = 1536 * 1024
"""For 2,000 processes that come at once, likewise."""
_LARGE_BYTES: Final = 640 * 1024
"""libsystemd 257 takes 260 KiB for a connection, and pystemd keeps one that was lost during a call."""
_BLOCK_BYTES: Final = 400
_LOCKED_WHOLE: Final = ("/ld-", "/libc.so", "/libsystemd.so", "/pystemd/")
_ARENA_PART_BITS: Final = 18
"""An arena of pymalloc is 256 KiB (2^18) or more; a block kept in each part keeps it mapped."""


_POOL_BYTES: Final = 16 * 1024
"""A pool of pymalloc, which is aligned to its size (POOL_BITS of CPython 3.10 to 3.13)."""
_ENTRY_BYTES: Final = 8
_PRESENT: Final = 0x80


def bytes_for_units(present: int) -> int:
    """For units that come later and are found, where so many are monitored already."""
    return max(_UNITS_BYTES - present * _UNIT_BYTES, _CHANGES_BYTES)


class Reserve:
    """Memory that stays with this process; it must be kept as long as that runs."""

    __slots__ = ("_pins",)

    def __init__(self, libc: Libc, small_bytes: int) -> None:
        """Take it and touch it; `small_bytes` are for objects of up to 512 bytes."""
        self._pins = _fill_arenas(small_bytes)
        block = bytearray(b"\1") * _LARGE_BYTES
        del block
        libc.touch_stack()


@dataclass(frozen=True, slots=True)
class Mapping:
    """A range of this process's addresses that is backed alike."""

    start: int
    size_bytes: int
    permissions: str
    path: str
    """The file, "[heap]", "[stack]" or the like, or nothing."""
    anonymous_kib: int
    """So much of it isn't, or no more, what a file holds."""

    @classmethod
    def parse(cls, line: str, anonymous_kib: int) -> Mapping:
        """From the first of its lines in /proc/PID/smaps."""
        addresses, permissions, _offset, _device, _inode, *path = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in addresses.split("-"))
        return cls(start, end - start, permissions, path[0] if path else "", anonymous_kib)

    @property
    def is_file(self) -> bool:
        """Whether a file is mapped here."""
        return self.path.startswith("/")

    @property
    def is_writable(self) -> bool:
        """Whether this process may write here."""
        return self.permissions.startswith("rw")


def reserve_and_lock(
    libc: Libc, rehearse: Callable[[], None], small_bytes: int
) -> tuple[Reserve, Sequence[str]]:
    """Rehearse every path, take the reserve and lock it all; and a sentence for each thing that was refused.

    Twice: the first rehearsal takes what the second would have had to ask for. `small_bytes` are for targets
    that come later: FEW_BYTES, or what as many take as can come at once.
    """
    problems = []
    if not libc.keep_freed_memory():
        problems.append("mallopt(3) refused: freed memory may be given back")
    if not libc.refuse_huge_pages():
        problems.append("prctl(2) refused: the kernel may make huge pages of this memory: page faults")
    rehearse()
    forget_inspect()
    gc.collect()
    gc.freeze()
    reserve = Reserve(libc, small_bytes)
    try:
        _drop_pages_of_files(libc, _mappings())
        libc.lock_memory()
        _lock_whole(libc, _mappings())
    except OSError as error:
        problems.append(
            f"memory isn't locked ({error.strerror}): when memory is short this may be slow;"
            " set LimitMEMLOCK=64M in the unit, or give CAP_IPC_LOCK"
        )
    rehearse()
    return reserve, problems


def _drop_pages_of_files(libc: Libc, mappings: Sequence[Mapping]) -> None:
    """Let go of the code that start-up has used: the rehearsal fetches what is used from now on.

    1.0 MB of 6.5 MB (Debian 12). They stay in the page cache until somebody needs that memory.
    """
    for mapping in mappings:
        # Only code: of constants start-up has touched what the rarer ways need, too (0.3 MB more).
        if mapping.is_file and mapping.permissions == "r-xp" and not mapping.anonymous_kib:
            libc.drop_range(mapping.start, mapping.size_bytes)


def _fill_arenas(total_bytes: int) -> tuple[bytes, ...]:
    blocks = [bytes(_BLOCK_BYTES) for _ in range(total_bytes // _BLOCK_BYTES)]
    return tuple({id(block) >> _ARENA_PART_BITS: block for block in blocks}.values())


def _lock_whole(libc: Libc, mappings: Sequence[Mapping]) -> None:
    """Touch and lock what can be written to of files and the heap, the C library and the D-Bus client.

    Rehearsed or not. Of other anonymous memory the pools that were touched are. What isn't is the rest of the
    last arena, which pymalloc takes after all that the reserve has touched, and its map of arenas, of which a
    few entries are used: 0.9 MB (Debian 12).
    What a bus can answer, and a system call, is too much to be rehearsed; the two take 0.8 MB more this way.
    The dynamic loader binds each function of theirs when it is first called: 0.2 MB.
    Other code is locked as far as the rehearsals have run it: to lock all that is mapped would cost 5 to 7 MB
    more, nearly all of it parts of libpython that nothing here runs.
    """
    for mapping in mappings:
        may_be_written = mapping.is_writable and (mapping.is_file or mapping.path == "[heap]")
        if may_be_written or any(part in mapping.path for part in _LOCKED_WHOLE):
            libc.lock_range(mapping.start, mapping.size_bytes)
        elif mapping.is_writable and not mapping.path:
            for start, end in _touched_pools(mapping):
                libc.lock_range(start, end - start)


def _touched_pools(mapping: Mapping) -> Iterator[tuple[int, int]]:
    """The pools of which a page is in memory, whole: start and end (/proc/PID/pagemap in proc(5)).

    pymalloc takes pool by pool, and touches a pool as it hands out its blocks.
    """
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
        pagemap.seek(mapping.start // page_bytes * _ENTRY_BYTES)
        entries = pagemap.read(mapping.size_bytes // page_bytes * _ENTRY_BYTES)
    highest_bytes = entries[_ENTRY_BYTES - 1 :: _ENTRY_BYTES]
    end = mapping.start + mapping.size_bytes
    touched = (
        mapping.start + page * page_bytes for page, bits in enumerate(highest_bytes) if bits & _PRESENT
    )
    for start in dict.fromkeys(address & -_POOL_BYTES for address in touched):
        yield max(start, mapping.start), min(start + _POOL_BYTES, end)


def _mappings() -> list[Mapping]:
    """What this process has mapped now (/proc/PID/smaps in proc(5))."""
    found: list[Mapping] = []
    begins = ""
    for line in lines_of("/proc/self/smaps"):
        first, *rest = line.split()
        if not first.endswith(":"):
            begins = line
        elif first == "Anonymous:":
            found.append(Mapping.parse(begins, int(rest[0])))
    return found
