"""What `--check` reads of limits: the tightest from a cgroup up to the root, and whose it is."""

from __future__ import annotations

from memmon_systemd.check.facts import Bound
from memmon_systemd.check.unit_properties import UnitProperties, read_unit
from memmon_systemd.linux import cgroup, limits
from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.sources import Systemd


def read_bounds(
    name: str, properties: UnitProperties, systemd: Systemd
) -> tuple[Bound | None, Bound | None, Bound | None]:
    """The tightest MemoryMax=, MemoryHigh= and MemorySwapMax= that apply to a unit, from it up to the root.

    By the files of the cgroups above it; of one that isn't running, its own by its properties. BusError.
    """
    group = properties.control_group
    if group is None and properties.slice is not None:
        own = (properties.memory_max_bytes, properties.memory_high_bytes, properties.swap_max_bytes)
        group = read_unit(systemd.manager, systemd.manager.unit(properties.slice)).control_group
    else:
        own = (None, None, None)

    def tightest(own_bytes: int | None, file: str) -> Bound | None:
        above = tightest_bound(systemd.hierarchy, systemd.top_group, group, file)
        if own_bytes is None or (above is not None and above.size_bytes < own_bytes):
            return above
        return Bound(own_bytes, name)

    return (
        tightest(own[0], "memory.max"),
        tightest(own[1], "memory.high"),
        tightest(own[2], "memory.swap.max"),
    )


def tightest_bound(hierarchy: Hierarchy | None, top_group: str, group: str | None, file: str) -> Bound | None:
    """The tightest limit in the files of this name from a control group up to the root.

    `top_group` is what the units of the manager are in that is asked.
    """
    if hierarchy is None or not group:
        return None
    limit = limits.tightest_limit(hierarchy.directory(group), hierarchy.root, file)
    if limit is None:
        return None
    whose = limit.directory.relative_to(hierarchy.root)
    return Bound(limit.size_bytes, _unit_at(f"/{'/'.join(whose.parts)}", top_group))


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
