"""`memmonctl status UNIT`: its settings, what it uses by every metric, and its last requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from memmon_systemd.ctl import history, words
from memmon_systemd.ctl.call import Call, CallError, as_json, targets_of
from memmon_systemd.ctl.chart import Line, Point, chart, plot
from memmon_systemd.ctl.evidence import points_of
from memmon_systemd.ctl.json_form import target_form, used_of_budget
from memmon_systemd.ctl.origin import origin
from memmon_systemd.ctl.state import MonitorState
from memmon_systemd.ctl.view import Row, row_of, usage_of
from memmon_systemd.errors import EXIT_OK
from memmon_systemd.formatting import format_seconds, signal_name
from memmon_systemd.output.record import Record
from memmon_systemd.output.standard import write_text
from memmon_systemd.settings import Metric

_OF_UNITS: Final = (Metric.UNRECLAIMABLE, Metric.CURRENT, Metric.WORKING_SET, Metric.ANON, Metric.RSS)
_OF_PROCESSES: Final = (Metric.RSS, Metric.PSS)
_LAST: Final = 5


def run(call: Call, name: str, plot_path: str | None) -> int:
    """Print it of each target that the name means; the exit status."""
    found = targets_of(call.states(), name)
    rows = [(state, row_of(state, record)) for state, record in found]
    if plot_path is not None:
        state, row = rows[0]
        plot(row.record.name, _points(state, row), _heights(row), plot_path)
    if call.is_json:
        forms = []
        for state, row in rows:
            asked, _ = _last(state, row.record)
            readings = {metric.value: usage for metric, usage, _ in _readings(row.record)}
            last = [history.form(one) for one in asked]
            more = {"readings_bytes": readings, "last_requests": last}
            forms.append({**target_form(row), **more, "origin": origin(call, state, row.record.name)})
        write_text(as_json({"targets": forms}))
    else:
        write_text("\n\n".join("\n".join(_lines(call, state, row)) for state, row in rows) + "\n")
    return EXIT_OK


def _lines(call: Call, state: MonitorState, row: Row) -> list[str]:
    record, monitor = row.record, state.monitor
    process = f"PID {monitor.pid}, version {monitor.version}"
    lines = [
        f"{words.safe(record.name)}: {words.state(record)}{_nearness(row)}",
        f"  monitor     {words.safe(monitor.name)} ({process}), since {words.clock(monitor.started_s)}",
        f"  settings    {_settings(row)}",
        f"  from        {origin(call, state, record.name)}",
        f"  invocation  {_invocation(row)}",
        f"  requests    {_requests(row)}",
        "",
    ]
    for metric, usage_bytes, trouble in _readings(record):
        counts = "  <- counts" if metric.value == record.metric else ""
        said = f"can't be read: {trouble}" if trouble else words.size(usage_bytes)
        lines.append(f"  {metric.value:14}{said:>12}{counts}")
    if not record.metric:
        lines.append("  it isn't running")
    drawn = chart(_points(state, row), _heights(row), call.terminal.columns)
    lines += ["", *drawn] if drawn else []
    asked, lacks = _last(state, record)
    if asked:
        lines += ["", *("  " + line for line in history.lines_of(asked, call.terminal)[1:])]
    if lacks:
        lines += ["", f"  {lacks}"]
    return lines


def _points(state: MonitorState, row: Row) -> list[Point]:
    """The readings of the present invocation, as far as the journal can be read."""
    try:
        return points_of(row.record, row.record.name, row.usage_bytes, is_users=state.monitor.is_users)
    except CallError:
        return points_of(replace(row.record, is_unit=False), "", row.usage_bytes, is_users=False)


def _heights(row: Row) -> list[Line]:
    return [Line("threshold", row.record.threshold_bytes)] if row.record.metric else []


def _nearness(row: Row) -> str:
    record = row.record
    if row.share is None:
        return ""
    left = f", at its threshold in {words.span(row.left_s)}" if row.left_s else ""
    used, threshold = words.size(row.usage_bytes), words.size(record.threshold_bytes)
    return f": {used} of {threshold} ({row.share * 100:.0f}%){left}"


def _settings(row: Row) -> str:
    record = row.record
    parts = [f"threshold {words.size(record.threshold_bytes)}" if record.metric else "no threshold yet"]
    if record.hard_bytes is not None:
        parts.append(f"hard threshold {words.size(record.hard_bytes)}")
    if record.metric:
        parts.append(f"{record.metric}{' and swap' if record.swap else ''}")
    parts.append(f"interval {format_seconds(record.interval_s)}")
    if record.for_s:
        parts.append(f"for {format_seconds(record.for_s)}")
    parts.append(signal_name(record.signal_number) if record.action == "signal" else record.action)
    if record.budget_count is not None:
        window = format_seconds(record.budget_window_s)
        parts.append(f"budget {used_of_budget(row)} of {record.budget_count} within {window}")
    if record.dry_run:
        parts.append("dry run")
    return ", ".join(parts)


def _invocation(row: Row) -> str:
    record = row.record
    if row.measured_s is None:
        return "none is measured"
    grown = "" if row.growth_bytes_per_h is None else f", {words.growth(row.growth_bytes_per_h)} per hour"
    return f"measured for {words.span(row.measured_s)}, from {words.size(record.begun_bytes)}{grown}"


def _requests(row: Row) -> str:
    record = row.record
    last = words.ago(record.last_request_s)
    made = f"{record.requests}, the last {last}" if record.requests else "none"
    failed = f", {record.failed_requests} failed" if record.failed_requests else ""
    unread = f", {words.plural(record.failed_readings, 'failed reading')}" if record.failed_readings else ""
    return f"{made}{failed}{unread}"


def _readings(record: Record) -> list[tuple[Metric, int | None, str | None]]:
    """By every metric: what is used, or why that can't be read."""
    found: list[tuple[Metric, int | None, str | None]] = []
    if not record.metric or not (record.cgroup or record.pid):
        return found
    for metric in _OF_PROCESSES if record.pid else _OF_UNITS:
        try:
            found.append((metric, usage_of(record, metric), None))
        except (OSError, ValueError) as error:
            found.append((metric, None, getattr(error, "strerror", None) or str(error)))
    return found


def _last(state: MonitorState, record: Record) -> tuple[Sequence[history.Asked], str | None]:
    """The last requests, as far as the journal tells; and what it doesn't."""
    if not record.is_unit:
        return (), None
    try:
        asked, log = history.recent(record.name, _LAST, is_users=state.monitor.is_users)
    except CallError as error:
        return (), str(error)
    return asked, log.lacks
