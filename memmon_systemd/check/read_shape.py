"""What `--check` reads of how a unit or process is made: its cgroup's files, and /proc of its processes."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from memmon_systemd.check.facts import CONMON_FORWARDS
from memmon_systemd.check.shape import MaximumState, Shape
from memmon_systemd.check.unit_properties import UnitProperties
from memmon_systemd.linux import cgroup, proc
from memmon_systemd.linux.kernel_files import readable_lines_of
from memmon_systemd.linux.memory_stat import line_number, stat_bytes
from memmon_systemd.linux.wrapper import has_default, is_wrapper

_FORWARDER: Final = b"conmon"
"""Forwards SIGTERM, SIGINT and SIGQUIT to the first process of its container (podman)."""
_FORCED: Final = (signal.SIGKILL, signal.SIGSTOP)
"""What the first process of a PID namespace gets from outside in any case."""


def shape_of_unit(
    properties: UnitProperties, directory: Path, pids: Sequence[int], signal_number: int, *, mounts: str = ""
) -> Shape:
    """That of a unit with processes, of which `directory` is the cgroup; what can't be read isn't known."""
    main_pid = properties.service.main_pid if properties.service else 0
    return Shape(
        peak_bytes=_number_in(directory / "memory.peak"),
        shared_bytes=_shared_bytes(directory),
        mapped_bytes=max(map(_mapped_bytes, pids), default=0),
        is_wrapper=bool(main_pid) and is_wrapper(main_pid, set(pids), signal_number),
        dropped_by=dropped_by(main_pid, pids, signal_number) if main_pid else None,
        is_frozen=cgroup.is_frozen(str(directory)),
        maximum_state=_maximum_state(properties, directory, mounts or "/proc/self/mountinfo"),
    )


def dropped_by(main_pid: int, pids: Sequence[int], signal_number: int) -> str | None:
    """The process that a signal to the main one ends up at, if the kernel drops it there: as "NAME[PID]".

    The first process of a PID namespace doesn't get a signal that it has no handler for (pid_namespaces(7)).
    """
    if signal_number in _FORCED:
        return None
    try:
        for pid in (main_pid, *_forwarded_to(main_pid, pids, signal_number)):
            if _is_first_of_namespace(pid) and has_default(pid, signal_number):
                return f"{proc.read_stat(pid).comm.decode(errors='backslashreplace')}[{pid}]"
    except OSError:
        pass  # It has ended.
    return None


def _forwarded_to(main_pid: int, pids: Sequence[int], signal_number: int) -> list[int]:
    """The children that a process passes the signal on to."""
    if signal_number not in CONMON_FORWARDS or proc.read_stat(main_pid).comm != _FORWARDER:
        return []
    return [pid for pid in pids if pid != main_pid and proc.read_stat(pid).parent == main_pid]


def _is_first_of_namespace(pid: int) -> bool:
    """By NSpid of /proc/PID/status: its PID here, then in each namespace below (proc(5))."""
    numbers = proc.status_line(f"/proc/{pid}", b"\nNSpid:").split()
    return len(numbers) > 1 and numbers[-1] == b"1"


def _shared_bytes(directory: Path) -> int:
    try:
        stat = bytearray(b"\n" + (directory / "memory.stat").read_bytes())
        return stat_bytes(stat, len(stat), b"shmem")
    except (OSError, ValueError):
        return 0


def _mapped_bytes(pid: int) -> int:
    try:
        return proc.kib_field(b":" + proc.status_line(f"/proc/{pid}", b"\nRssShmem:"), b":")
    except OSError:
        return 0  # It has ended.


def _number_in(path: Path) -> int | None:
    try:
        return line_number(path.read_bytes(), path.name)
    except (OSError, ValueError):
        return None  # memory.peak is there from Linux 5.19 on; memory.limit_in_bytes has "max" nowhere.


def _maximum_state(properties: UnitProperties, directory: Path, mountinfo: str) -> MaximumState:
    """Whether the unit's own MemoryMax= is in the file of a cgroup."""
    if properties.memory_max_bytes is None or (directory / "memory.max").exists():
        return MaximumState.AS_SET
    where = _v1_memory(mountinfo)
    if where is not None and properties.control_group is not None:
        limit_bytes = _number_in(where / properties.control_group[1:] / "memory.limit_in_bytes")
        # Without a limit the file has the highest number; a limit is rounded down to pages.
        if limit_bytes is not None and limit_bytes <= properties.memory_max_bytes:
            return MaximumState.BY_V1
    return MaximumState.NOT_IN_FORCE


def _v1_memory(mountinfo: str) -> Path | None:
    """Where the memory controller of cgroup v1 is mounted."""
    for line in readable_lines_of(mountinfo):
        mount, _, rest = line.partition(" - ")
        kind, _, options = rest.partition(" ")
        if kind == "cgroup" and "memory" in options.rpartition(" ")[2].split(","):
            return Path(mount.split(" ")[4])
    return None
