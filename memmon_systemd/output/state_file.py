"""The state file: what a monitor tells others of its targets, and what its successor goes on with.

It is mapped, and taken as a whole when the monitor starts; from then on writing is storing into memory. No
side waits for the other: how a reader sees what was half written is in `state_format`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from memmon_systemd.output import state_format
from memmon_systemd.output.record import GONE, MonitorRecord, Record
from memmon_systemd.output.state_format import Cell, UnknownFormError
from memmon_systemd.output.state_values import get_monitor, get_target, put_monitor, put_target

SUFFIX: Final = ".state"
_MODE: Final = 0o644
"""What it says, `systemctl status` shows to everybody as well."""


class StateFile:
    """The file of this monitor, for as long as it runs."""

    __slots__ = ("_cells", "_count", "_free", "_gone", "_head", "_monitor", "_room", "_view", "path")

    def __init__(self, path: str, view: memoryview, monitor: MonitorRecord, cells: int) -> None:
        """A file that is mapped as `view`; see `create`."""
        self.path = path
        self._view = view
        self._count = cells
        self._monitor = monitor
        self._head = state_format.head_cell(view)
        self._free = [state_format.cell(view, number) for number in reversed(range(cells))]
        self._cells: dict[str, Cell] = {}
        self._gone: dict[str, None] = {}
        """The names that aren't monitored now, the longest gone first: their cells are taken next."""
        self._room = state_format.room_for(state_format.CELL_BYTES)
        self._tell_of_itself()

    def keep(self, record: Record) -> bool:
        """Write what is known of a target, if that has changed; False where there is no cell left for it."""
        name = record.name
        cell = self._cells.get(name)
        if cell is None:
            cell = self._take()
            if cell is None:
                return False
            self._cells[name] = cell
        self._gone.pop(name, None)
        put_target(self._room, record)
        cell.write(self._room)
        return True

    def forget(self, name: str) -> None:
        """A target isn't monitored any more; of a unit that was asked something, that is kept for a while."""
        past = self.past(name)
        if past is None:
            return
        cell = self._cells[name]
        if _is_worth_keeping(past):
            self._gone[name] = None
            put_target(self._room, _gone(past))
        else:
            del self._cells[name]
            self._free.append(cell)
            put_target(self._room, Record(""))
        cell.write(self._room)

    def past(self, name: str) -> Record | None:
        """What is known of a target, by this monitor or the one before it."""
        cell = self._cells.get(name)
        return None if cell is None else get_target(cell.values)

    def take_over(self, records: Iterable[Record]) -> None:
        """Keep what a monitor of the same name knew of units: where not all fits, of those asked last."""
        known = [
            one for one in records if _is_worth_keeping(one) or (one.is_unit and one.begun_s is not None)
        ]
        known.sort(key=lambda record: record.last_request_s or 0.0, reverse=True)
        for record in reversed(known[: len(self._free)]):
            # As it is: which invocation was asked what is what matters.
            self.keep(replace(record, state=GONE, cgroup=""))
            self._gone[record.name] = None

    def expect(self, targets: int) -> str | None:
        """Whether there is room for so many targets: why not, else None."""
        return None if targets <= self._count else f"there is room for {self._count} of {targets} units"

    def grown(self, cells: int, map_file: Callable[[int, int], memoryview]) -> StateFile:
        """A file of more cells with all that is in this one, at the same path; OSError: this one stays."""
        return create(self.path, self._monitor, cells, map_file, self)

    def close(self) -> memoryview:
        """Let go of the file, which another one has replaced: what was mapped, and can be unmapped now."""
        self._free.clear()
        self._cells.clear()
        view = self._view
        del self._view, self._head
        return view

    def _copy(self, before: StateFile) -> None:
        for name, cell in before._cells.items():
            copied = self._cells[name] = self._free.pop()
            self._room[:] = cell.values
            copied.write(self._room)
        self._gone.update(before._gone)

    def lack(self, unrecorded: int) -> None:
        """Say how many targets have no cell."""
        if unrecorded != self._monitor.unrecorded:
            self._monitor = replace(self._monitor, unrecorded=unrecorded)
            self._tell_of_itself()

    def end(self) -> None:
        """Say that the monitor has ended by itself."""
        self._monitor = replace(self._monitor, has_ended=True)
        self._tell_of_itself()

    def _tell_of_itself(self) -> None:
        room = state_format.room_for(state_format.head_span()[1])
        put_monitor(room, self._monitor)
        self._head.write(room)

    def _take(self) -> Cell | None:
        if self._free:
            return self._free.pop()
        name = next(iter(self._gone), None)
        if name is None:
            return None
        del self._gone[name]
        return self._cells.pop(name)


def create(
    path: str,
    monitor: MonitorRecord,
    cells: int,
    map_file: Callable[[int, int], memoryview],
    before: StateFile | None = None,
) -> StateFile:
    """A new file of so many cells, in place of whatever is at the path, with what `before` has; OSError.

    `map_file` maps a descriptor for reading and writing. The file appears at the path when it is whole, and
    never gets shorter: a reader may have it open.
    """
    size_bytes = state_format.file_bytes(cells)
    unfinished = f"{path}.{monitor.pid}"
    with suppress(FileNotFoundError):
        os.unlink(unfinished)
    descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        os.fchmod(descriptor, _MODE)  # Whatever the umask is.
        # Taken here: where /run is full a store into a page that isn't there would be SIGBUS.
        os.posix_fallocate(descriptor, 0, size_bytes)
        view = map_file(descriptor, size_bytes)
        begin = state_format.prefix(cells)
        view[: len(begin)] = begin
        file = StateFile(path, view, monitor, cells)
        if before is not None:
            file._copy(before)
        os.rename(unfinished, path)
    except OSError:
        os.unlink(unfinished)
        raise
    finally:
        os.close(descriptor)
    return file


def rehearsal(monitor: MonitorRecord) -> StateFile:
    """One in plain memory that nobody sees, with room for one target."""
    return StateFile("", memoryview(bytearray(state_format.file_bytes(1))), monitor, 1)


def records_in(data: bytes) -> tuple[MonitorRecord | None, list[Record], list[int]]:
    """Who wrote the file, its records, and the numbers of the cells that are torn; UnknownFormError.

    None where what is said of the monitor is torn.
    """
    cells = state_format.cells_of(data)
    offset, size = state_format.head_span()
    head = state_format.values_of(data[offset : offset + size])
    records: list[Record] = []
    torn: list[int] = []
    for number in range(cells):
        offset, size = state_format.span(number)
        values = state_format.values_of(data[offset : offset + size])
        if values is None:
            torn.append(number)
        elif values and (record := get_target(values)).name:
            records.append(record)
    return (get_monitor(head) if head else None), records, torn


def read(path: str) -> bytes:
    """A whole file, as far as it may be one that a monitor wrote; OSError, UnknownFormError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        size_bytes = os.fstat(descriptor).st_size
        if size_bytes > state_format.LARGEST_FILE_BYTES:
            raise UnknownFormError(f"it is too large: {size_bytes} bytes")
        return os.pread(descriptor, size_bytes, 0)
    finally:
        os.close(descriptor)


def _is_worth_keeping(record: Record) -> bool:
    return record.is_unit and bool(record.requests or record.budget_times_s)


def _gone(past: Record) -> Record:
    """What is kept of a unit that isn't monitored now."""
    return replace(
        past,
        state=GONE,
        hold=None,
        cgroup="",
        metric=None,
        begun_s=None,
        first_asked_s=None,
        asked_s=None,
        paused_until_s=None,
    )
