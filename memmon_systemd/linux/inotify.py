"""What inotify tells, as it writes it (inotify(7))."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Final

_HEADER: Final = struct.Struct("iIII")
"""struct inotify_event: watch, mask, cookie, length of the name."""
_READ_BYTES: Final = 16384


def events(descriptor: int) -> Iterator[tuple[int, str]]:
    """The masks and names of all that has come since the last call; OSError."""
    while True:
        try:
            buffer = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        yield from parsed(buffer)


def parsed(buffer: bytes) -> Iterator[tuple[int, str]]:
    """The mask and the name of each event."""
    at = 0
    while at < len(buffer):
        _, mask, _, length = _HEADER.unpack_from(buffer, at)
        at += _HEADER.size
        yield mask, os.fsdecode(buffer[at : at + length].rstrip(b"\0"))
        at += length


def event(mask: int, name: bytes) -> bytes:
    """An event of a name of up to 15 bytes, for a rehearsal."""
    return _HEADER.pack(0, mask, 0, 16) + name.ljust(16, b"\0")
