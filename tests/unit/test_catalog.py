"""The journal's explanations (units/memory-monitor.catalog) against the events that the code has."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from memmon_systemd.arguments import parse
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.policy import State
from memmon_systemd.monitor.report import Event, Report
from memmon_systemd.monitor.schedule import Ladder
from memmon_systemd.monitor.target import Outcome, Target
from memmon_systemd.output.notify import Notifier
from memmon_systemd.settings import Metric
from tests.unit.trees import Log

CATALOG = Path(__file__).parents[2] / "units" / "memory-monitor.catalog"
# journalctl puts a margin of 3 before each line, and a terminal has 80.
LONGEST_LINE = 77
DONE = Outcome(done=True, what="sent SIGTERM")


@dataclass(frozen=True, slots=True)
class Entry:
    """One explanation."""

    message_id: str
    headers: dict[str, str]
    text: str


def entries() -> list[Entry]:
    """All of the catalog, by the format's rules: "-- ID", headers, an empty line, text."""
    text = re.sub(r"^#.*\n", "", CATALOG.read_text(), flags=re.MULTILINE)
    _, *parts = re.split(r"^-- (.*)\n", text, flags=re.MULTILINE)
    found = []
    for message_id, entry in zip(parts[::2], parts[1::2], strict=True):
        head, _, body = entry.partition("\n\n")
        headers = dict(line.split(": ", 1) for line in head.splitlines())
        found.append(Entry(message_id, headers, body.strip()))
    return found


class FixedGauge(Gauge):
    def measure(self) -> int:
        return self.usage_bytes


class Process(Target):
    """Without a unit: its lines have the fewest fields."""

    def is_same(self) -> bool:
        return True

    def act(self, now_s: float) -> Outcome:
        return DONE

    def lost(self, now_s: float) -> None:
        self.ended = True


def process() -> Target:
    target = Process("app[123]", None, 90.0)
    target.begin(FixedGauge(Metric.RSS, Ladder.climb(500, 2.0, None)), 0.0)
    target.enter(State.OK, 0.0)
    return target


WAYS_TO_SAY: dict[Event, list[Callable[[Report], None]]] = {
    Event.STARTED: [lambda r: r.started("1.0")],
    Event.WAITING: [lambda r: r.waiting("app", None, "there is no process of that name")],
    Event.BEGAN: [lambda r: r.began(process()), lambda r: r.limit_changed(process())],
    Event.OVER: [lambda r: r.over(process())],
    Event.ACTED: [lambda r: r.acted(process(), DONE)],
    Event.FELL: [lambda r: r.fell(process())],
    Event.FAILED: [lambda r: r.failed(process(), DONE), lambda r: r.bug(OSError("EIO"))],
    Event.ENDED: [lambda r: r.ended(process()), lambda r: r.left_alone(process(), "renamed")],
    Event.WARNING: [lambda r: r.warn("it is not locked"), lambda r: r.unreadable(process())],
    Event.READING: [lambda r: r.reading(process())],
    Event.STOPPED: [lambda r: r.stopped("told to end")],
}


def test_every_event_is_explained_once_and_nothing_else_is() -> None:
    explained = Counter(entry.message_id for entry in entries())
    assert explained == Counter(event.value.message_id for event in Event)


@pytest.mark.parametrize("event", Event)
def test_an_explanation_uses_only_fields_that_every_line_of_its_event_has(event: Event) -> None:
    (entry,) = (entry for entry in entries() if entry.message_id == event.value.message_id)
    used = set(re.findall(r"@(\w+)@", "".join(entry.headers.values()) + entry.text))
    for say in WAYS_TO_SAY[event]:
        log = Log()
        say(Report(parse(["-v", "-m", "500", "--for", "5", "app"]), log, Notifier(None, None, None)))
        (fields,) = log.fields
        assert fields["MESSAGE_ID"] == event.value.message_id
        assert used <= set(fields)


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.headers["Subject"])
def test_an_explanation_has_a_subject_says_whose_it_is_and_fits_a_terminal(entry: Entry) -> None:
    assert set(entry.headers) == {"Subject", "Defined-By", "Documentation"}
    assert entry.headers["Defined-By"] == "memory-monitor"
    assert entry.text
    assert max(map(len, entry.text.splitlines())) <= LONGEST_LINE


def test_ids_that_a_text_names_are_those_of_events() -> None:
    named = {message_id for entry in entries() for message_id in re.findall(r"\b[0-9a-f]{32}\b", entry.text)}
    assert named == {Event.ACTED.value.message_id}
