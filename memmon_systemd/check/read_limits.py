"""What `--check` reads of limits: the tightest from a cgroup up to the root, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from memmon_systemd.check.facts import Bound
from memmon_systemd.check.unit_properties import UnitProperties, read_unit
from memmon_systemd.linux import cgroup, limits
from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.machine import Systemd

_FILES: Final = ("memory.max", "memory.high", "memory.swap.max")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The tightest limits that apply; None where there is none of a kind."""

    maximum: Bound | None = None
    high: Bound | None = None
    swap_maximum: Bound | None = None
    trouble: str | None = None
    """Why they can't be read."""


def bounds_of_unit(name: str, properties: UnitProperties, systemd: Systemd) -> Bounds:
    """MemoryMax=, MemoryHigh= and MemorySwapMax= of a unit and the slices above it; BusError.

    By the files of the cgroups; of one that isn't running, its own by its properties.
    """
    if properties.control_group is not None or properties.slice is None:
        return bounds_of_group(systemd.hierarchy, systemd.top_group, properties.control_group)
    outer = read_unit(systemd.manager, systemd.manager.unit(properties.slice)).control_group
    above = bounds_of_group(systemd.hierarchy, systemd.top_group, outer)

    def tighter(own_bytes: int | None, bound: Bound | None) -> Bound | None:
        if own_bytes is None or (bound is not None and bound.size_bytes < own_bytes):
            return bound
        return Bound(own_bytes, name)

    return Bounds(
        tighter(properties.memory_max_bytes, above.maximum),
        tighter(properties.memory_high_bytes, above.high),
        tighter(properties.swap_max_bytes, above.swap_maximum),
        above.trouble,
    )


def bounds_of_group(hierarchy: Hierarchy | None, top_group: str, group: str | None) -> Bounds:
    """The limits of a control group and of those above it.

    `top_group` is what the units of the manager are in that is asked.
    """
    if hierarchy is None or not group:
        return Bounds()
    try:
        maximum, high, swap_maximum = (tightest_bound(hierarchy, top_group, group, file) for file in _FILES)
    except OSError as error:
        return Bounds(trouble=f"{error.filename}: {error.strerror}")
    return Bounds(maximum, high, swap_maximum)


def tightest_bound(hierarchy: Hierarchy, top_group: str, group: str, file: str) -> Bound | None:
    """The tightest limit in the files of this name from a control group up to the root; OSError."""
    limit = limits.tightest_limit(hierarchy.directory(group), hierarchy.root, file)
    if limit is None:
        return None
    whose = limit.directory.removeprefix(hierarchy.root) or "/"
    return Bound(limit.size_bytes, _unit_at(whose, top_group))


def _unit_at(group: str, top_group: str) -> str:
    """The unit whose cgroup this is; else the control group, of one that somebody made below a unit's."""
    if group == "/":
        return "-.slice"
    for top in (top_group, ""):
        units = cgroup.units_of(group, top)
        below = group[len(top.rstrip("/")) :].strip("/")
        if len(units) == below.count("/") + 1:
            return units[-1]
    return group
