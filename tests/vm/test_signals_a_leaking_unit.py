"""`memory-monitor -m 30 -i 1 myapp.service` as a service, and myapp.service leaks twice."""

import re
from collections.abc import Iterator
from typing import TypeAlias

import pytest
from kit import MIB, MonitorUnit, Service, eventually, journal, messages, property_of, run

Pair: TypeAlias = tuple[Service, MonitorUnit]
ACTED = re.compile(
    r"leaking\.service: signalled: unreclaimable 4\d(\.\d)? MiB is above 30 MiB:"
    r" sent SIGTERM to the main process \(KillUnit\)"
)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """The service, and the monitor of it."""
    with (
        Service("leaking.service", restart=True) as service,
        MonitorUnit("watcher.service", "-m", "30", "-i", "1", "leaking.service") as monitor,
    ):
        yield service, monitor


def acts() -> list[dict[str, str]]:
    entries = journal("--unit=watcher.service", "MEMORY_MONITOR_STATE=signalled")
    return [entry for entry in entries if ACTED.fullmatch(entry["MESSAGE"])]


def test_it_is_ready_and_says_what_it_measured(pair: Pair) -> None:
    _, monitor = pair
    assert property_of("watcher.service", "ActiveState") == "active"
    status = property_of("watcher.service", "StatusText")
    assert re.fullmatch(r"leaking\.service: ok: unreclaimable \d\.\d MiB of 30 MiB", status)
    assert "when memory is above 30 MiB; a look at least every 1 s" in monitor.lines[0]


def test_the_service_is_asked_by_sigterm_and_systemd_starts_it_again(pair: Pair) -> None:
    service, _ = pair
    service.tell("grow 20")
    service.tell("grow 20")
    service.wait_for("started", 2)
    assert service.said == ["started", "grow 20", "grow 20", "SIGTERM", "started"]
    assert eventually(acts, "the line that says so")


def test_the_next_invocation_is_found_and_asked_too(pair: Pair) -> None:
    service, monitor = pair
    monitor.wait_for(r"leaking\.service: ok: ", 2)
    service.tell("grow 40")
    service.wait_for("started", 3)
    assert service.said.count("SIGTERM") == 2
    eventually(lambda: len(acts()) == 2, "the line that says so", detail=lambda: "\n".join(monitor.lines))
    assert property_of("leaking.service", "NRestarts") == "2"


@pytest.mark.usefixtures("pair")
def test_each_signal_has_its_numbers_in_the_journal() -> None:
    for entry in acts():
        assert entry["PRIORITY"] == "4"
        assert entry["MESSAGE_ID"] == "43b9da7a063b459bb9ea683a83c3f93b"
        assert entry["MEMORY_MONITOR_UNIT"] == "leaking.service"
        assert entry["MEMORY_MONITOR_LIMIT"] == str(30 * MIB)
        assert 40 * MIB < int(entry["MEMORY_MONITOR_USAGE"]) < 50 * MIB
        assert entry["MEMORY_MONITOR_METRIC"] == "unreclaimable"
        assert entry["MEMORY_MONITOR_SIGNAL"] == "SIGTERM"


@pytest.mark.usefixtures("pair")
def test_the_journal_of_the_service_shows_it() -> None:
    assert [line for line in messages("leaking.service") if ACTED.fullmatch(line)]
    shown = run("journalctl", "--unit=leaking.service", "--output=short")
    assert "memory-monitor[" in shown


def test_the_status_is_the_last_sentence(pair: Pair) -> None:
    _, monitor = pair
    last = monitor.wait_for(r"leaking\.service: ok: ", 3)
    assert property_of("watcher.service", "StatusText") == last
    assert property_of("watcher.service", "NRestarts") == "0"
