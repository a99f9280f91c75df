"""What `--check` reads of the processes whose name starts with a prefix."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace

from memmon_systemd.check.facts import SWAP, Machine, Rights, Subject
from memmon_systemd.check.read_limits import bounds_of_group
from memmon_systemd.check.read_monitors import MonitorReader
from memmon_systemd.check.read_shape import dropped_by
from memmon_systemd.check.read_signal import disposition, obeyed
from memmon_systemd.check.read_unit import may_signal_directly
from memmon_systemd.check.shape import Shape
from memmon_systemd.check.unit_properties import read_unit
from memmon_systemd.linux import cgroup
from memmon_systemd.machine import Machine as Connections
from memmon_systemd.machine import Systemd
from memmon_systemd.monitor.schedule import schedule_of
from memmon_systemd.processes.table import Process
from memmon_systemd.settings import Metric, Settings
from memmon_systemd.systemd.errors import BusError


class ProcessReader:
    """Finds and reads processes."""

    def __init__(
        self,
        settings: Settings,
        connections: Connections,
        systemd: Systemd | None,
        machine: Machine,
        monitors: MonitorReader,
    ) -> None:
        """Without `systemd`, what is known of a unit is its name."""
        self._settings = settings
        self._table = connections.table
        self._hierarchy = connections.hierarchy
        self._systemd = systemd
        self._machine = machine
        self._monitors = monitors

    def find(self, prefix: str) -> tuple[list[int], str | None]:
        """The processes whose name starts with it, and why that can't be told of another; OSError."""
        finder = self._table.finder(os.fsencode(prefix), 1.0)
        try:
            pids = sorted(finder.find(0.0))
        finally:
            finder.close()
        return pids, None if finder.unreadable is None else str(finder.unreadable)

    def read(self, pid: int) -> Subject | None:
        """Everything about a process; None where it has ended."""
        try:
            process = self._table.open(pid)
        except OSError:
            return None
        try:
            return self._with_readings(self._with_unit(self._subject(process)), process)
        finally:
            process.close()

    def _subject(self, process: Process) -> Subject:
        pid, asked, machine = process.pid, self._settings.target, self._machine
        group, top_group = cgroup.control_group_of(pid), self._systemd.top_group if self._systemd else ""
        bounds = bounds_of_group(self._hierarchy, top_group, group)
        whole_bytes = bounds.maximum.size_bytes if bounds.maximum else machine.physical_bytes
        schedule = schedule_of(asked, min(whole_bytes, machine.physical_bytes))
        return Subject(
            name=f"{process.name}[{pid}]",
            threshold_bytes=schedule.threshold_bytes,
            hard_bytes=schedule.hard_bytes,
            metric=asked.metric or Metric.RSS,
            is_process=True,
            pids=(pid,),
            main_name=process.name,
            disposition=disposition(pid, asked.signal_number or signal.SIGTERM),
            obeys=obeyed(pid),
            maximum=bounds.maximum if whole_bytes <= machine.physical_bytes else None,
            swap_max_bytes=bounds.swap_maximum.size_bytes if bounds.swap_maximum else None,
            trouble=bounds.trouble,
            rights=Rights(directly=may_signal_directly((pid,))),
            monitors=self._monitors.of(None, pid),
            shape=Shape(dropped_by=dropped_by(pid, (), asked.signal_number or signal.SIGTERM)),
        )

    def _with_unit(self, subject: Subject) -> Subject:
        """The unit that it belongs to, and the properties of one that the service manager knows."""
        (pid,) = subject.pids
        group = cgroup.control_group_of(pid) or ""
        systemd = self._systemd
        units = cgroup.units_of(group, systemd.top_group) if systemd is not None else ()
        if systemd is None or not units:
            return replace(subject, unit=_last(cgroup.units_of(group, "")))
        subject = replace(subject, unit=units[-1])
        if not units[-1].endswith(".service"):
            return subject
        try:
            properties = read_unit(systemd.manager, systemd.manager.unit(units[-1]))
        except BusError:
            return subject  # It has been unloaded meanwhile.
        main_pid = properties.service.main_pid if properties.service else 0
        is_main = main_pid == pid
        age_s = time.monotonic() - properties.started_s if is_main and properties.started_s else None
        return replace(subject, properties=properties, is_main=is_main, age_s=age_s)

    def _with_readings(self, subject: Subject, process: Process) -> Subject:
        try:
            readings = {Metric.RSS.value: process.rss_bytes()}
        except OSError as error:
            return replace(subject, trouble=str(error))
        trouble = subject.trouble
        reads: tuple[tuple[str, Callable[[], int]], ...] = (
            (Metric.PSS.value, process.pss_bytes),
            (SWAP, process.swap_bytes),
        )
        for metric, read in reads:
            try:
                readings[metric] = read()
            except OSError as error:
                # Not every system counts these, nor shows another user's: it matters where it is asked for.
                if metric == subject.metric.value:
                    trouble = f"{metric}: {error.strerror}"
        return replace(subject, readings=readings, trouble=trouble)


def _last(units: tuple[str, ...]) -> str | None:
    return units[-1] if units else None
