"""What a monitor tells others of one of its targets, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GONE: Final = "gone"
"""The state of a unit that isn't monitored now, of which is kept what it was asked."""
MOST_TIMES: Final = 32
"""So many of the newest requests that count for a budget are kept."""


@dataclass(frozen=True, slots=True)
class Record:
    """One target. Times are of the monotonic clock, which all processes share, unless they say so."""

    name: str
    is_unit: bool = True
    pid: int = 0
    """Of a process; 0: a unit."""
    state: str = GONE
    hold: str | None = None
    """Why its next request is held back."""
    cgroup: str = ""
    """The directory that is measured; empty where there is none now, or where its path is too long."""
    metric: str | None = None
    swap: bool = False
    threshold_bytes: int = 0
    """Of the present invocation; 0 where nothing is measured."""
    hard_bytes: int | None = None
    interval_s: float = 0.0
    for_s: float = 0.0
    action: str = ""
    signal_number: int = 0
    dry_run: bool = False
    invocation_id: bytes = b""
    begun_s: float | None = None
    """When this invocation was first measured."""
    begun_bytes: int = 0
    """What it used then."""
    first_asked_s: float | None = None
    """The first request of this invocation."""
    asked_s: float | None = None
    """The last one of it."""
    asked_in_invocation: int = 0
    is_escalated: bool = False
    """Whether `--then-restart` has had it restarted."""
    requests: int = 0
    """Of all its invocations, since the monitor was first started."""
    failed_requests: int = 0
    last_request_s: float | None = None
    """In seconds since 1970."""
    failed_readings: int = 0
    """Of this invocation."""
    paused_until_s: float | None = None
    """Infinite: until it is resumed."""
    budget_count: int | None = None
    budget_window_s: float = 0.0
    budget_times_s: tuple[float, ...] = ()
    """The first requests of its invocations in that window: the newest `MOST_TIMES` of them."""


@dataclass(frozen=True, slots=True)
class MonitorRecord:
    """The monitor that keeps the records."""

    name: str
    version: str
    pid: int
    start_ticks: int
    """When the process was started (proc(5), starttime): with the PID, it is this process and no other."""
    boot_id: bytes
    uid: int
    is_users: bool
    """Whether its units are those of a user's service manager."""
    started_s: float
    """In seconds since 1970."""
    has_ended: bool = False
    """Whether it has ended by itself, not by a crash."""
    unrecorded: int = 0
    """How many of its targets have no record, for there are more than fit."""
