"""The journal's explanations (units/memory-monitor.catalog) against the events that the code has."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from memmon_systemd.arguments import parse
from memmon_systemd.monitor.events import Event
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.log import Log
from memmon_systemd.monitor.policy import Activity, Hold
from memmon_systemd.monitor.report import Report
from memmon_systemd.monitor.schedule import schedule_for
from memmon_systemd.monitor.target import UNBOUNDED, Outcome, Presence, Target
from memmon_systemd.settings import Metric
from tests.unit.trees import Log as Lines

CATALOG = Path(__file__).parents[2] / "units" / "memory-monitor.catalog"
# journalctl puts a margin of 3 before each line, and a terminal has 80.
LONGEST_LINE = 77
SETTINGS = parse(["-m", "500", "--for", "5", "app"])
DONE = Outcome(is_done=True, sentence="sent SIGTERM")


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


RUNNING = Presence(Activity.RUNNING, 11520.0)


class FixedGauge(Gauge):
    def measure(self) -> int:
        return self.usage_bytes


class Process(Target):
    """Without a unit: its lines have the fewest fields."""

    def presence(self, now_s: float) -> Presence:
        return RUNNING

    def request(self, now_s: float) -> Outcome:
        return DONE

    def lost(self, now_s: float) -> None:
        self.has_ended = True


def process() -> Target:
    target = Process("app[123]", None, SETTINGS.target, 90.0)
    target.begin(FixedGauge(Metric.RSS, schedule_for(500, 2.0, None)), 0.0)
    return target


def unreadable_process() -> Target:
    target = process()
    assert target.gauge is not None
    target.gauge.trouble = "EIO"
    return target


WAYS_TO_SAY: dict[Event, list[Callable[[Report], None]]] = {
    Event.STARTED: [lambda r: r.started("1.0", SETTINGS)],
    Event.WAITING: [lambda r: r.waiting("app", None, "there is no process of that name")],
    Event.BEGAN: [lambda r: r.began(process()), lambda r: r.threshold_changed(process())],
    Event.OVER: [lambda r: r.over(process())],
    Event.REQUESTED: [lambda r: r.requested(process(), DONE, RUNNING, UNBOUNDED, 0.0)],
    Event.RECOVERED: [lambda r: r.recovered(process())],
    Event.HELD: [
        lambda r: r.held(process(), Hold.STOPPING, UNBOUNDED),
        lambda r: r.held(process(), Hold.MIN_AGE, UNBOUNDED),
        lambda r: r.held(process(), Hold.AT_MOST, UNBOUNDED),
        lambda r: r.held(process(), Hold.PAUSED, UNBOUNDED),
    ],
    Event.BUDGET_SPENT: [lambda r: r.held(process(), Hold.BUDGET, UNBOUNDED)],
    Event.CAME_BACK: [lambda r: r.came_back("app.service", "ended", 3.2, 4.0)],
    Event.RESTS: [lambda r: r.rests("app.service", "ended", 1.0, "it is started by app.socket")],
    Event.NOT_BACK: [lambda r: r.not_back("app.service", "ended", 90.0, "it is failed")],
    Event.HARD_IS_LOW: [lambda r: r.warn.hard_is_low("app.service", "80 MiB")],
    Event.FAILED: [lambda r: r.request_failed(process(), DONE)],
    Event.ENDED: [lambda r: r.ended(process()), lambda r: r.no_longer_monitored(process(), "renamed")],
    Event.READING: [lambda r: r.reading(process())],
    Event.STOPPED: [lambda r: r.stopped("told to end")],
    Event.NOT_NOTIFYING: [lambda r: r.warn.not_notifying("NOTIFY_SOCKET 'x' can't be used")],
    Event.NOT_LOCKED: [lambda r: r.warn.not_locked("memory isn't locked")],
    Event.NOT_GRACEFUL: [lambda r: r.warn.not_graceful()],
    Event.UNREADABLE: [
        lambda r: r.warn.memory_unreadable("app[123]", None, "EIO"),
        lambda r: r.began(unreadable_process()),
    ],
    Event.EVENTS_UNREADABLE: [lambda r: r.warn.events_unreadable("app.service", "EIO")],
    Event.NO_MEMORY_CONTROLLER: [
        lambda r: r.warn.no_memory_controller("app.service", "cgroup v1", None),
        lambda r: r.warn.no_memory_controller("app.service", "cgroup v1", "anon"),
    ],
    Event.NO_INOTIFY: [
        lambda r: r.warn.no_inotify("inotify: EMFILE"),
        lambda r: r.warn.reloads_unseen("inotify on /run/systemd: EMFILE", 60.0),
    ],
    Event.SYSTEMD_UNAVAILABLE: [
        lambda r: r.warn.systemd_unavailable("no answer within 1 s"),
        lambda r: r.warn.systemd_busy(OSError("no answer within 1 s"), 10),
    ],
    Event.STOP_UNKNOWN: [lambda r: r.warn.stop_unknown("app.service", "no answer within 1 s")],
    Event.INVOCATION_UNKNOWN: [lambda r: r.warn.invocation_unknown("app.service", "no answer within 1 s")],
    Event.STAYS_DOWN: [lambda r: r.warn.stays_down("app.service", "Restart=no", "Restart=always")],
    Event.NOT_PERMITTED: [lambda r: r.warn.not_permitted("app.service", "no", "be root")],
    Event.RESTART_UNKNOWN: [lambda r: r.warn.restart_unknown("app.service", "no answer within 1 s")],
    Event.NAME_GUESSED: [lambda r: r.warn.name_guessed("app", "app.service", "no answer within 1 s")],
    Event.SKIPPED: [
        lambda r: r.warn.unit_skipped("init.scope", "PID 1 runs in it"),
        lambda r: r.warn.process_skipped(123),
    ],
    Event.NO_UNIT: [lambda r: r.warn.no_unit("app[123]")],
    Event.SEARCH_FAILED: [lambda r: r.warn.search_failed("app", "EMFILE")],
    Event.SEARCH_RECOVERED: [lambda r: r.warn.search_recovered("app", 2)],
    Event.SETTINGS_NOT_READ: [lambda r: r.warn.settings_not_read(r"/etc/x\x2dy.conf", "/etc/xx2dy.conf")],
    Event.BUG: [lambda r: r.warn.bug(OSError("EIO"))],
    Event.UNITS_UNLISTED: [lambda r: r.warn.units_unlisted("EMFILE")],
    Event.NAME_UNREADABLE: [
        lambda r: r.warn.name_unreadable("app", "ETIMEDOUT", 1),
        lambda r: r.warn.name_unreadable("app", "ETIMEDOUT", 10),
    ],
    Event.PROCESS_NOT_HELD: [lambda r: r.warn.process_not_held("app", 123, "EPERM")],
    Event.FEW_DESCRIPTORS: [lambda r: r.warn.few_descriptors("EPERM")],
    Event.OWNER_SKIPPED: [lambda r: r.warn.owner_skipped("cron.service", "app[123]", "another main process")],
    Event.SETTINGS_CHANGED: [lambda r: r.settings_changed(process(), ["Threshold=80% (was 90%)"])],
    Event.LEFT_TO_ANOTHER: [lambda r: r.left_to("app.service", "memory-monitor@app.service")],
    Event.TAKEN_OVER: [lambda r: r.taken_over("app.service", "memory-monitor@app.service")],
    Event.UNIT_SETTINGS_WRONG: [lambda r: r.warn.unit_settings("app.service", "/x:3: 'q'", is_kept=True)],
    Event.HOOK_UNFIT: [
        lambda r: r.warn.hook_unfit("app.service", "--on-request", "mail.service", "not found"),
        lambda r: r.warn.hooks_unknown("app.service", "no answer within 1 s"),
    ],
    Event.HOOK_STARTED: [lambda r: r.hook_started("app.service", "mail.service")],
    Event.HOOK_FAILED: [lambda r: r.warn.hook_failed("app.service", "mail.service", "it failed")],
    Event.CONDITION_REFUSED: [lambda r: r.warn.condition_refused("app.service", "lock.service", "it failed")],
    Event.UNIT_FILES_UNKNOWN: [lambda r: r.warn.unit_files_unknown("no answer within 1 s")],
    Event.OWNER_UNKNOWN: [lambda r: r.warn.owner_unknown("app.service", "app[123]", "no answer within 1 s")],
    Event.PAUSED: [lambda r: r.paused("worker@*.service", None, "until 14:05")],
    Event.RESUMED: [
        lambda r: r.resumed("worker@*.service", None, "the pause has ended"),
        lambda r: r.resumed_above(process(), "resumed"),
    ],
    Event.STATE_UNWRITTEN: [lambda r: r.warn.state_unwritten("/run/memory-monitor: Permission denied")],
    Event.PAUSE_UNREADABLE: [lambda r: r.warn.pause_unreadable("/run/memory-monitor/x.pause", "EIO")],
    Event.NEAR_UNIT: [
        lambda r: r.warn.near_unit("myap", {"myapp"}, "; no unit myap.service; did you mean myapp.service?")
    ],
}


def test_every_event_is_explained_once_and_nothing_else_is() -> None:
    explained = Counter(entry.message_id for entry in entries())
    assert explained == Counter(event.value.message_id for event in Event)


@pytest.mark.parametrize("event", Event)
def test_an_explanation_uses_only_fields_that_every_line_of_its_event_has(event: Event) -> None:
    (entry,) = (entry for entry in entries() if entry.message_id == event.value.message_id)
    used = set(re.findall(r"@(\w+)@", "".join(entry.headers.values()) + entry.text))
    for say in WAYS_TO_SAY[event]:
        lines = Lines()
        say(Report(Log(lines, is_quiet=False)))
        (fields,) = lines.fields
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
    assert named == {Event.REQUESTED.value.message_id}
