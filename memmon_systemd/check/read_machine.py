"""What `--check` reads of the machine: cgroups, swap, and what /proc hides."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from memmon_systemd.check.facts import CgroupKind, Machine
from memmon_systemd.linux import cgroup, limits
from memmon_systemd.linux.kernel_files import readable_lines_of

_CAP_SYS_PTRACE: Final = 19
_HIDING: Final = ("1", "2", "4", "noaccess", "invisible", "ptraceable")
"""The values of hidepid= that hide something (the kernel's Documentation/filesystems/proc.rst)."""


def read_machine(mountinfo: str = "/proc/self/mountinfo") -> Machine:
    """What is the same for every unit and process."""
    mounts = readable_lines_of(mountinfo)
    return Machine(_cgroup_kind(mounts, mountinfo), limits.physical_bytes(), _swap_bytes(), _hidepid(mounts))


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
    lines = readable_lines_of("/proc/swaps")[1:]
    return sum(int(line.split()[-3]) * 1024 for line in lines)


def _hidepid(mounts: Sequence[str]) -> str | None:
    """The option that hides others' processes from this one; the group of gid= (root's) sees all."""
    for line in mounts:
        mount, _, rest = line.partition(" - ")
        if mount.split(" ")[4] != "/proc" or not rest.startswith("proc "):
            continue
        options = dict(option.partition("=")[::2] for option in rest.rsplit(" ", 1)[1].split(","))
        hides = options.get("hidepid", "") in _HIDING
        exempt = int(options.get("gid", 0)) in {os.getegid(), *os.getgroups()}
        return f"hidepid={options['hidepid']}" if hides and not exempt and not _may_trace() else None
    return None


def _may_trace() -> bool:
    """CAP_SYS_PTRACE sees what hidepid= hides."""
    lines = readable_lines_of("/proc/self/status")
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) & 1 << _CAP_SYS_PTRACE)
