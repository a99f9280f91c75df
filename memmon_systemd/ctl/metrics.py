"""`memmonctl metrics`: OpenMetrics text (the exposition format of OpenMetrics 1.0), of units only.

A process has no name that stays, and a label that never comes again is a burden to whoever stores it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from memmon_systemd import __version__
from memmon_systemd.ctl.call import Call
from memmon_systemd.ctl.json_form import wall_clock
from memmon_systemd.ctl.state import States, read_states
from memmon_systemd.ctl.view import Row, rows_of
from memmon_systemd.errors import EXIT_OK
from memmon_systemd.linux import cgroup, limits
from memmon_systemd.output.standard import write_text

_PREFIX: Final = "memory_monitor"
_Sample: TypeAlias = tuple[dict[str, str], float | int]


def run(call: Call) -> int:
    """Print them; the exit status. Without a monitor there are none but what says so."""
    states = read_states(call.directories)
    rows = [row for row in rows_of(states) if row.record.is_unit]
    write_text(exposition(states, rows))
    return EXIT_OK


def exposition(states: States, rows: Sequence[Row]) -> str:
    """The text; a unit that two monitors have is in it once, by the first."""
    once = list({row.record.name: row for row in reversed(rows)}.values())
    lines: list[str] = []
    for name, kind, unit, text, samples in _families(states, sorted(once, key=lambda row: row.record.name)):
        family = f"{_PREFIX}_{name}"
        lines += [f"# TYPE {family} {kind}"]
        lines += [f"# UNIT {family} {unit}"] if unit else []
        lines += [f"# HELP {family} {text}"]
        suffix = {"counter": "_total", "info": "_info"}.get(kind, "")
        lines += [f"{family}{suffix}{_labels(labels)} {_number(value)}" for labels, value in samples]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _families(states: States, rows: Sequence[Row]) -> Iterator[tuple[str, str, str, str, Sequence[_Sample]]]:
    """Name, type, unit, help and samples of each."""
    measured = [row for row in rows if row.record.metric]
    yield (
        *("usage_bytes", "gauge", "bytes", "Memory that a unit uses now, by the metric that is compared."),
        [
            ({**_name(row), "metric": str(row.record.metric)}, row.usage_bytes)
            for row in measured
            if row.usage_bytes is not None
        ],
    )
    yield (
        *("threshold_bytes", "gauge", "bytes", "Above it the unit is asked to exit or restart."),
        [(_name(row), row.record.threshold_bytes) for row in measured],
    )
    yield (
        *("hard_threshold_bytes", "gauge", "bytes", "Above it only the budget holds a request back."),
        [(_name(row), row.record.hard_bytes) for row in measured if row.record.hard_bytes is not None],
    )
    yield (
        *("limit_bytes", "gauge", "bytes", "The tightest memory.max from the unit up to the root."),
        [(_name(row), limit) for row in measured if (limit := _limit_bytes(row)) is not None],
    )
    yield ("requests", "counter", "", "Requests to exit, restart or reload.", list(_requests(rows)))
    yield (
        *("held", "gauge", "", "1 while a unit is above its threshold and isn't asked, for this reason."),
        [({**_name(row), "reason": row.record.hold}, 1) for row in rows if row.record.hold],
    )
    yield (
        *("failed_readings", "counter", "", "Readings of the present invocation that failed."),
        [(_name(row), row.record.failed_readings) for row in rows],
    )
    yield (
        *("last_request_timestamp_seconds", "gauge", "seconds", "When the unit was last asked."),
        [(_name(row), row.record.last_request_s) for row in rows if row.record.last_request_s is not None],
    )
    yield (
        *(
            "invocation_start_timestamp_seconds",
            "gauge",
            "seconds",
            "When its invocation was first measured.",
        ),
        [(_name(row), begun_s) for row in rows if (begun_s := wall_clock(row.record.begun_s)) is not None],
    )
    yield (
        *("up", "gauge", "", "Whether a monitor runs; 0: it was killed."),
        [
            ({"monitor": state.monitor.name}, int(state.is_running))
            for state in states.monitors
            if state.is_running or not state.monitor.has_ended
        ],
    )
    yield ("build", "info", "", "The version of memmonctl.", [({"version": __version__}, 1)])


def _requests(rows: Sequence[Row]) -> Iterator[_Sample]:
    for row in rows:
        labels = {**_name(row), "action": row.record.action}
        yield {**labels, "result": "done"}, row.record.requests
        yield {**labels, "result": "failed"}, row.record.failed_requests


def _name(row: Row) -> dict[str, str]:
    return {"name": row.record.name}


def _limit_bytes(row: Row) -> int | None:
    hierarchy = cgroup.find_hierarchy()
    if hierarchy is None or not row.record.cgroup:
        return None
    try:
        return limits.tightest_limit_bytes(Path(row.record.cgroup), hierarchy.root)
    except OSError:
        return None


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{key}="{_escaped(value)}"' for key, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    value = value.encode(errors="backslashreplace").decode()
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"
