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
from memmon_systemd.linux import cgroup, proc
from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.settings import KillWhom, Metric, Settings
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.units.gauge import RECLAIMABLE

_WORKING_SET_LESS: Final = RECLAIMABLE[:1]


def read_unit_target(
    name: str,
    settings: Settings,
    manager: Manager,
    hierarchy: Hierarchy,
    machine: Machine,
    monitors: Sequence[RunningMonitor],
) -> Target:
    """Everything about a unit; BusError where systemd can't say."""
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
        limit_bytes=settings.max_memory.limit_bytes(min(whole_bytes, machine.physical_bytes)),
        metric=settings.metric or Metric.UNRECLAIMABLE,
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
            disposition=disposition(main_pid, settings.signal_number),
        )
    if not pids or directory is None:
        return target
    by_systemd: bool | None = settings.user or os.geteuid() == 0
    if not by_systemd:
        # Asking for a restart is another permission, and can't be tried.
        tried = not settings.restart
        by_systemd = may_signal(manager, unit, service.control_pid if service else 0) if tried else None
    wanted = pids if settings.kill_whom is KillWhom.ALL or not main_pid else (main_pid,)
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
        slice_unit = manager.unit(properties.slice)
        group = os.fsdecode(manager.bus.property(slice_unit.typed, b"ControlGroup", b"s"))
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
    found: list[Bound] = []
    directory = hierarchy.directory(group)
    while directory.is_relative_to(hierarchy.root):
        try:
            text = (directory / file).read_text().strip()
        except OSError:
            text = ""  # No memory controller in it; the root of the whole machine has no limits.
        if text.isdecimal():
            found.append(Bound(int(text), cgroup.unit_of(directory.name) or "-.slice"))
        directory = directory.parent
    return min(found, key=lambda bound: bound.size_bytes, default=None)


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
        return replace(target, metric=Metric.RSS, readings={Metric.RSS.value: _rss_bytes(target.pids)})
    except (OSError, ValueError) as error:
        return replace(target, trouble=str(error))
    try:
        readings = {
            Metric.UNRECLAIMABLE.value: current_bytes - _sum_of(memory_stat, RECLAIMABLE),
            Metric.CURRENT.value: current_bytes,
            Metric.WORKING_SET.value: current_bytes - _sum_of(memory_stat, _WORKING_SET_LESS),
            Metric.ANON.value: _sum_of(memory_stat, (b"anon",)),
        }
    except ValueError as error:
        return replace(target, trouble=str(error))
    readings = {metric: max(size_bytes, 0) for metric, size_bytes in readings.items()}
    with suppress(FileNotFoundError):  # A kernel without swap has no such file.
        readings[SWAP] = int((directory / "memory.swap.current").read_bytes())
    return replace(target, readings=readings)


def _sum_of(memory_stat: bytearray, keys: Sequence[bytes]) -> int:
    return sum(cgroup.stat_bytes(memory_stat, len(memory_stat), key) for key in keys)


def _rss_bytes(pids: Sequence[int]) -> int:
    total_bytes = 0
    for pid in pids:
        try:
            total_bytes += proc.rss_bytes(pid)
        except OSError:
            continue  # It has ended.
    return total_bytes
