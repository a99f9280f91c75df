"""The units that can't be monitored from here: a request to them could end the monitor."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from memmon_systemd.linux import cgroup

UNTOUCHABLE: Final = "memory-monitor, an ancestor of it, or PID 1 runs in it"


def untouchable_units(pids: Collection[int], top_group: str) -> set[str]:
    """The units that contain these processes, and the root slice: a signal to them could end the monitor."""
    groups = (cgroup.control_group_of(pid) or "" for pid in pids)
    return {"-.slice", *(unit for group in groups for unit in cgroup.units_of(group, top_group))}
