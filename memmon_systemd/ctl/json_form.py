"""Targets as JSON: documented in memmonctl(1)."""

from __future__ import annotations

import math
import time

from memmon_systemd.ctl.call import Object
from memmon_systemd.ctl.view import Row
from memmon_systemd.formatting import signal_name


def target_form(row: Row) -> Object:
    """One target. Times are in seconds since 1970; what is unknown or absent is null."""
    record = row.record
    growth = row.growth_bytes_per_h
    return {
        "name": record.name,
        "kind": "unit" if record.is_unit else "process",
        "monitor": row.monitor,
        "state": record.state,
        "held_by": record.hold,
        "paused_until_s": _paused_until(record.paused_until_s),
        "metric": record.metric,
        "swap": record.swap,
        "usage_bytes": row.usage_bytes,
        "threshold_bytes": record.threshold_bytes if record.metric else None,
        "hard_threshold_bytes": record.hard_bytes,
        "share": row.share,
        "growth_bytes_per_h": None if growth is None else round(growth),
        "left_s": row.left_s,
        "trouble": row.trouble,
        "invocation_id": record.invocation_id.hex() or None,
        "measured_since_s": wall_clock(record.begun_s),
        "requests": record.requests,
        "failed_requests": record.failed_requests,
        "last_request_s": record.last_request_s,
        "failed_readings": record.failed_readings,
        "action": record.action,
        "signal": signal_name(record.signal_number),
        "dry_run": record.dry_run,
        "interval_s": record.interval_s,
        "for_s": record.for_s,
        "budget": {
            "count": record.budget_count,
            "window_s": record.budget_window_s,
            "used": used_of_budget(row),
        },
        "cgroup": record.cgroup or None,
    }


def wall_clock(monotonic_s: float | None) -> float | None:
    """A time of the monotonic clock in seconds since 1970."""
    return None if monotonic_s is None else time.time() - (time.monotonic() - monotonic_s)


def used_of_budget(row: Row) -> int:
    """How many requests are in the window of the budget now."""
    begin_s = time.monotonic() - row.record.budget_window_s
    return sum(time_s > begin_s for time_s in row.record.budget_times_s)


def _paused_until(until_s: float | None) -> float | str | None:
    """JSON has no infinity."""
    if until_s is not None and math.isinf(until_s):
        return "resumed"
    return wall_clock(until_s)
