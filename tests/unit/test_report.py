import linecache
import re
import socket
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from memmon_systemd import app as command
from memmon_systemd.arguments import parse
from memmon_systemd.errors import EXIT_OK
from memmon_systemd.monitor.events import Event
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.log import Log
from memmon_systemd.monitor.loop import Monitor
from memmon_systemd.monitor.policy import Activity, State
from memmon_systemd.monitor.poller import Poller
from memmon_systemd.monitor.report import Report
from memmon_systemd.monitor.schedule import schedule_for
from memmon_systemd.monitor.source import Context
from memmon_systemd.monitor.target import UNBOUNDED, Outcome, Presence, Target, TargetList
from memmon_systemd.output.notify import Notifier
from memmon_systemd.settings import Metric, Settings
from memmon_systemd.sources import Sources
from tests.unit.trees import MIB
from tests.unit.trees import Log as Lines

DONE = Outcome(is_done=True, sentence="sent SIGTERM to the main process (KillUnit)")
EVEN_IF_QUIET = {"REQUESTED", "FAILED", "BUG"}
NOT_DONE = Outcome(is_done=False, sentence="no answer within 1 s")


class FixedGauge(Gauge):
    def measure(self) -> int:
        return self.usage_bytes


RUNNING = (Presence(Activity.RUNNING, None), UNBOUNDED, 0.0)


class AppTarget(Target):
    def presence(self, now_s: float) -> Presence:
        return Presence(Activity.RUNNING, None)

    def request(self, now_s: float) -> Outcome:
        return DONE

    def lost(self, now_s: float) -> None:
        self.has_ended = True


def app(state: State, usage_mib: int, unit: str | None = "app.service", options: str = "--for 5") -> Target:
    settings = parse(f"-m 500 {options} app.service".split())
    target = AppTarget("app.service", unit, settings.target, 90.0)
    gauge = FixedGauge(Metric.UNRECLAIMABLE, schedule_for(500 * MIB, 2.0, None))
    gauge.usage_bytes = usage_mib * MIB
    target.begin(gauge, 0.0)
    target.state = state
    return target


class Said:
    """A report, its log, and what the service manager hears of it."""

    def __init__(self, notifier: Notifier, manager: socket.socket) -> None:
        self.log = Lines()
        self.notifier = notifier
        self._manager = manager
        self.report = self.to(is_quiet=False)

    def to(self, *, is_quiet: bool) -> Report:
        """A report, as quiet as that, to the same log and service manager."""
        return Report(Log(self.log, is_quiet=is_quiet))

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
     "app.service: over: unreclaimable 501 MiB is above 500 MiB; signalled if it stays above for 5 s"),
    (lambda r: r.over(app(State.OVER, 501, options="--for 5 --restart")),
     "app.service: over: unreclaimable 501 MiB is above 500 MiB; restarted if it stays above for 5 s"),
    (lambda r: r.requested(app(State.SIGNALLED, 501), DONE, *RUNNING),
     "app.service: signalled: unreclaimable 501 MiB is above 500 MiB: sent SIGTERM to the main process"
     " (KillUnit)"),
    (lambda r: r.request_failed(app(State.OVER, 501), NOT_DONE),
     "app.service: not signalled: unreclaimable 501 MiB is above 500 MiB: no answer within 1 s"),
    (lambda r: r.recovered(app(State.OK, 400)),
     "app.service: ok: within again: unreclaimable 400 MiB of 500 MiB"),
    (lambda r: r.threshold_changed(app(State.OK, 400)),
     "app.service: the threshold is now 500 MiB, unreclaimable 400 MiB"),
    (lambda r: r.waiting("app.service", "app.service", "it stopped"), "app.service: waiting: it stopped"),
    (lambda r: r.ended(app(State.OK, 400)), "app.service: ended"),
    (lambda r: r.no_longer_monitored(app(State.OK, 400), "its name has changed"),
     "app.service: no longer monitored: its name has changed"),
]  # fmt: skip


@pytest.mark.parametrize(("say", "line"), OF_A_STATE)
def test_a_change_of_state_is_one_line_and_news_for_the_status(
    said: Said, say: Callable[[Report], None], line: str
) -> None:
    say(said.report)
    assert said.line == line
    assert said.report.log.news == line
    (fields,) = said.log.fields
    assert fields["OBJECT_SYSTEMD_UNIT"] == fields["MEMORY_MONITOR_UNIT"] == "app.service"
    assert fields["MEMORY_MONITOR_STATE"] in {state.value for state in State}


def test_the_journal_gets_the_numbers_as_fields(said: Said) -> None:
    said.report.requested(app(State.SIGNALLED, 501), DONE, *RUNNING)
    assert said.log.fields == [
        {
            "MESSAGE_ID": Event.REQUESTED.value.message_id,
            "PRIORITY": "4",
            "MEMORY_MONITOR_USAGE": str(501 * MIB),
            "MEMORY_MONITOR_THRESHOLD": str(500 * MIB),
            "MEMORY_MONITOR_LIMIT": str(500 * MIB),
            "MEMORY_MONITOR_METRIC": "unreclaimable",
            "MEMORY_MONITOR_SIGNAL": "SIGTERM",
            "MEMORY_MONITOR_REQUEST": "1",
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
         "send its stop signal when memory is above 500 MiB; polling interval 2 s: a.service"),
        ("-m 80% -i 500ms --for 1min a b",
         "send its stop signal when memory is above 80% for 1 min; polling interval 500 ms: a, b"),
        ("-m 1.5G -s RTMIN+3 --metric anon -n a",
         "would send SIGRTMIN+3 when anon is above 1.5 GiB; polling interval 2 s: a"),
        ("-m 500 --restart a", "restart it when memory is above 500 MiB; polling interval 2 s: a"),
    ],
)  # fmt: skip
def test_the_first_line_says_the_threshold_with_its_unit_and_what_will_be_done(
    said: Said, arguments: str, line: str
) -> None:
    said.report.started("1.2.3", parse(arguments.split()))
    assert said.line == f"memory-monitor 1.2.3: {line}"


@pytest.mark.parametrize(
    ("option", "kinds"),
    [
        ("-q", EVEN_IF_QUIET),
        ("", EVEN_IF_QUIET | {"STARTED", "BEGAN", "RECOVERED", "NOT_LOCKED", "STOPPED"}),
        ("-v", EVEN_IF_QUIET | {"STARTED", "BEGAN", "RECOVERED", "NOT_LOCKED", "STOPPED", "READING"}),
    ],
)
def test_quiet_leaves_requests_and_errors_and_verbose_adds_the_readings(
    said: Said, option: str, kinds: set[str]
) -> None:
    settings = parse(f"-m 500 {option} app.service".split())
    report = said.to(is_quiet=settings.verbosity < 0)
    report.started("1.2.3", settings)
    report.began(app(State.OK, 400))
    report.requested(app(State.SIGNALLED, 501), DONE, *RUNNING)
    report.request_failed(app(State.OVER, 501), NOT_DONE)
    report.recovered(app(State.OK, 400))
    report.warn.not_locked("something")
    report.warn.bug(OSError("EIO"))
    report.stopped("ended by SIGTERM")
    poll_once(settings, report, said.notifier)
    names = {event.value.message_id: event.name for event in Event}
    assert {names[fields["MESSAGE_ID"]] for fields in said.log.fields} == kinds
    assert "ok: " in said.status()  # though quiet


def poll_once(settings: Settings, report: Report, notifier: Notifier) -> None:
    """Let the monitor read a target once: it decides whether the reading is logged."""
    targets = TargetList()
    targets.add(app(State.OK, 400))
    Monitor(settings, [], Context(targets, Poller(), report), notifier).look_around()


@pytest.mark.parametrize(
    ("options", "is_warned_of"), [("-s KILL", True), ("-s KILL --restart", False), ("-s TERM", False)]
)
def test_a_signal_that_cant_be_heeded_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, options: str, is_warned_of: bool
) -> None:
    lines = Lines()
    monkeypatch.setattr(command, "open_sink", lambda _environ: lines)
    monkeypatch.setattr(Sources, "open", lambda _self: [])  # A unit takes a service manager.
    assert command.run(parse(f"-m 500 {options} --once app.service".split()), {}) == EXIT_OK
    started, *warnings = lines.lines
    assert started.startswith("memory-monitor ")
    assert [line.startswith("warning: SIGKILL isn't graceful") for line in warnings] == [True] * is_warned_of


def test_what_is_over_from_the_beginning_gets_one_line_and_not_two(said: Said) -> None:
    said.report.began(app(State.OK, 501))
    assert said.log.lines == []


def test_what_cant_be_read_is_not_called_zero(said: Said) -> None:
    target = app(State.OK, 0)
    assert target.gauge is not None
    target.gauge.trouble = "Permission denied"
    said.report.began(target)
    assert "app.service: its memory can't be read (Permission denied)" in said.line


def test_a_failure_to_restart_is_no_failure_to_signal(said: Said) -> None:
    said.report.request_failed(app(State.OVER, 501, options="--restart"), NOT_DONE)
    assert said.line.startswith("app.service: not restarted: ")


def test_an_unexpected_error_is_said_with_its_place_and_once_while_it_stays_the_same(said: Said) -> None:
    for text in ("first", "first", "second", "first"):
        try:
            raise ZeroDivisionError(text)
        except ZeroDivisionError as error:
            said.report.warn.bug(error)
    assert [line.split("(")[0] for line in said.log.lines] == [
        f"memory-monitor: error: ZeroDivisionError: {text} " for text in ("first", "second", "first")
    ]
    assert re.search(r"test_report\.py:\d+\); continuing$", said.log.lines[0])


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
        said.report.warn.bug(error)
    assert re.search(r"test_report\.py:\d+\); continuing$", said.line)
