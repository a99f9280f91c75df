"""What `--check` reads of the processes whose name begins with a prefix."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from memmon_systemd.check.facts import SWAP, Machine, Rights, Target
from memmon_systemd.check.read_machine import RunningMonitor, others
from memmon_systemd.check.read_signal import disposition
from memmon_systemd.check.read_unit import may_signal_directly, tightest_bound
from memmon_systemd.check.unit_properties import read_unit
from memmon_systemd.linux import cgroup
from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.processes.table import Process, ProcessTable
from memmon_systemd.settings import Metric, Settings
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import Manager


def find_pids(prefix: str, table: ProcessTable) -> list[int]:
    """The processes whose name begins so; OSError where they can't be listed."""
    finder = table.finder(os.fsencode(prefix), 1.0)
    try:
        return sorted(finder.find(0.0))
    finally:
        finder.close()


def read_process_target(
    pid: int,
    settings: Settings,
    table: ProcessTable,
    machine: Machine,
    hierarchy: Hierarchy | None,
    manager: Manager | None,
    monitors: Sequence[RunningMonitor],
) -> Target | None:
    """Everything about a process; None where it has ended. Without `manager` its unit stays unknown."""
    try:
        process = table.open(pid)
    except OSError:
        return None
    try:
        return _read(process, settings, machine, hierarchy, manager, monitors)
    finally:
        process.close()


def _read(
    process: Process,
    settings: Settings,
    machine: Machine,
    hierarchy: Hierarchy | None,
    manager: Manager | None,
    monitors: Sequence[RunningMonitor],
) -> Target:
    pid = process.pid
    group = cgroup.control_group_of(pid)
    maximum = tightest_bound(hierarchy, group, "memory.max") if hierarchy and group else None
    swap_maximum = tightest_bound(hierarchy, group, "memory.swap.max") if hierarchy and group else None
    whole_bytes = min(maximum.size_bytes if maximum else machine.physical_bytes, machine.physical_bytes)
    target = Target(
        name=f"{process.name}[{pid}]",
        limit_bytes=settings.target.threshold.threshold_bytes(whole_bytes),
        metric=settings.target.metric or Metric.RSS,
        unit=unit_of_group(group or ""),
        is_process=True,
        pids=(pid,),
        main_name=process.name,
        disposition=disposition(pid, settings.target.signal_number),
        maximum=maximum if maximum and maximum.size_bytes <= machine.physical_bytes else None,
        swap_max_bytes=swap_maximum.size_bytes if swap_maximum else None,
        rights=Rights(directly=may_signal_directly((pid,))),
        monitors=others(monitors, "", pid, settings.user),
    )
    return _with_readings(_with_unit(target, pid, manager), process)


def unit_of_group(group: str) -> str:
    """The innermost unit of a control group; "" where there is none."""
    units = [unit for part in group.split("/") if (unit := cgroup.unit_of(part))]
    return units[-1] if units else ""


def _with_unit(target: Target, pid: int, manager: Manager | None) -> Target:
    """The properties of the service that it belongs to, where that is one of `manager`'s."""
    if manager is None or not target.unit.endswith(".service"):
        return target
    try:
        properties = read_unit(manager, manager.unit(target.unit))
    except BusError:
        return target  # Another manager's, for example a user's: this one doesn't know it.
    main_pid = properties.service.main_pid if properties.service else 0
    return replace(target, properties=properties, is_main=main_pid == pid)


def _with_readings(target: Target, process: Process) -> Target:
    try:
        readings = {Metric.RSS.value: process.rss_bytes()}
    except OSError as error:
        return replace(target, trouble=str(error))
    trouble = ""
    for metric, read in ((Metric.PSS.value, process.pss_bytes), (SWAP, process.swap_bytes)):
        try:
            readings[metric] = read()
        except OSError as error:
            # Not every system counts these, nor shows another user's: it matters where it is asked for.
            trouble = f"{metric}: {error.strerror}" if metric == target.metric.value else trouble
    return replace(target, readings=readings, trouble=trouble)
