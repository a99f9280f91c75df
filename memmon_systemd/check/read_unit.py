"""What `--check` reads of one unit: systemd's properties, the files of its cgroup, its processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from memmon_systemd.check.facts import SWAP, Bound, Machine, Rights, Target
from memmon_systemd.check.read_machine import RunningMonitor, others
from memmon_systemd.check.read_signal import disposition
from memmon_systemd.check.unit_properties import UnitProperties, may_signal, read_unit
from memmon_systemd.linux import cgroup, limits, proc
from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.linux.memory_stat import metric_bytes
from memmon_systemd.settings import KillWhom, Metric, Settings
from memmon_systemd.systemd.manager import Manager

_METRICS: Final = (Metric.UNRECLAIMABLE, Metric.CURRENT, Metric.WORKING_SET, Metric.ANON)


def read_unit_target(
    name: str,
    settings: Settings,
    manager: Manager,
    hierarchy: Hierarchy,
    machine: Machine,
    monitors: Sequence[RunningMonitor],
) -> Target:
    """Everything about a unit; BusError where systemd can't say."""
    asked = settings.target
    unit = manager.unit(name)
    properties = read_unit(manager, unit)
    service = properties.service
    directory = hierarchy.directory(properties.control_group) if properties.control_group else None
    pids = tuple(cgroup.processes_below(directory)) if directory else ()
    maximum, high, swap_maximum = read_bounds(name, properties, manager, hierarchy)
    whole_bytes = maximum.size_bytes if maximum else machine.physical_bytes
    main_pid = service.main_pid if service else 0
    target = Target(
        name=name,
        unit=name,
        limit_bytes=asked.threshold.threshold_bytes(min(whole_bytes, machine.physical_bytes)),
        metric=asked.metric or Metric.UNRECLAIMABLE,
        properties=properties,
        pids=pids,
        maximum=maximum if whole_bytes <= machine.physical_bytes else None,
        high=high,
        swap_max_bytes=swap_maximum.size_bytes if swap_maximum else None,
        monitors=others(monitors, name, main_pid, settings.user),
    )
    if main_pid:
        target = replace(
            target,
            main_name=process_name(main_pid),
            disposition=disposition(main_pid, asked.signal_number),
        )
    if not pids or directory is None:
        return target
    by_systemd: bool | None = settings.user or os.geteuid() == 0
    if not by_systemd:
        # Asking for a restart is another permission, and can't be tried.
        tried = not asked.restart
        by_systemd = may_signal(manager, unit, service.control_pid if service else 0) if tried else None
    wanted = pids if asked.kill_whom is KillWhom.ALL or not main_pid else (main_pid,)
    target = replace(target, rights=Rights(by_systemd, may_signal_directly(wanted)))
    return _with_readings(target, directory)


def read_bounds(
    name: str, properties: UnitProperties, manager: Manager, hierarchy: Hierarchy
) -> tuple[Bound | None, Bound | None, Bound | None]:
    """The tightest MemoryMax=, MemoryHigh= and MemorySwapMax= that apply to a unit, from it up to the root.

    By the files of the cgroups above it; of one that isn't running, its own by its properties.
    """
    group = properties.control_group
    if not group and properties.slice:
        own = (properties.memory_max_bytes, properties.memory_high_bytes, properties.swap_max_bytes)
        group = os.fsdecode(manager.properties(manager.unit(properties.slice))[b"ControlGroup"])
    else:
        own = (None, None, None)

    def tightest(own_bytes: int | None, file: str) -> Bound | None:
        above = tightest_bound(hierarchy, group, file) if group else None
        if own_bytes is None or (above is not None and above.size_bytes < own_bytes):
            return above
        return Bound(own_bytes, name)

    return (
        tightest(own[0], "memory.max"),
        tightest(own[1], "memory.high"),
        tightest(own[2], "memory.swap.max"),
    )


def tightest_bound(hierarchy: Hierarchy, group: str, file: str) -> Bound | None:
    """The tightest limit in the files of this name, from a control group up to the root."""
    limit = limits.tightest_limit(hierarchy.directory(group), hierarchy.root, file)
    if limit is None:
        return None
    return Bound(limit.size_bytes, cgroup.unit_of(limit.directory.name) or "-.slice")


def may_signal_directly(pids: Sequence[int]) -> bool | None:
    """Whether the kernel lets this user signal these processes; None where they have ended.

    By signal 0, which is checked like any other and delivered to nobody (kill(2)).
    """
    answers: list[bool] = []
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        except PermissionError:
            answers.append(False)
        else:
            answers.append(True)
    return all(answers) if answers else None


def process_name(pid: int) -> str:
    """The name of a process; "" where there is none."""
    try:
        return proc.read_stat(pid).comm.decode(errors="backslashreplace")
    except OSError:
        return ""


def _with_readings(target: Target, directory: Path) -> Target:
    """The metrics of a running unit; by its processes where it has no memory controller."""
    try:
        current_bytes = int((directory / "memory.current").read_bytes())
        memory_stat = bytearray(b"\n" + (directory / "memory.stat").read_bytes())
    except FileNotFoundError:
        rss_bytes = proc.total_rss_bytes(target.pids)
        return replace(target, metric=Metric.RSS, readings={Metric.RSS.value: rss_bytes})
    except (OSError, ValueError) as error:
        return replace(target, trouble=str(error))
    try:
        readings = {
            metric.value: metric_bytes(metric, current_bytes, memory_stat, len(memory_stat))
            for metric in _METRICS
        }
    except ValueError as error:
        return replace(target, trouble=str(error))
    with suppress(FileNotFoundError):  # A kernel without swap has no such file.
        readings[SWAP] = int((directory / "memory.swap.current").read_bytes())
    return replace(target, readings=readings)
