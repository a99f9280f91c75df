"""The limits above a unit or a process: memory.max of its cgroup and of those above it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from memmon_systemd.linux import cgroup
from memmon_systemd.linux.kernel_files import read_bytes


def physical_bytes() -> int:
    """All the memory of the machine; by sysconf(3), for /proc/meminfo can be hidden (ProcSubset=pid)."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of a cgroup, and whose it is."""

    size_bytes: int
    directory: str


def tightest_limit(directory: str, root: str, file: str = "memory.max") -> Limit | None:
    """The lowest number in the files of this name from a cgroup up to the root; None where there is none.

    OSError where one can't be read: that is not "max". Of a cgroup that was removed meanwhile it says what
    holds above it.
    """
    lowest: Limit | None = None
    while True:
        text = _limit_in(f"{directory}/{file}")
        if text.isdecimal() and (lowest is None or int(text) < lowest.size_bytes):
            lowest = Limit(int(text), directory)
        above = os.path.dirname(directory)
        if directory in (root, above):
            return lowest
        directory = above


def _limit_in(path: str) -> str:
    try:
        return read_bytes(path).decode(errors="replace").strip()
    except OSError as error:
        # The root has no limit, nor has a cgroup without the memory controller.
        if error.errno in cgroup.GONE:
            return "max"
        raise OSError(error.errno, error.strerror, path) from None  # read(2) names no file


def tightest_limit_bytes(directory: str, root: str) -> int:
    """The lowest memory.max from a cgroup up to the root, at most physical memory, in bytes."""
    limit = tightest_limit(directory, root)
    return physical_bytes() if limit is None else min(limit.size_bytes, physical_bytes())


def own_cgroups() -> Sequence[str]:
    """The directories of this process's cgroup and those above it, from the lowest up to the root.

    None where cgroups can't be seen, or don't count memory.
    """
    hierarchy, group = cgroup.find_hierarchy(), cgroup.control_group_of("self")
    if hierarchy is None or group is None or not hierarchy.memory:
        return ()
    directories = [hierarchy.directory(group)]
    while directories[-1] not in (hierarchy.root, above := os.path.dirname(directories[-1])):
        directories.append(above)
    return directories


def own_headroom_bytes() -> int:
    """How much more memory this process's cgroup, and those above it, may use; OSError.

    Physical memory where there is no limit, or where cgroups can't be seen.
    """
    left_bytes = physical_bytes()
    for directory in own_cgroups()[:-1]:  # The root has no limit.
        limit, used = _limit_in(f"{directory}/memory.max"), _limit_in(f"{directory}/memory.current")
        if limit.isdecimal() and used.isdecimal():
            left_bytes = min(left_bytes, int(limit) - int(used))
    return left_bytes


def limit_above(pid: int, hierarchy: cgroup.Hierarchy | None) -> int:
    """The tightest limit above a process, else physical memory, also where it can't be read; in bytes."""
    group = cgroup.control_group_of(pid)
    if hierarchy is None or group is None:
        return physical_bytes()
    try:
        return tightest_limit_bytes(hierarchy.directory(group), hierarchy.root)
    except OSError:
        return physical_bytes()
