"""`memmonctl list`: everything that is monitored, the nearest to its threshold first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from memmon_systemd.ctl import words
from memmon_systemd.ctl.call import Call, Object, as_json
from memmon_systemd.ctl.json_form import target_form
from memmon_systemd.ctl.state import States
from memmon_systemd.ctl.unmonitored import Unmonitored, unmonitored
from memmon_systemd.ctl.view import Row, problems_of, rows_of
from memmon_systemd.ctl.words import NOTHING, Column, Terminal
from memmon_systemd.errors import EXIT_NO_MONITOR, EXIT_OK
from memmon_systemd.formatting import few
from memmon_systemd.output.standard import write_text
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import Manager

COLUMNS: Final = (
    Column("NAME"),
    Column("STATE"),
    Column("USED", is_right=True),
    Column("THRESHOLD", is_right=True, weight=1),
    Column("SHARE", is_right=True),
    Column("GROWTH/H", is_right=True, weight=4),
    Column("LEFT", is_right=True, weight=2),
    Column("ASKED", is_right=True, weight=3),
    Column("LAST ASKED", is_right=True, weight=5),
    Column("MONITOR", weight=6),
)


def run(call: Call) -> int:
    """Print it; the exit status."""
    states = call.states()
    rows = rows_of(states)
    others, problems = _others(call, states)
    problems = [*problems_of(states, rows), *problems]
    if call.is_json:
        write_text(as_json(_form(states, rows, others, problems)))
    else:
        write_text("\n".join(_lines(states, rows, others, problems, call.terminal)) + "\n")
    return EXIT_OK if states.running else EXIT_NO_MONITOR


def _others(call: Call, states: States) -> tuple[list[Unmonitored], list[str]]:
    """What is configured and isn't monitored; with what there is to say of it."""
    others: list[Unmonitored] = []
    problems: list[str] = []
    for is_users in call.managers:
        running = [state for state in states.running if state.monitor.is_users == is_users]
        monitored = {record.name for state in running for record in state.targets}
        try:
            manager = Manager(is_users, call.environ)
            others += unmonitored(manager, monitored, {state.monitor.name for state in running})
        except BusError as error:
            whose = "the user's systemd" if is_users else "systemd"
            problems.append(f"{whose} can't be asked which other units are configured: {error}")
    alike: dict[str, list[str]] = {}
    for one in others:
        if one.problem is not None:
            alike.setdefault(one.problem, []).append(one.name)
    problems += [f"{few(names)}: {problem}" for problem, names in alike.items()]
    return others, problems


def _form(
    states: States, rows: Sequence[Row], others: Sequence[Unmonitored], problems: Sequence[str]
) -> Object:
    return {
        "monitors": [
            {
                "name": state.monitor.name,
                "pid": state.monitor.pid,
                "memory_monitor_version": state.monitor.version,
                "running": state.is_running,
                "ended": state.monitor.has_ended,
                "user": state.monitor.is_users,
                "started_s": state.monitor.started_s,
                "state_file": state.path,
            }
            for state in states.monitors
        ],
        "targets": [target_form(row) for row in rows],
        "not_monitored": [
            {
                "name": one.name,
                "active_state": one.active_state,
                "monitor": one.monitor,
                "threshold": one.threshold,
                "problem": one.problem,
            }
            for one in others
        ],
        "problems": list(problems),
    }


def _lines(
    states: States,
    rows: Sequence[Row],
    others: Sequence[Unmonitored],
    problems: Sequence[str],
    terminal: Terminal,
) -> list[str]:
    lines = [summary(states, rows, others, problems)]
    if rows or others:
        all_cells = [*map(cells, rows), *map(_cells_of_other, others)]
        kinds = [*map(kind, rows), *("problem" if one.problem else "" for one in others)]
        lines += words.table(COLUMNS, all_cells, kinds, terminal)
    lines += [terminal.colour("problem", f"! {words.safe(problem)}") for problem in problems]
    return lines


def summary(
    states: States, rows: Sequence[Row], others: Sequence[Unmonitored], problems: Sequence[str]
) -> str:
    """How many there are of everything."""
    counts = Counter(row.record.state for row in rows)
    by_state = ", ".join(f"{count} {state}" for state, count in counts.most_common()) or "nothing to measure"
    are_units = all(row.record.is_unit for row in rows)
    noun = "unit" if are_units else "target"
    monitors = words.plural(len(states.running), "monitor")
    wrong = f"; {words.plural(len(problems), 'problem')}, see below" if problems else ""
    down = sum(one.problem is None for one in others)
    idle = f"; {down} configured and not running" if down else ""
    return f"{words.plural(len(rows), noun)}, {monitors}: {by_state}{idle}{wrong}"


def kind(row: Row) -> str:
    """What decides the colour of a row."""
    return "problem" if row.trouble else row.record.state


def cells(row: Row) -> list[str]:
    """What stands in the columns."""
    record = row.record
    share = NOTHING if row.share is None else f"{row.share * 100:.0f}%"
    return [
        words.safe(record.name),
        words.state(record),
        "unreadable" if row.trouble else words.size(row.usage_bytes),
        words.size(record.threshold_bytes if record.metric else None),
        share,
        words.growth(row.growth_bytes_per_h),
        NOTHING if row.left_s is None else words.span(row.left_s),
        f"{record.requests}x" if record.requests else NOTHING,
        words.ago(record.last_request_s),
        words.safe(row.monitor),
    ]


def _cells_of_other(one: Unmonitored) -> list[str]:
    state = "not monitored" if one.problem else {"failed": "failed"}.get(one.active_state, "not running")
    blank = [NOTHING] * (len(COLUMNS) - 5)
    return [words.safe(one.name), state, NOTHING, one.threshold or NOTHING, *blank, words.safe(one.monitor)]
