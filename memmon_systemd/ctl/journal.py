"""What monitors have logged, by journalctl(1)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from memmon_systemd.ctl.call import CallError
from memmon_systemd.monitor.events import Event

_EVENTS: Final = {
    event.value.message_id: event
    for event in (Event.REQUESTED, Event.BUDGET_SPENT, Event.CAME_BACK, Event.NOT_BACK, Event.FAILED)
}
_FIELDS: Final = (
    *("MESSAGE", "MESSAGE_ID", "MEMORY_MONITOR_UNIT", "MEMORY_MONITOR_USAGE", "MEMORY_MONITOR_THRESHOLD"),
    *("MEMORY_MONITOR_METRIC", "MEMORY_MONITOR_AGE_SEC", "MEMORY_MONITOR_GROWTH", "MEMORY_MONITOR_SIGNAL"),
    *("MEMORY_MONITOR_ENDED_SEC", "MEMORY_MONITOR_ACTIVE_SEC", "MEMORY_MONITOR_REQUEST"),
)
_PLACES: Final = ("/var/log/journal", "/run/log/journal")
_MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log."""

    time_s: float
    event: Event
    name: str
    """The unit or process."""
    text: str
    """The line without the name."""
    fields: dict[str, str]

    def number(self, field: str) -> float | None:
        """A field that is a number; None where it isn't there."""
        try:
            return float(self.fields[field])
        except (KeyError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Log:
    """What was asked for."""

    entries: Sequence[Entry]
    """The oldest first."""
    lacks: str | None
    """Why there may be more than this user may read."""


def read(unit: str | None, since: str | None, until: str | None, *, is_users: bool = False) -> Log:
    """The requests and what became of them; CallError where the journal can't be read."""
    options = [f"--since={since}"] if since else []
    options += [f"--until={until}"] if until else []
    options += [f"MESSAGE_ID={message_id}" for message_id in _EVENTS]
    options += [f"MEMORY_MONITOR_UNIT={unit}"] if unit else []
    lines, lacks = _lines(options, is_users=is_users)
    return Log(list(_entries(lines)), lacks)


def readings(unit: str, since_s: float, *, is_users: bool) -> list[tuple[float, int]]:
    """What monitors have logged of a unit's memory from a time on: time and bytes, the oldest first."""
    lines, _ = _lines([f"--since=@{since_s:.0f}", f"MEMORY_MONITOR_UNIT={unit}"], is_users=is_users)
    found: list[tuple[float, int]] = []
    for line in lines:
        fields = json.loads(line)
        usage = fields.get("MEMORY_MONITOR_USAGE")
        if isinstance(usage, str) and usage.isdecimal():
            found.append((int(fields["__REALTIME_TIMESTAMP"]) / _MICROSECONDS, int(usage)))
    return [one for one in found if one[0] >= since_s]


def count(matches: Sequence[str], *, is_users: bool) -> int:
    """How many lines match all of these."""
    lines, _ = _lines(matches, is_users=is_users)
    return len(lines)


def _lines(options: Sequence[str], *, is_users: bool) -> tuple[Sequence[bytes], str | None]:
    """What journalctl finds, and why there may be more than this user may read; CallError."""
    command = ["journalctl", "--output=json", "--no-pager", f"--output-fields={','.join(_FIELDS)}"]
    command += ["--user"] if is_users else []
    environ = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run([*command, *options], capture_output=True, env=environ, check=False)
    except FileNotFoundError:
        raise CallError("the journal is read by journalctl, which isn't installed") from None
    said = done.stderr.decode(errors="replace")
    lacks = None
    if not is_users and not _may_read_the_systems():
        lacks = "only your own journal is shown: for the system's, be root or in the group systemd-journal"
    if done.returncode != 0 and not done.stdout and lacks is None and said.strip():
        raise CallError(f"journalctl failed: {said.strip().splitlines()[0]}")
    return done.stdout.splitlines(), lacks


def _may_read_the_systems() -> bool:
    """Whether this user may read the journal of the system: journalctl(1) doesn't say it of every one."""
    may = True
    for place in _PLACES:
        try:
            machines = os.listdir(place)
        except OSError:
            continue  # There is none there, or no right to see.
        for machine in machines:
            file = f"{place}/{machine}/system.journal"
            hidden = not os.access(f"{place}/{machine}", os.R_OK | os.X_OK)
            may = may and not hidden and (not os.path.exists(file) or os.access(file, os.R_OK))
    return may


def _entries(lines: Iterable[bytes]) -> Iterable[Entry]:
    for line in lines:
        found = json.loads(line)
        # A field that isn't text comes as a list of numbers, one that is too long as null.
        fields = {key: value for key, value in found.items() if isinstance(value, str)}
        event = _EVENTS.get(fields.get("MESSAGE_ID", ""))
        message = fields.get("MESSAGE", "")
        if event is None or "__REALTIME_TIMESTAMP" not in fields:
            continue
        name, _, text = message.partition(": ")
        name = fields.get("MEMORY_MONITOR_UNIT", name)
        yield Entry(int(fields["__REALTIME_TIMESTAMP"]) / _MICROSECONDS, event, name, text, fields)
