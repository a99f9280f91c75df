"""How records are laid out in a state file: a head, then as many cells of one size as the head says.

A cell has a counter, the values, their CRC-32, and the counter again. Whoever writes counts the first one up,
writes the values, and then the last one: a reader that sees two different counters, or another sum, reads
again. Numbers are in the order of the machine, which is the one that reads them.
"""

from __future__ import annotations

import struct
from binascii import crc32
from typing import Final

from memmon_systemd.output.state_values import HEAD, TARGET

MAGIC: Final = b"MEMMONST"
FORM: Final = 1
"""Counted up when the layout changes."""

_COUNTER: Final = struct.Struct("@Q")
_SUM: Final = struct.Struct("@Q")
_PREFIX: Final = struct.Struct("=8sIIII")
"""Magic, form, bytes of the head, bytes of a cell, number of cells: the same in every form."""
_CELL_BYTES_STEP: Final = 64


def _cell_bytes(values: struct.Struct) -> int:
    least = _COUNTER.size + values.size + _SUM.size + _COUNTER.size
    return -(-least // _CELL_BYTES_STEP) * _CELL_BYTES_STEP


CELL_BYTES: Final = _cell_bytes(TARGET)
_HEAD_CELL_BYTES: Final = _cell_bytes(HEAD)
HEAD_BYTES: Final = _CELL_BYTES_STEP + _HEAD_CELL_BYTES
"""The prefix, then a cell for what is known of the monitor."""
LARGEST_FILE_BYTES: Final = 64 << 20


class UnknownFormError(ValueError):
    """A file that isn't what this version writes: the sentence says what it is."""


def file_bytes(cells: int) -> int:
    """The size of a file with so many cells."""
    return HEAD_BYTES + cells * CELL_BYTES


def prefix(cells: int) -> bytes:
    """How a file with so many cells begins."""
    return _PREFIX.pack(MAGIC, FORM, HEAD_BYTES, CELL_BYTES, cells)


def cells_of(data: bytes) -> int:
    """How many cells a file has; UnknownFormError where it is none of this version, or cut off."""
    if len(data) < _PREFIX.size or data[: len(MAGIC)] != MAGIC:
        raise UnknownFormError("it is no state file of memory-monitor")
    _, form, head_bytes, cell_bytes, cells = _PREFIX.unpack_from(data)
    if form != FORM:
        raise UnknownFormError(f"it is of form {form}, which another version of memory-monitor writes")
    if (head_bytes, cell_bytes) != (HEAD_BYTES, CELL_BYTES):
        raise UnknownFormError(f"its records have {cell_bytes} bytes where this version has {CELL_BYTES}")
    if len(data) < file_bytes(cells):
        raise UnknownFormError(f"it is cut off: {len(data)} of {file_bytes(cells)} bytes")
    return int(cells)


class Cell:
    """One cell of a mapped file, for its only writer."""

    __slots__ = ("_values", "_view")

    def __init__(self, view: memoryview) -> None:
        """The cell that fills `view`."""
        self._view = view
        self._values = view[_COUNTER.size : len(view) - _SUM.size - _COUNTER.size]

    def write(self, values: bytearray) -> bool:
        """Write the values, which fill the cell, unless they are there already; whether they weren't."""
        view = self._view
        (count,) = _COUNTER.unpack_from(view)
        if count and values == self._values:
            return False
        end = len(view) - _COUNTER.size
        _COUNTER.pack_into(view, 0, count + 1)
        self._values[:] = values
        _SUM.pack_into(view, end - _SUM.size, crc32(values))
        _COUNTER.pack_into(view, end, count + 1)
        return True

    @property
    def values(self) -> bytes:
        """What is in it."""
        return bytes(self._values)


def head_cell(view: memoryview) -> Cell:
    """The cell of the head of a mapped file."""
    return Cell(view[_CELL_BYTES_STEP:HEAD_BYTES])


def cell(view: memoryview, number: int) -> Cell:
    """One of the others."""
    return Cell(view[file_bytes(number) : file_bytes(number + 1)])


def values_of(data: bytes) -> bytes | None:
    """The values of a cell that was read; empty where nothing was written yet; None: torn, read it again."""
    (first,) = _COUNTER.unpack_from(data)
    (last,) = _COUNTER.unpack_from(data, len(data) - _COUNTER.size)
    if first != last:
        return None
    if not first:
        return b""
    end = len(data) - _COUNTER.size - _SUM.size
    values = data[_COUNTER.size : end]
    (total,) = _SUM.unpack_from(data, end)
    return values if total == crc32(values) else None


def head_span() -> tuple[int, int]:
    """Where the cell of the head is in a file: offset and size in bytes."""
    return _CELL_BYTES_STEP, _HEAD_CELL_BYTES


def span(number: int) -> tuple[int, int]:
    """Where one of the others is."""
    return file_bytes(number), CELL_BYTES


def room_for(cell_bytes: int) -> bytearray:
    """As much as the values of a cell of this size take."""
    return bytearray(cell_bytes - 2 * _COUNTER.size - _SUM.size)
