import linecache
import re
import socket
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from memmon_systemd.arguments import parse
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.policy import State
from memmon_systemd.monitor.report import Event, Report
from memmon_systemd.monitor.schedule import Ladder
from memmon_systemd.monitor.target import Outcome, Target
from memmon_systemd.output.notify import Notifier
from memmon_systemd.settings import Metric
from tests.unit.trees import MIB, Log

DONE = Outcome(done=True, what="sent SIGTERM to the main process (KillUnit)")
NOT_DONE = Outcome(done=False, what="no answer within 1 s")


class FixedGauge(Gauge):
    def measure(self) -> int:
        return self.usage_bytes


class AppTarget(Target):
    def is_same(self) -> bool:
        return True

    def act(self, now_s: float) -> Outcome:
        return DONE

    def lost(self, now_s: float) -> None:
        self.ended = True


def app(state: State, usage_mib: int, unit: str | None = "app.service") -> Target:
    target = AppTarget("app.service", unit, 90.0)
    gauge = FixedGauge(Metric.UNRECLAIMABLE, Ladder.climb(500 * MIB, 2.0, None))
    gauge.usage_bytes = usage_mib * MIB
    target.begin(gauge, 0.0)
    target.enter(state, 0.0)
    return target


class Said:
    """A report, its log, and what the service manager hears of it."""

    def __init__(self, notifier: Notifier, manager: socket.socket) -> None:
        self.log = Log()
        self.notifier = notifier
        self._manager = manager
        self.to("-m 500 app.service")

    def to(self, arguments: str) -> Report:
        """A report for the settings of a command line."""
        self.report = Report(parse(arguments.split()), self.log, self.notifier)
        return self.report

    @property
    def line(self) -> str:
        (line,) = self.log.lines
        return line

    def status(self) -> str:
        return self._manager.recv(4096).decode()


@pytest.fixture
def said() -> Iterator[Said]:
    ours, managers = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, managers:
        ours.setblocking(False)
        managers.setblocking(False)
        yield Said(Notifier(ours, None, None), managers)


OF_A_STATE: list[tuple[Callable[[Report], None], str]] = [
    (lambda r: r.began(app(State.OK, 400)), "app.service: ok: unreclaimable 400 MiB of 500 MiB"),
    (lambda r: r.over(app(State.OVER, 501)),
     "app.service: over: unreclaimable 501 MiB is above 500 MiB; acts if that lasts 5 s"),
    (lambda r: r.acted(app(State.SIGNALLED, 501), DONE),
     "app.service: signalled: unreclaimable 501 MiB is above 500 MiB: sent SIGTERM to the main process"
     " (KillUnit)"),
    (lambda r: r.failed(app(State.OVER, 501), NOT_DONE),
     "app.service: not signalled: unreclaimable 501 MiB is above 500 MiB: no answer within 1 s"),
    (lambda r: r.fell(app(State.OK, 400)),
     "app.service: ok: within again: unreclaimable 400 MiB of 500 MiB"),
    (lambda r: r.limit_changed(app(State.OK, 400)),
     "app.service: the limit is 500 MiB now, unreclaimable 400 MiB"),
    (lambda r: r.waiting("app.service", "app.service", "it stopped"), "app.service: waiting: it stopped"),
    (lambda r: r.ended(app(State.OK, 400)), "app.service: ended"),
]  # fmt: skip


@pytest.mark.parametrize(("say", "line"), OF_A_STATE)
def test_a_change_of_state_is_one_line_and_the_services_status(
    said: Said, say: Callable[[Report], None], line: str
) -> None:
    report = said.to("-m 500 --for 5 app.service")
    say(report)
    assert said.line == line
    assert said.status() == f"STATUS={line}"
    assert report.last_sentence == line
    (fields,) = said.log.fields
    assert fields["OBJECT_SYSTEMD_UNIT"] == fields["MEMORY_MONITOR_UNIT"] == "app.service"
    assert fields["MEMORY_MONITOR_STATE"] in {state.value for state in State}


def test_the_journal_gets_the_numbers_as_fields(said: Said) -> None:
    said.report.acted(app(State.SIGNALLED, 501), DONE)
    assert said.log.fields == [
        {
            "MESSAGE_ID": Event.ACTED.value.message_id,
            "PRIORITY": "4",
            "MEMORY_MONITOR_USAGE": str(501 * MIB),
            "MEMORY_MONITOR_LIMIT": str(500 * MIB),
            "MEMORY_MONITOR_METRIC": "unreclaimable",
            "MEMORY_MONITOR_SIGNAL": "SIGTERM",
            "OBJECT_SYSTEMD_UNIT": "app.service",
            "MEMORY_MONITOR_UNIT": "app.service",
            "MEMORY_MONITOR_STATE": "signalled",
        }
    ]


def test_a_process_is_no_unit(said: Said) -> None:
    said.report.began(app(State.OK, 400, unit=None))
    assert "OBJECT_SYSTEMD_UNIT" not in said.log.fields[0]


def test_every_kind_of_event_has_an_id_of_its_own() -> None:
    ids = [event.value.message_id for event in Event]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{32}", message_id) for message_id in ids)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("-m 500 a.service",
         "send SIGTERM when memory is above 500 MiB; a look at least every 2 s: a.service"),
        ("-m 80% -i 500ms --for 1min a b",
         "send SIGTERM when memory is above 80% for 1 min; a look at least every 500 ms: a, b"),
        ("-m 1.5G -s RTMIN+3 --metric anon -n a",
         "would send SIGRTMIN+3 when anon is above 1.5 GiB; a look at least every 2 s: a"),
        ("-m 500 --restart a", "restart it when memory is above 500 MiB; a look at least every 2 s: a"),
    ],
)  # fmt: skip
def test_the_first_line_says_the_limit_with_its_unit_and_what_will_be_done(
    said: Said, arguments: str, line: str
) -> None:
    said.to(arguments).started("1.2.3")
    assert said.line == f"memory-monitor 1.2.3: {line}"


@pytest.mark.parametrize(
    ("option", "kinds"),
    [
        ("-q", {"ACTED", "FAILED"}),
        ("", {"STARTED", "BEGAN", "ACTED", "FAILED", "FELL", "WARNING", "STOPPED"}),
        ("-v", {"STARTED", "BEGAN", "ACTED", "FAILED", "FELL", "WARNING", "STOPPED", "READING"}),
    ],
)
def test_quiet_leaves_actions_and_errors_and_verbose_adds_the_readings(
    said: Said, option: str, kinds: set[str]
) -> None:
    report = said.to(f"-m 500 {option} app.service")
    report.started("1.2.3")
    report.began(app(State.OK, 400))
    report.reading(app(State.OK, 400))
    report.acted(app(State.SIGNALLED, 501), DONE)
    report.failed(app(State.OVER, 501), NOT_DONE)
    report.fell(app(State.OK, 400))
    report.warn("something")
    report.stopped("ended by SIGTERM")
    names = {event.value.message_id: event.name for event in Event}
    assert {names[fields["MESSAGE_ID"]] for fields in said.log.fields} == kinds
    assert said.status().endswith("app.service: ok: unreclaimable 400 MiB of 500 MiB")  # though quiet


def test_a_signal_that_cant_be_heeded_is_warned_of(said: Said) -> None:
    said.to("-m 500 -s KILL app.service").started("1.2.3")
    (warning,) = said.log.lines[1:]
    assert warning.startswith("warning: SIGKILL isn't graceful")
    said.to("-m 500 -s KILL --restart app.service").started("1.2.3")
    said.to("-m 500 -s TERM app.service").started("1.2.3")
    assert len(said.log.lines) == 4


def test_what_is_over_from_the_beginning_gets_one_line_and_not_two(said: Said) -> None:
    said.report.began(app(State.OK, 501))
    assert said.log.lines == []


def test_what_cant_be_read_is_not_called_zero(said: Said) -> None:
    target = app(State.OK, 0)
    assert target.gauge is not None
    target.gauge.trouble = "Permission denied"
    said.report.began(target)
    assert "app.service: its memory can't be read now (Permission denied)" in said.line


def test_a_failure_to_restart_is_no_failure_to_signal(said: Said) -> None:
    said.to("-m 500 --restart app.service").failed(app(State.OVER, 501), NOT_DONE)
    assert said.line.startswith("app.service: not restarted: ")


def test_an_unexpected_error_is_said_with_its_place_and_once_while_it_stays_the_same(said: Said) -> None:
    for text in ("first", "first", "second", "first"):
        try:
            raise ZeroDivisionError(text)
        except ZeroDivisionError as error:
            said.report.bug(error)
    assert [line.split("(")[0] for line in said.log.lines] == [
        f"memory-monitor: error: ZeroDivisionError: {text} " for text in ("first", "second", "first")
    ]
    assert re.search(r"test_report\.py:\d+\); it goes on$", said.log.lines[0])


def test_an_unexpected_error_is_said_without_reading_the_source(
    said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_the_source(*_: object) -> NoReturn:
        pytest.fail("the source was read")

    monkeypatch.setattr(linecache, "updatecache", read_the_source)
    linecache.clearcache()
    try:
        raise ZeroDivisionError("a bug")
    except ZeroDivisionError as error:
        said.report.bug(error)
    assert re.search(r"test_report\.py:\d+\); it goes on$", said.line)
