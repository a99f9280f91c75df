"""What is told of units to Prometheus: the families of metrics, the only place with their names.

Of units only: a process has no name that stays, and a label that never comes again is a burden to whoever
stores it. `memmonctl metrics` and memory-monitor-exporter print the same.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

from memmon_systemd import __version__
from memmon_systemd.ctl.json_form import wall_clock
from memmon_systemd.ctl.state import States
from memmon_systemd.ctl.view import Row, rows_of
from memmon_systemd.linux import cgroup, limits
from memmon_systemd.output.record import Record

PREFIX: Final = "memory_monitor_"
_LONGEST_NUMBER: Final = 32
Sample: TypeAlias = tuple[dict[str, str], float | int]
"""Labels and value."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric; with the type, unit and help text that OpenMetrics 1.0 has for it."""

    name: str
    """Without the suffix of its type: `_total` of a counter, `_info`."""
    kind: str
    help: str
    samples: Sequence[Sample] = ()

    @property
    def unit(self) -> str:
        """The unit that its name ends with; empty where it has none."""
        last = self.name.rpartition("_")[2]
        return last if last in ("bytes", "seconds") else ""

    @property
    def sample_name(self) -> str:
        """The name of its samples."""
        return self.name + {"counter": "_total", "info": "_info"}.get(self.kind, "")


@dataclass(frozen=True, slots=True)
class _Unit:
    """A unit, and the labels that most of its samples share."""

    row: Row
    record: Record
    labels: dict[str, str]

    def labelled(self, **labels: str) -> dict[str, str]:
        """With further labels, whose values are words of the state file: they have nothing to escape."""
        return {**self.labels, **labels}


def families_of(states: States) -> list[Family]:
    """All of them; those of which there is nothing to tell have no samples."""
    # A unit that two monitors have is in it once, by the first.
    rows = {row.record.name: row for row in reversed(rows_of(states)) if row.record.is_unit}
    units = [_Unit(row, row.record, {"name": _text(name)}) for name, row in sorted(rows.items())]
    return [*_of_memory(units), *_of_requests(units), *_of_monitors(states)]


def _of_memory(units: Sequence[_Unit]) -> Iterator[Family]:
    measured = [unit for unit in units if unit.record.metric]
    yield _family(
        *("usage_bytes", "gauge", "Memory that a unit uses now, by the metric that is compared."),
        [
            (unit.labelled(metric=str(unit.record.metric)), unit.row.usage_bytes)
            for unit in measured
            if unit.row.usage_bytes is not None
        ],
    )
    yield _family(
        *("threshold_bytes", "gauge", "Above it the unit is asked to exit or restart."),
        [(unit.labels, unit.record.threshold_bytes) for unit in measured],
    )
    yield _family(
        *("hard_threshold_bytes", "gauge", "Above it only the budget holds a request back."),
        [(unit.labels, hard) for unit in measured if (hard := unit.record.hard_bytes) is not None],
    )
    yield _family(
        *("limit_bytes", "gauge", "The tightest memory.max from the unit up to the root, if there is one."),
        list(_limits(measured)),
    )


def _of_requests(units: Sequence[_Unit]) -> Iterator[Family]:
    yield _family("requests", "counter", "Requests to exit, restart or reload.", list(_requests(units)))
    yield _family(
        *("held", "gauge", "1 while a unit is above its threshold and isn't asked, for this reason."),
        [(unit.labelled(reason=unit.record.hold), 1) for unit in units if unit.record.hold],
    )
    yield _family(
        *("failed_readings", "counter", "Readings of the present invocation that failed."),
        [(unit.labels, unit.record.failed_readings) for unit in units],
    )
    yield _family(
        *("last_request_timestamp_seconds", "gauge", "When the unit was last asked."),
        [(unit.labels, last) for unit in units if (last := unit.record.last_request_s) is not None],
    )
    yield _family(
        *("invocation_start_timestamp_seconds", "gauge", "When its invocation was first measured."),
        # In whole seconds: two clocks are read for it, and it shouldn't change from scrape to scrape.
        [
            (unit.labels, round(begun_s))
            for unit in units
            if (begun_s := wall_clock(unit.record.begun_s)) is not None
        ],
    )


def _requests(units: Sequence[_Unit]) -> Iterator[Sample]:
    for unit in units:
        record = unit.record
        yield unit.labelled(action=record.action, result="done"), record.requests
        yield unit.labelled(action=record.action, result="failed"), record.failed_requests


def _of_monitors(states: States) -> Iterator[Family]:
    up: dict[str, bool] = {}
    for state in states.monitors:
        if state.is_running or not state.monitor.has_ended:
            # A user's may have the name of the system's.
            up[state.monitor.name] = up.get(state.monitor.name, False) or state.is_running
    yield _family(
        *("up", "gauge", "Whether a monitor runs; 0: it was killed."),
        [({"monitor": name}, int(is_running)) for name, is_running in up.items()],
    )
    version = [({"version": __version__}, 1)]
    yield _family("build", "info", "The version of memory-monitor that tells this.", version)


def _limits(units: Sequence[_Unit]) -> Iterator[Sample]:
    hierarchy = cgroup.find_hierarchy()
    if hierarchy is None:
        return

    @cache
    def above_bytes(slice_: str) -> float:
        limit = limits.tightest_limit(slice_, hierarchy.root)
        return math.inf if limit is None else limit.size_bytes

    for unit in units:
        directory = unit.record.cgroup
        if directory:
            try:
                # Units share their slices: each is read once.
                limit_bytes = min(_own_limit_bytes(directory), above_bytes(directory.rpartition("/")[0]))
            except OSError:
                continue  # What is unknown is left out; the monitor itself logs it.
            if limit_bytes < math.inf:
                yield unit.labels, int(limit_bytes)


def _own_limit_bytes(directory: str) -> float:
    """memory.max of one cgroup; infinite where there is no limit, and where the cgroup has gone.

    Without a Path, as `limits` has it: 1.3 instead of 9 µs, for each of the units of a scrape.
    """
    try:
        descriptor = os.open(f"{directory}/memory.max", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(descriptor, _LONGEST_NUMBER).strip()
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in cgroup.GONE:
            raise
        return math.inf
    return int(text) if text.isdigit() else math.inf


def _family(name: str, kind: str, text: str, samples: Sequence[Sample]) -> Family:
    return Family(PREFIX + name, kind, text, samples)


def _text(value: str) -> str:
    r"""As UTF-8 can have it: bytes of a name that are none are written as \udcXX."""
    return value if value.isascii() else value.encode(errors="backslashreplace").decode()
