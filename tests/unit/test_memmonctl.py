"""What memmonctl answers: its words, tables and forms, against the pages that document them."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memmon_systemd.ctl import history, list_targets, suggest, words
from memmon_systemd.ctl.advice import Advice, Evidence
from memmon_systemd.ctl.call import FORM, CallError, as_json, targets_of
from memmon_systemd.ctl.command import parser
from memmon_systemd.ctl.evidence import Read
from memmon_systemd.ctl.journal import Entry, _entries
from memmon_systemd.ctl.json_form import target_form
from memmon_systemd.ctl.state import MonitorState, States
from memmon_systemd.ctl.unmonitored import Unmonitored
from memmon_systemd.ctl.view import Row, problems_of
from memmon_systemd.ctl.words import Column, Terminal
from memmon_systemd.monitor.events import Event
from memmon_systemd.output.record import MonitorRecord, Record
from tests.unit.test_man_pages import section

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "memmonctl.1.md").read_text()
FIELDS = (ROOT / "docs" / "memmonctl-json.md").read_text()
PLAIN = Terminal(None, has_colours=False)
MONITOR = MonitorRecord("memory-monitor@app", "1.0", 7, 1, bytes(16), 0, False, 5.0)
MIB = 1 << 20
OTHER = Unmonitored("idle.service", "inactive", "memory-monitor", "80%", None)


def record(name: str = "app.service", **values: Any) -> Record:
    given = {"state": "ok", "metric": "current", "threshold_bytes": 100 * MIB, "interval_s": 2.0}
    return Record(name, **{**given, **values})


def row(used_mib: int | None = 50, measured_s: float | None = 3600.0, **values: Any) -> Row:
    used_bytes = None if used_mib is None else used_mib * MIB
    return Row(record(**values), "memory-monitor@app", used_bytes, None, measured_s)


def state(*records: Record, **values: Any) -> MonitorState:
    given = {"torn": 0, "is_running": True, "path": "/run/memory-monitor/a/a.state", "monitor": MONITOR}
    return MonitorState(records=records, **{**given, **values})


def test_growth_and_what_is_left_follow_from_the_readings() -> None:
    growing = row(50, 1800.0, begun_bytes=40 * MIB)
    assert growing.growth_bytes_per_h == 20 * MIB
    assert growing.left_s == 2.5 * 3600
    assert row(110, begun_bytes=40 * MIB).left_s is None, "it is above"
    assert row(30, begun_bytes=40 * MIB).left_s is None, "it shrinks"
    assert row(50, 5.0).growth_bytes_per_h is None, "measured for too short a time"
    assert row(None).share is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"state": "held", "hold": "at-most"}, "held: at-most"),
        ({"state": "held", "hold": "paused", "paused_until_s": float("inf")}, "held: paused"),
        ({"paused_until_s": float("inf")}, "ok, paused"),
        ({"state": "signalled"}, "signalled"),
    ],
)
def test_a_state_says_why(values: dict[str, Any], said: str) -> None:
    assert words.state(record(**values)) == said


@pytest.mark.parametrize(
    ("time_s", "said"),
    [
        (0.2, "0 s"),
        (59, "59 s"),
        (61, "1 min"),
        (3599, "59 min"),
        (3661, "1 h 1 min"),
        (93784, "1 d 2 h"),
        (864000, "10 d"),
    ],
)
def test_a_span_has_two_units_at_most(time_s: float, said: str) -> None:
    assert words.span(time_s) == said


COLUMNS = (Column("NAME"), Column("A", weight=2), Column("B", is_right=True, weight=1), Column("C"))
CELLS = [["a-long-name.service", "aaaaaaaa", "1", "cc"]]


@pytest.mark.parametrize("columns", range(12, 60))
def test_a_table_fits_any_terminal_and_keeps_what_matters(columns: int) -> None:
    lines = words.table(COLUMNS, CELLS, [""], Terminal(columns, has_colours=False))
    assert max(map(len, lines)) <= max(columns, 8 + 2 + 2)
    assert "C" in lines[0]
    assert lines[0].startswith("NAME")
    assert ("A" in lines[0].split()) <= ("B" in lines[0].split()), "the one with more weight goes first"


def test_what_is_configured_and_does_not_run_is_in_the_list() -> None:
    lines = list_targets._lines(States([state(record())], []), [row()], [OTHER], [], PLAIN)
    assert lines[0] == "1 unit, 1 monitor: 1 ok; 1 configured and not running"
    assert re.split(r"  +", lines[-1]) == [
        *("idle.service", "not running", "-", "80%"),
        *("-", "-", "-", "-", "-", "memory-monitor"),
    ]


def test_names_and_problems_can_not_steer_a_terminal() -> None:
    evil = row(name="x\x1b[2J.service")
    lines = list_targets._lines(States([state(evil.record)], []), [evil], [], ["\x1b[2J"], PLAIN)
    assert not any("\x1b" in line for line in lines)


def test_of_thousands_that_a_killed_monitor_had_three_are_named() -> None:
    lost = [record(f"lost@{number}.service") for number in range(5000)]
    (problem,) = problems_of(States([state(*lost, is_running=False)], []), [])
    assert problem.endswith("it monitored lost@0.service, lost@1.service, lost@2.service and 4997 more")


def test_what_is_not_right_is_said() -> None:
    twice = record("twice.service")
    killed = replace(MONITOR, name="killed")
    states = States(
        [
            state(twice),
            state(twice, monitor=replace(MONITOR, name="other", unrecorded=2), torn=1),
            state(record("lost.service"), is_running=False, monitor=killed),
            state(is_running=False, monitor=replace(killed, name="over", has_ended=True)),
        ],
        [],
    )
    rows = [Row(twice, "memory-monitor@app", 1, None, 1.0), Row(twice, "other", None, "EIO", 1.0)]
    problems = "\n".join(problems_of(states, rows))
    assert "killed (PID 7) was killed; it monitored lost.service" in problems
    assert "1 of its records are half written" in problems
    assert "other: 2 of its targets have no record" in problems
    assert "twice.service is monitored by 2: memory-monitor@app and other" in problems
    assert "twice.service: its memory can't be read: EIO" in problems
    assert "over" not in problems.replace("monitored", ""), "it has ended by itself"


def test_a_name_is_a_service_a_glob_or_a_process() -> None:
    states = States([state(record("app.service"), record("w@1.service"), record("p[12]", pid=12))], [])
    for name, found in [("app", 1), ("app.service", 1), ("w@*", 1), ("*", 3), ("p[12]", 1)]:
        assert len(targets_of(states, name)) == found
    with pytest.raises(CallError, match=r"'aap' is not monitored: did you mean app\.service\?") as error:
        targets_of(states, "aap")
    assert error.value.status == 4
    with pytest.raises(CallError, match="no monitor is running") as error:
        targets_of(States([], []), "app")
    assert error.value.status == 3


def entry(event: Event, text: str, time_s: float = 0.0, name: str = "app.service", **fields: str) -> Entry:
    return Entry(time_s, event, name, text, fields)


def test_what_became_of_each_request_is_found() -> None:
    asked = history.paired(
        [
            entry(Event.REQUESTED, "signalled: ... (request 1 of 10)", 1.0),
            entry(Event.REQUESTED, "signalled: ... (repeat 1)", 2.0),
            entry(Event.REQUESTED, "signalled: ... (request 1 of 10)", 2.5, "other.service"),
            entry(Event.NOT_BACK, "ended, and isn't back after 90 s", 3.0),
            entry(Event.CAME_BACK, "ended after 1 s and active again after 95 s", 4.0),
            entry(Event.BUDGET_SPENT, "held: asked 10 times", 5.0),
            entry(Event.REQUESTED, "signalled: ... (request 2 of 10)", 6.0),
        ]
    )
    assert [(one.request.time_s, one.result) for one in asked] == [
        (1.0, "ended after 1 s and active again after 95 s"),
        (2.5, "no end of it is known"),
        (5.0, "held: asked 10 times"),
        (6.0, "no end of it is known"),
    ]


def test_lines_of_the_journal_are_read_whatever_is_in_them() -> None:
    line = {
        "MESSAGE_ID": Event.REQUESTED.value.message_id,
        "MESSAGE": "app[7]: signalled: rss 60 MiB is above 50 MiB",
        "__REALTIME_TIMESTAMP": "1795823988250000",
        "MEMORY_MONITOR_USAGE": "62914560",
        "MEMORY_MONITOR_METRIC": [255, 254],
    }
    odd = [{"MESSAGE": None, "MESSAGE_ID": "0"}, {**line, "MESSAGE": [1, 2]}, line]
    found = list(_entries([json.dumps(one).encode() for one in odd]))
    assert found[-1].name == "app[7]"
    assert found[-1].time_s == 1795823988.25
    assert found[-1].number("MEMORY_MONITOR_USAGE") == 60 * MIB
    assert found[-1].number("MEMORY_MONITOR_METRIC") is None


def fields(value: object, path: str = "") -> Iterator[str]:
    """The path of every value, as the page writes it."""
    if path.endswith(("readings_bytes", "last_requests")) or not isinstance(value, (dict, list)):
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from fields(inner, f"{path}.{key}".lstrip("."))
    else:
        for inner in value:
            yield from fields(inner, f"{path}[]")


def test_every_field_of_the_json_is_documented_and_no_others() -> None:
    shown = row(paused_until_s=time.monotonic() + 5)
    asked = history.Asked(entry(Event.REQUESTED, "x"), None)
    status = {**target_form(shown), "readings_bytes": {"current": 1}, "last_requests": [], "origin": "-m 80%"}
    answers: list[dict[str, object]] = [
        list_targets._form(States([state(shown.record)], []), [shown], [OTHER], ["a problem"]),
        {"targets": [status]},
        {"requests": [history.form(asked)]},
        suggest._form("app.service", Advice("80%", 1, 1, None, ("why",)), Read(Evidence(1), [], None)),
        {"paused": ["a"], "pattern": "a", "time_s": None},
        {"resumed": ["a"]},
    ]
    there = {field for answer in answers for field in fields(json.loads(as_json(answer)))}
    documented = set(re.findall(r"^\| `(\S+)` \|", FIELDS, re.MULTILINE))
    assert there - {"version"} == documented
    assert f"`version`: {FORM}." in FIELDS


def test_infinity_is_no_number_of_json() -> None:
    assert target_form(row(paused_until_s=float("inf")))["paused_until_s"] == "resumed"


def actions() -> dict[str, set[str]]:
    """By verb (empty: before it) the options."""
    top = parser()
    (verbs,) = (action for action in top._actions if action.choices)
    assert isinstance(verbs.choices, dict)
    found = {verb: {o for a in one._actions for o in a.option_strings} for verb, one in verbs.choices.items()}
    return {"": {option for action in top._actions for option in action.option_strings}, **found}


def test_the_page_has_the_verbs_and_options_that_there_are() -> None:
    by_verb = actions()
    terms = re.findall(r"^(\*\*.*)\n\n:   ", section(PAGE, "OPTIONS"), re.MULTILINE)
    documented = {option for term in terms for option in re.findall(r"\*\*(-[\w-]+)\*\*", term)}
    assert documented == set().union(*by_verb.values())
    verbs = re.findall(r"^\*\*(\w+)", section(PAGE, "VERBS"), re.MULTILINE)
    assert verbs == [verb for verb in by_verb if verb]


def test_the_completions_have_the_verbs_and_options_that_there_are() -> None:
    by_verb = actions()
    bash = (ROOT / "completions" / "bash" / "memmonctl").read_text()
    offered = {
        word
        for line in re.findall(r"(?:printf '%s\\n'|echo) (-.*?)(?: ;;)?$", bash, re.MULTILINE)
        for word in line.split()
    }
    assert offered == set().union(*by_verb.values())
    (verbs,) = re.findall(r"'' *\) printf '%s\\n' (.*) ;;", bash)
    assert verbs.split() == [verb for verb in by_verb if verb]
    zsh = (ROOT / "completions" / "zsh" / "_memmonctl").read_text()
    listed = zsh.partition("_arguments")[2]
    in_zsh = set(re.findall(r"(?<=['\"{,)])(-[\w-]+)[=+]?(?=[\[,}])", listed))
    assert in_zsh == set().union(*by_verb.values())
    assert re.findall(r"^        '(\w+):", zsh, re.MULTILINE) == [verb for verb in by_verb if verb]
