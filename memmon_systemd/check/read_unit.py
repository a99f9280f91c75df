"""What `--check` reads of one unit: systemd's properties, the files of its cgroup, its processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from memmon_systemd.check.facts import SWAP, Machine, Rights, Subject
from memmon_systemd.check.read_containers import payload_elsewhere
from memmon_systemd.check.read_limits import bounds_of_unit
from memmon_systemd.check.read_monitors import MonitorReader
from memmon_systemd.check.read_shape import shape_of_unit
from memmon_systemd.check.read_signal import disposition, obeyed
from memmon_systemd.check.unit_properties import ServiceProperties, read_unit
from memmon_systemd.linux import cgroup, proc
from memmon_systemd.linux.command_line import name_of
from memmon_systemd.linux.memory_stat import line_number, metric_bytes
from memmon_systemd.machine import Systemd
from memmon_systemd.monitor.schedule import schedule_of
from memmon_systemd.settings import KillWhom, Metric, Settings
from memmon_systemd.systemd.restart_rules import Disposition
from memmon_systemd.systemd.rights import may_request
from memmon_systemd.systemd.unit import Unit
from memmon_systemd.units.hook_problems import problems_of_hooks

_METRICS: Final = (Metric.UNRECLAIMABLE, Metric.CURRENT, Metric.WORKING_SET, Metric.ANON)


class UnitReader:
    """Reads units of one service manager."""

    def __init__(
        self, settings: Settings, systemd: Systemd, machine: Machine, monitors: MonitorReader
    ) -> None:
        self._settings = settings
        self._systemd = systemd
        self._manager = systemd.manager
        self._machine = machine
        self._monitors = monitors

    def read(self, name: str) -> Subject:
        """Everything about a unit; BusError where systemd can't say."""
        asked, machine = self._settings.target, self._machine
        unit = self._manager.unit(name)
        properties = read_unit(self._manager, unit)
        bounds = bounds_of_unit(name, properties, self._systemd)
        whole_bytes = bounds.maximum.size_bytes if bounds.maximum else machine.physical_bytes
        main_pid = properties.service.main_pid if properties.service else 0
        sent = asked.signal_number or properties.stop_signal or signal.SIGTERM
        schedule = schedule_of(asked, min(whole_bytes, machine.physical_bytes))
        subject = Subject(
            name=name,
            unit=name,
            threshold_bytes=schedule.threshold_bytes,
            hard_bytes=schedule.hard_bytes,
            metric=asked.metric or Metric.UNRECLAIMABLE,
            properties=properties,
            main_name=name_of(main_pid) if main_pid else None,
            disposition=disposition(main_pid, sent) if main_pid else Disposition.UNKNOWN,
            obeys=obeyed(main_pid) if main_pid else (),
            maximum=bounds.maximum if whole_bytes <= machine.physical_bytes else None,
            high=bounds.high,
            swap_max_bytes=bounds.swap_maximum.size_bytes if bounds.swap_maximum else None,
            trouble=bounds.trouble,
            monitors=self._monitors.of(name, main_pid),
            hook_problems=problems_of_hooks(self._manager, name, asked),
        )
        if properties.control_group is None:
            return subject
        directory = self._systemd.hierarchy.directory(properties.control_group)
        try:
            pids = tuple(dict.fromkeys(cgroup.processes_below(directory)))
        except OSError as error:
            return replace(subject, trouble=str(error))
        if not pids:
            return subject
        rights = self._rights(unit, properties.service, pids)
        shape = shape_of_unit(properties, Path(directory), pids, sent)
        payload = payload_elsewhere(properties.control_group, pids, main_pid)
        age_s = None if properties.started_s is None else time.monotonic() - properties.started_s
        subject = replace(subject, pids=pids, rights=rights, age_s=age_s, shape=shape, payload=payload)
        return _with_readings(subject, Path(directory))

    def _rights(self, unit: Unit, service: ServiceProperties | None, pids: tuple[int, ...]) -> Rights:
        asked = self._settings.target
        main_pid = service.main_pid if service else 0
        by_systemd: bool | None = self._settings.user or os.geteuid() == 0
        if not by_systemd:
            control_pid = service.control_pid if service else 0
            by_systemd = may_request(self._manager, unit, asked.action, control_pid)
        wanted = pids if asked.kill_whom is KillWhom.ALL or not main_pid else (main_pid,)
        return Rights(by_systemd, may_signal_directly(wanted))


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


def _with_readings(subject: Subject, directory: Path) -> Subject:
    """The metrics of a running unit; by its processes where it has no memory controller."""
    try:
        return replace(subject, readings=_metrics(directory))
    except FileNotFoundError:
        if not directory.is_dir():
            return replace(subject, trouble="it has stopped meanwhile")
        readings = {Metric.RSS.value: proc.total_rss_bytes(subject.pids)}
        return replace(subject, metric=Metric.RSS, readings=readings)
    except (OSError, ValueError) as error:
        return replace(subject, trouble=str(error))


def _metrics(directory: Path) -> dict[str, int]:
    """All that the files of a cgroup tell; OSError, ValueError."""
    current_bytes = line_number((directory / "memory.current").read_bytes(), "memory.current")
    memory_stat = bytearray(b"\n" + (directory / "memory.stat").read_bytes())
    readings = {
        metric.value: metric_bytes(metric, current_bytes, memory_stat, len(memory_stat))
        for metric in _METRICS
    }
    with suppress(FileNotFoundError):  # A kernel without swap has no such file.
        swapped = (directory / "memory.swap.current").read_bytes()
        readings[SWAP] = line_number(swapped, "memory.swap.current")
    return readings
