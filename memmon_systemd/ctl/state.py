"""Reads the state files of all monitors, without waiting for any of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from memmon_systemd.keeping import is_running
from memmon_systemd.output import pause_file, state_file
from memmon_systemd.output.record import GONE, MonitorRecord, Record
from memmon_systemd.output.state_format import UnknownFormError

_TRIES: Final = 50
_PAUSE_S: Final = 0.001
"""A monitor writes a record within some microseconds, unless it is stopped or waits for the processor."""


@dataclass(frozen=True, slots=True)
class MonitorState:
    """A monitor and its targets, as its file says."""

    path: str
    monitor: MonitorRecord
    records: Sequence[Record]
    torn: int
    """How many records can't be read: the monitor was killed while it wrote them."""
    is_running: bool

    @property
    def pause_path(self) -> str:
        """Where it is told what is paused."""
        return self.path.removesuffix(state_file.SUFFIX) + pause_file.SUFFIX

    @property
    def targets(self) -> list[Record]:
        """Those that it monitors now."""
        return [record for record in self.records if record.state != GONE]

    def matching(self, pattern: str) -> list[Record]:
        """The targets of this name, or that the glob matches."""
        return [one for one in self.targets if one.name == pattern or fnmatchcase(one.name, pattern)]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that isn't understood."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class States:
    """All that the files say."""

    monitors: Sequence[MonitorState]
    unreadable: Sequence[Unreadable]

    @property
    def running(self) -> list[MonitorState]:
        """The monitors that run."""
        return [state for state in self.monitors if state.is_running]

    @property
    def names(self) -> list[str]:
        """All that is monitored."""
        return sorted({record.name for state in self.running for record in state.targets})


def read_states(directories: Iterable[str]) -> States:
    """The state of every monitor that has a file in one of these directories, or one directory below."""
    monitors: list[MonitorState] = []
    unreadable: list[Unreadable] = []
    for path in sorted({path for directory in directories for path in _files(directory, unreadable)}):
        try:
            state = read_state(path)
        except FileNotFoundError:
            continue  # It has ended since.
        except OSError as error:
            unreadable.append(Unreadable(path, error.strerror or str(error)))
        except UnknownFormError as error:
            unreadable.append(Unreadable(path, str(error)))
        else:
            monitors.append(state)
    return States(monitors, unreadable)


def read_state(path: str) -> MonitorState:
    """One file. OSError; UnknownFormError where it says nothing of a monitor."""
    for _ in range(_TRIES):
        monitor, records, torn = state_file.records_in(state_file.read(path))
        if monitor is not None and not torn:
            break
        if monitor is not None and not is_running(monitor):
            break  # Nobody will finish what is half written.
        time.sleep(_PAUSE_S)
    if monitor is None:
        raise UnknownFormError("what it says of its monitor is half written")
    return MonitorState(path, monitor, records, len(torn), is_running(monitor))


def _files(directory: str, unreadable: list[Unreadable], *, is_top: bool = True) -> Iterable[str]:
    try:
        with os.scandir(directory) as scanned:
            entries = list(scanned)
    except FileNotFoundError:
        return
    except OSError as error:
        unreadable.append(Unreadable(directory, error.strerror or str(error)))
        return
    for entry in entries:
        if entry.name.endswith(state_file.SUFFIX):
            yield entry.path
        elif is_top and entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path, unreadable, is_top=False)
