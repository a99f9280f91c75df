"""What the state files say, with what the targets use now; and what isn't right."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from memmon_systemd.ctl.state import MonitorState, States
from memmon_systemd.formatting import few
from memmon_systemd.linux import cgroup, proc
from memmon_systemd.monitor.schedule import schedule_for
from memmon_systemd.output.record import Record
from memmon_systemd.processes.gauge import ProcessGauge
from memmon_systemd.processes.table import by_proc
from memmon_systemd.settings import Metric
from memmon_systemd.units.gauge import UnitGauge

_SHORTEST_S: Final = 10.0
"""A growth over less is noise."""
_HOUR_S: Final = 3600.0
_ANY: Final = schedule_for(1, 1.0)
"""What a gauge looks by. Here it only measures; to make one for each target takes as long as that."""


@dataclass(frozen=True, slots=True)
class Row:
    """One target as one monitor sees it."""

    record: Record
    monitor: str
    usage_bytes: int | None
    trouble: str | None
    """Why the usage can't be read."""
    measured_s: float | None
    """Since when its invocation is measured."""

    @property
    def share(self) -> float | None:
        """Usage of threshold."""
        if self.usage_bytes is None or not self.record.metric:
            return None
        return self.usage_bytes / max(self.record.threshold_bytes, 1)

    @property
    def growth_bytes_per_h(self) -> float | None:
        """In this invocation; None where it is measured for too short a time."""
        if self.usage_bytes is None or self.measured_s is None or self.measured_s < _SHORTEST_S:
            return None
        return (self.usage_bytes - self.record.begun_bytes) / self.measured_s * _HOUR_S

    @property
    def left_s(self) -> float | None:
        """When it passes its threshold at that rate; None: never, unknown, or it has."""
        growth = self.growth_bytes_per_h
        if self.usage_bytes is None or growth is None or growth <= 0.0:
            return None
        headroom_bytes = self.record.threshold_bytes - self.usage_bytes
        return headroom_bytes / growth * _HOUR_S if headroom_bytes >= 0 else None


def rows_of(states: States) -> list[Row]:
    """Every target of every monitor that runs, the nearest to its threshold first."""
    rows = [row_of(state, record) for state in states.running for record in state.targets]
    return sorted(rows, key=lambda row: -1.0 if row.share is None else row.share, reverse=True)


def problems_of(states: States, rows: Sequence[Row]) -> list[str]:
    """What isn't right, a sentence for each."""
    found: list[str] = []
    for state in states.monitors:
        monitor = state.monitor
        if not state.is_running and not monitor.has_ended:
            names = few([record.name for record in state.targets]) or "nothing"
            found.append(f"{monitor.name} (PID {monitor.pid}) was killed; it monitored {names}")
        if state.torn:
            found.append(f"{state.path}: {state.torn} of its records are half written")
        if state.is_running and monitor.unrecorded:
            found.append(f"{monitor.name}: {monitor.unrecorded} of its targets have no record")
    found += [f"{one.path}: {one.why}" for one in states.unreadable]
    counts = Counter(row.record.name for row in rows if row.record.is_unit)
    for name, count in counts.items():
        if count > 1:
            monitors = " and ".join(row.monitor for row in rows if row.record.name == name)
            found.append(f"{name} is monitored by {count}: {monitors}")
    found += [f"{row.record.name}: its memory can't be read: {row.trouble}" for row in rows if row.trouble]
    return found


def usage_of(record: Record, metric: Metric) -> int:
    """What a target uses now by a metric, measured as its monitor does; OSError, ValueError."""
    if record.pid:
        process = by_proc().open(record.pid)
        try:
            return ProcessGauge(process, metric, record.swap, _ANY).measure()
        finally:
            process.close()
    if metric is Metric.RSS:
        return proc.total_rss_bytes(cgroup.processes_below(record.cgroup))
    gauge = UnitGauge(record.cgroup, metric, record.swap, _ANY)
    try:
        return gauge.measure()
    finally:
        gauge.close()


def row_of(state: MonitorState, record: Record) -> Row:
    """A target with what it uses now."""
    usage_bytes: int | None = None
    trouble: str | None = None
    if record.metric is not None:
        if not record.pid and not record.cgroup:
            trouble = "the path of its cgroup is too long"
        else:
            try:
                usage_bytes = usage_of(record, Metric(record.metric))
            except (OSError, ValueError) as error:
                trouble = getattr(error, "strerror", None) or str(error)
    measured_s = None if record.begun_s is None else time.monotonic() - record.begun_s
    return Row(record, state.monitor.name, usage_bytes, trouble, measured_s)
