"""What `--check` reads of the machine: cgroups, swap, what /proc hides, and other monitors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from memmon_systemd import arguments
from memmon_systemd.check.facts import CgroupKind, Machine, OtherMonitor
from memmon_systemd.errors import UsageError
from memmon_systemd.linux import cgroup, command_line, proc
from memmon_systemd.settings import NameKind, Settings

_GLOB: Final = frozenset("*?[")
_CAP_SYS_PTRACE: Final = 19
_HIDING: Final = ("1", "2", "4", "noaccess", "invisible", "ptraceable")
"""The values of hidepid= that hide something (the kernel's Documentation/filesystems/proc.rst)."""


def read_machine(mountinfo: str = "/proc/self/mountinfo") -> Machine:
    """What is the same for every target."""
    mounts = _read(mountinfo).splitlines()
    return Machine(_cgroup_kind(mounts, mountinfo), cgroup.physical_bytes(), _swap_bytes(), _hidepid(mounts))


def _cgroup_kind(mounts: Sequence[str], mountinfo: str) -> CgroupKind:
    hierarchy = cgroup.find_hierarchy(mountinfo)
    if hierarchy is not None and hierarchy.memory:
        return CgroupKind.V2
    kinds = [line.partition(" - ")[2].split(" ") for line in mounts]
    if any(kind[0] == "cgroup" and "memory" in kind[-1].split(",") for kind in kinds):
        return CgroupKind.V1
    return CgroupKind.NONE if hierarchy is None else CgroupKind.WITHOUT_MEMORY


def _swap_bytes() -> int:
    """All swap of the machine, by /proc/swaps: a line of headings, then one of each in KiB."""
    lines = _read("/proc/swaps").splitlines()[1:]
    return sum(int(line.split()[-3]) * 1024 for line in lines)


def _hidepid(mounts: Sequence[str]) -> str:
    """The option that hides others' processes from this one; the group of gid= (root's) sees all."""
    for line in mounts:
        mount, _, rest = line.partition(" - ")
        if mount.split(" ")[4] != "/proc" or not rest.startswith("proc "):
            continue
        options = dict(option.partition("=")[::2] for option in rest.rsplit(" ", 1)[1].split(","))
        hides = options.get("hidepid", "") in _HIDING
        exempt = int(options.get("gid", 0)) in {os.getegid(), *os.getgroups()}
        return f"hidepid={options['hidepid']}" if hides and not exempt and not _may_trace() else ""
    return ""


def _may_trace() -> bool:
    """CAP_SYS_PTRACE sees what hidepid= hides."""
    lines = _read("/proc/self/status").splitlines()
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) & 1 << _CAP_SYS_PTRACE)


@dataclass(frozen=True, slots=True)
class RunningMonitor:
    """Another memory-monitor, and what it was told to look after."""

    pid: int
    unit: str
    """The service that it runs as; "" where it is none."""
    user: bool
    """Whether it looks after units of a user's manager."""
    units: tuple[str, ...]
    """Units by their full names, and globs of them."""
    prefixes: tuple[str, ...]
    """The first letters of process names."""

    @classmethod
    def of(cls, pid: int, settings: Settings, is_loaded: Callable[[str], bool]) -> RunningMonitor:
        """A process that was given these settings; `is_loaded` says whether there is a unit."""
        units: list[str] = []
        prefixes: list[str] = []
        for name in settings.names:
            full_name = name if name.endswith(cgroup.UNIT_SUFFIXES) else f"{name}.service"
            is_unit = settings.name_kind is NameKind.UNIT or (
                settings.name_kind is NameKind.AUTO
                and (full_name == name or not _GLOB.isdisjoint(name) or is_loaded(full_name))
            )
            (units if is_unit else prefixes).append(full_name if is_unit else name)
        runs_as = cgroup.units_of(cgroup.control_group_of(pid) or "", "")
        return cls(pid, runs_as[-1] if runs_as else "", settings.user, tuple(units), tuple(prefixes))

    def monitors_unit(self, unit: str, user: bool) -> bool:
        """Whether it was given this unit."""
        return self.user == user and any(fnmatchcase(unit, name) for name in self.units)

    def monitors_process(self, pid: int) -> bool:
        """Whether one of its names is the beginning of this process's; it may mean the unit of that."""
        try:
            comm = proc.read_stat(pid).comm
            return any(command_line.is_named(pid, comm, os.fsencode(prefix)) for prefix in self.prefixes)
        except OSError:
            return False


def running_monitors(is_loaded: Callable[[str], bool]) -> list[RunningMonitor]:
    """Every other memory-monitor that this user sees and that acts."""
    found: list[RunningMonitor] = []
    own = proc.ancestors()
    for pid in proc.pids():
        try:
            words = command_line.read(pid, 65536).split(b"\0")[:-1]
        except OSError:
            continue  # It has ended, or keeps its memory map locked.
        settings = _settings_of([os.fsdecode(word) for word in words])
        if settings is not None and pid not in own and not settings.target.dry_run and not settings.check:
            found.append(RunningMonitor.of(pid, settings, is_loaded))
    return found


def others(monitors: Sequence[RunningMonitor], unit: str, pid: int, user: bool) -> tuple[OtherMonitor, ...]:
    """Those that look after a unit (or ""), or after a process of that number (or 0)."""
    return tuple(
        OtherMonitor(monitor.pid, monitor.unit)
        for monitor in monitors
        if (unit and monitor.monitors_unit(unit, user)) or (pid and monitor.monitors_process(pid))
    )


def _settings_of(words: Sequence[str]) -> Settings | None:
    """What a command line asks of memory-monitor; None where it is another program's."""
    for place, word in enumerate(words[:4]):
        if word.rpartition("/")[2] == "memory-monitor" or words[place - 1 : place + 1] == [
            "-m",
            "memmon_systemd",
        ]:
            try:
                return arguments.parse(words[place + 1 :])
            except (UsageError, SystemExit):
                return None
    return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="surrogateescape")
    except OSError:
        return ""
