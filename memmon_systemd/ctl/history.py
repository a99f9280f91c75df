"""`memmonctl history`: when a unit was asked, why, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from memmon_systemd.ctl import words
from memmon_systemd.ctl.call import Call, CallError, Object, as_json, unknown
from memmon_systemd.ctl.journal import Entry, Log, read
from memmon_systemd.ctl.state import read_states
from memmon_systemd.ctl.words import NOTHING, Column, Terminal
from memmon_systemd.errors import EXIT_FAILED, EXIT_NOT_FOUND, EXIT_OK
from memmon_systemd.monitor.events import Event
from memmon_systemd.output.standard import write_error, write_text

_COLUMNS: Final = (
    Column("TIME"),
    Column("NAME"),
    Column("USED", is_right=True),
    Column("THRESHOLD", is_right=True, weight=3),
    Column("GROWTH/H", is_right=True, weight=1),
    Column("AGE", is_right=True, weight=2),
    Column("WHAT BECAME OF IT"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, or one that couldn't be made, and what is known of what followed."""

    request: Entry
    outcome: Entry | None

    @property
    def result(self) -> str:
        """In a sentence."""
        if self.request.event is Event.REQUESTED:
            return self.outcome.text if self.outcome else "no end of it is known"
        return self.request.text


def run(
    call: Call, unit: str | None, since: str | None, until: str | None, most: int | None, *, is_users: bool
) -> int:
    """Print it; the exit status."""
    full_name = _full_name(call, unit)
    log = read(full_name, since, until, is_users=is_users)
    asked = paired(log.entries)
    if unit and not asked and log.lacks is None:
        states = read_states(call.directories)
        if full_name not in states.names:
            why = f"no request to '{words.safe(unit)}' is in the journal, and {unknown(states, unit)}"
            raise CallError(why, EXIT_NOT_FOUND)
    asked = asked[-most:] if most else asked
    if call.is_json:
        write_text(as_json({"requests": [form(one) for one in asked]}))
    else:
        write_text("\n".join(lines_of(asked, call.terminal)) + "\n")
    if log.lacks is not None:
        write_error(log.lacks, "memmonctl")
        return EXIT_OK if asked else EXIT_FAILED
    return EXIT_OK


def paired(entries: Sequence[Entry]) -> list[Asked]:
    """Each request with what is known to have come of it before the next one to that unit."""
    open_requests: dict[str, int] = {}
    found: list[Asked] = []
    for entry in entries:
        if entry.event in (Event.CAME_BACK, Event.NOT_BACK):
            place = open_requests.get(entry.name)
            if place is not None:
                found[place] = Asked(found[place].request, entry)
                if entry.event is Event.CAME_BACK:
                    del open_requests[entry.name]
            continue
        if entry.event is Event.REQUESTED:
            if "repeat " in entry.text and entry.name in open_requests:
                continue  # The same invocation was asked again.
            open_requests[entry.name] = len(found)
        found.append(Asked(entry, None))
    return found


def recent(unit: str, most: int, *, is_users: bool) -> tuple[list[Asked], Log]:
    """The last requests to a unit."""
    log = read(unit, None, None, is_users=is_users)
    return paired(log.entries)[-most:], log


def lines_of(asked: Sequence[Asked], terminal: Terminal) -> list[str]:
    """A summary, and a line for each."""
    units = len({one.request.name for one in asked})
    if not asked:
        return ["no requests in the journal"]
    summary = f"{words.plural(len(asked), 'request')} to {words.plural(units, 'unit')}"
    kinds = ["problem" if _is_bad(one) else "" for one in asked]
    return [summary, *words.table(_COLUMNS, [list(_cells(one)) for one in asked], kinds, terminal)]


def form(asked: Asked) -> Object:
    """One as JSON."""
    request, outcome = asked.request, asked.outcome
    return {
        "name": request.name,
        "time_s": request.time_s,
        "event": request.event.name.lower().replace("_", "-"),
        "usage_bytes": request.number("MEMORY_MONITOR_USAGE"),
        "threshold_bytes": request.number("MEMORY_MONITOR_THRESHOLD"),
        "metric": request.fields.get("MEMORY_MONITOR_METRIC"),
        "growth_bytes_per_h": request.number("MEMORY_MONITOR_GROWTH"),
        "age_s": request.number("MEMORY_MONITOR_AGE_SEC"),
        "signal": request.fields.get("MEMORY_MONITOR_SIGNAL"),
        "message": request.text,
        "outcome": None if outcome is None else outcome.text,
        "ended_after_s": None if outcome is None else outcome.number("MEMORY_MONITOR_ENDED_SEC"),
        "active_after_s": None if outcome is None else outcome.number("MEMORY_MONITOR_ACTIVE_SEC"),
    }


def _is_bad(asked: Asked) -> bool:
    if asked.outcome is not None and asked.outcome.event is Event.CAME_BACK:
        return "kill" in asked.outcome.text
    return asked.outcome is not None or asked.request.event is not Event.REQUESTED


def _cells(asked: Asked) -> Iterable[str]:
    request = asked.request
    yield words.clock(request.time_s)
    yield words.safe(request.name)
    for field in ("MEMORY_MONITOR_USAGE", "MEMORY_MONITOR_THRESHOLD"):
        number = request.number(field)
        yield words.size(None if number is None else int(number))
    yield words.growth(request.number("MEMORY_MONITOR_GROWTH"))
    age_s = request.number("MEMORY_MONITOR_AGE_SEC")
    yield NOTHING if age_s is None else words.span(age_s)
    yield words.safe(asked.result)


def _full_name(call: Call, unit: str | None) -> str | None:
    """The name as the journal has it: what is monitored decides, else it is a service."""
    if unit is None or "." in unit:
        return unit
    names = read_states(call.directories).names
    return unit if unit in names else f"{unit}.service"
