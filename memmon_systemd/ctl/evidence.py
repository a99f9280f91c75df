"""Reads what is known of a unit: from its cgroup, systemd, the state files and the journal; for `suggest`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from memmon_systemd.check.read_limits import Bounds, bounds_of_group, bounds_of_unit
from memmon_systemd.check.unit_properties import UnitProperties, read_unit
from memmon_systemd.ctl import history, journal
from memmon_systemd.ctl.advice import Evidence, Past
from memmon_systemd.ctl.chart import Point
from memmon_systemd.ctl.state import States
from memmon_systemd.ctl.view import usage_of
from memmon_systemd.linux import cgroup, limits, proc
from memmon_systemd.linux.kernel_files import read_bytes
from memmon_systemd.machine import Systemd
from memmon_systemd.monitor.events import Event
from memmon_systemd.output.record import Record
from memmon_systemd.settings import Metric

_OOM_KILL: Final = "fe6faa94e7774663a0da52717891d8ef"
"""SD_MESSAGE_UNIT_OUT_OF_MEMORY, sd-messages.h."""
_KILLED: Final = "OOM"
"""In what is said of one that was killed so, or has lost a process."""


@dataclass(frozen=True, slots=True)
class Read:
    """What was read."""

    evidence: Evidence
    points: Sequence[Point]
    """The readings of the present invocation."""
    lacks: str | None
    """Why the journal may have more."""


def read(systemd: Systemd, name: str, states: States, *, is_users: bool) -> Read:
    """All that is known of a unit that is loaded; BusError, CallError, OSError."""
    properties = read_unit(systemd.manager, systemd.manager.unit(name))
    bounds = _bounds(systemd, name, properties)
    maximum = bounds.maximum
    group = properties.control_group
    directory = systemd.hierarchy.directory(group) if group else None
    record = _record(states, name, is_users=is_users)
    usage_bytes = None if directory is None else _usage(directory, record)
    asked, log = history.recent(name, 1000, is_users=is_users)
    now_s = time.monotonic()
    evidence = Evidence(
        limit_bytes=limits.physical_bytes() if maximum is None else maximum.size_bytes,
        limit_of=None if maximum is None else maximum.unit,
        high_bytes=None if bounds.high is None else bounds.high.size_bytes,
        stop_s=properties.timeout_stop_s,
        usage_bytes=usage_bytes,
        age_s=None if properties.started_s is None or group is None else now_s - properties.started_s,
        begun_bytes=None if record is None or record.begun_s is None else record.begun_bytes,
        measured_s=None if record is None or record.begun_s is None else now_s - record.begun_s,
        peak_bytes=None if directory is None else _peak(directory),
        resident_peak_bytes=None if directory is None else _resident_peak(directory),
        requests=tuple(_pasts(asked)),
        was_over_unasked=_was_over_unasked(name, is_users=is_users),
        oom_kills=journal.count(
            [f"MESSAGE_ID={_OOM_KILL}", f"{'USER_UNIT' if is_users else 'UNIT'}={name}"], is_users=is_users
        ),
    )
    return Read(evidence, points_of(record, name, usage_bytes, is_users=is_users), log.lacks)


def points_of(record: Record | None, name: str, usage_bytes: int | None, *, is_users: bool) -> list[Point]:
    """The readings of the present invocation that are known; CallError."""
    now_s = time.time()
    points: list[Point] = []
    if record is not None and record.begun_s is not None:
        begun_s = now_s - (time.monotonic() - record.begun_s)
        points.append(Point(begun_s, record.begun_bytes))
        if record.is_unit:
            logged = journal.readings(name, begun_s + 1.0, is_users=is_users)
            points += [Point(time_s, size_bytes) for time_s, size_bytes in logged]
    if usage_bytes is not None:
        points.append(Point(now_s, usage_bytes))
    return points


def _bounds(systemd: Systemd, name: str, properties: UnitProperties) -> Bounds:
    if properties.control_group is None:
        return bounds_of_unit(name, properties, systemd)
    return bounds_of_group(systemd.hierarchy, systemd.top_group, properties.control_group)


def _record(states: States, name: str, *, is_users: bool) -> Record | None:
    """What a monitor knows of it."""
    for state in states.running:
        if state.monitor.is_users == is_users:
            for record in state.targets:
                if record.name == name and record.is_unit:
                    return record
    return None


def _usage(directory: str, record: Record | None) -> int:
    metric = Metric.UNRECLAIMABLE if record is None or record.metric is None else Metric(record.metric)
    swap = record is not None and record.swap
    return usage_of(Record("", cgroup=directory, interval_s=2.0, swap=swap), metric)


def _peak(directory: str) -> int | None:
    try:
        return int(read_bytes(f"{directory}/memory.peak"))
    except (OSError, ValueError):
        return None  # Linux has it from 5.19 on.


def _resident_peak(directory: str) -> int | None:
    """The sum of VmHWM (proc(5)) of its processes; None where one of them can't be read."""
    total = 0
    try:
        for pid in cgroup.processes_below(directory):
            for line in proc.read(f"/proc/{pid}/status", 4096).splitlines():
                if line.startswith(b"VmHWM:"):
                    total += int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return None
    return total


def _pasts(asked: Sequence[history.Asked]) -> list[Past]:
    found: list[Past] = []
    for one in asked:
        usage, age = one.request.number("MEMORY_MONITOR_USAGE"), one.request.number("MEMORY_MONITOR_AGE_SEC")
        if one.request.event is not Event.REQUESTED or usage is None or age is None:
            continue
        growth = one.request.number("MEMORY_MONITOR_GROWTH") or 0.0
        was_killed = one.outcome is not None and _KILLED in one.outcome.text
        ended_s = one.outcome.number("MEMORY_MONITOR_ENDED_SEC") if one.outcome is not None else None
        found.append(Past(int(usage), age, growth / 3600, ended_s, was_killed))
    return found


def _was_over_unasked(name: str, *, is_users: bool) -> bool:
    unit = f"MEMORY_MONITOR_UNIT={name}"
    waits = [f"MESSAGE_ID={Event.OVER.value.message_id}", f"MESSAGE_ID={Event.HELD.value.message_id}"]
    return journal.count([*waits, unit], is_users=is_users) > 0
