"""What `systemctl status` shows of the monitor of one unit, and of several."""

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from memmon_systemd.output.notify import Notifier
from tests.unit.trees import MIB, Tree, linux_only, use

pytestmark = linux_only


@dataclass
class Told:
    """A tree, and the sentences that its service manager hears."""

    tree: Tree
    manager: socket.socket

    def since_last(self) -> list[str]:
        """The sentences since the last call, without the time that signals are counted since."""
        found: list[str] = []
        while True:
            try:
                message = self.manager.recv(4096).decode()
            except BlockingIOError:
                return found
            sentence = message.removeprefix("STATUS=")
            found.append(re.sub(r" since \d{4}-\d\d-\d\d \d\d:\d\d", "", sentence))


Start = Callable[[str], Told]


@pytest.fixture
def told(start: Callable[..., Tree]) -> Iterator[Start]:
    ours, managers = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    managers.setblocking(False)
    with ours, managers:
        yield lambda arguments: Told(start(arguments, notifier=Notifier(ours, None, None)), managers)


def begun(told: Start, arguments: str, mib: float) -> tuple[Told, Path]:
    """A monitor that has begun to measure app.service, and the unit's directory."""
    status = told(arguments)
    app = status.tree.make("app.service", mib)
    status.tree.advance(0)
    return status, app


def test_far_from_the_threshold_it_says_the_most_that_the_unit_can_use(told: Start) -> None:
    status, app = begun(told, "-m 500 app.service", 30)
    assert status.since_last()[-1] == (
        "ok: at most 62.5 MiB of 500 MiB unreclaimable (12%), polled every 1.8 s; no signals"
    )
    use(app, 300 * MIB)
    status.tree.advance(2)
    assert status.since_last() == [
        "ok: at most 312.5 MiB of 500 MiB unreclaimable (62%), polled every 750 ms; no signals"
    ]


def test_near_the_threshold_it_says_the_reading_when_that_has_moved_once_in_an_interval(told: Start) -> None:
    status, app = begun(told, "-m 500 app.service", 412)
    expected = "ok: 412 MiB of 500 MiB unreclaimable (82%), polled every 352 ms; no signals"
    assert status.since_last()[-1] == expected
    status.tree.advance(10)
    assert status.since_last() == []
    for mib in range(413, 433):
        use(app, mib * MIB)
        status.tree.advance(0.5)
    said = status.since_last()
    assert 4 <= len(said) <= 6
    assert all(re.match(r"ok: 4\d\d MiB of 500 MiB unreclaimable \(8\d%\)", sentence) for sentence in said)


def test_while_memory_stays_as_it_is_the_service_manager_hears_nothing(told: Start) -> None:
    status, _ = begun(told, "-m 500 app.service", 30)
    status.since_last()
    status.tree.advance(60)
    assert status.since_last() == []


def test_the_signals_are_counted(told: Start) -> None:
    status, app = begun(told, "-m 500 --repeat 1 app.service", 510)
    status.tree.advance(1.5)
    assert status.since_last()[-1].startswith("app.service: signalled: unreclaimable 510 MiB is above")
    use(app, 0)
    status.tree.advance(3)
    assert status.since_last()[-1].endswith("; 2 signals")
    use(app, 510 * MIB)
    status.tree.advance(2.5)
    use(app, 0)
    status.tree.advance(3)
    signals = len(status.tree.manager.asked)
    assert signals >= 3
    assert status.since_last()[-1].endswith(f"; {signals} signals")


def test_readings_that_fail_are_said_and_counted(told: Start) -> None:
    status, app = begun(told, "-m 500 -i 2 app.service", 30)
    status.since_last()
    (app / "memory.current").write_text("")
    status.tree.advance(6)
    said = "its memory can't be read (memory.current holds no number); no signals, 1 failed reading"
    assert status.since_last() == [said]
    use(app, 30 * MIB)
    status.tree.advance(2)
    failed = status.tree.target("app.service").unreadable
    assert failed >= 3
    assert status.since_last()[-1].endswith(
        f"(12%), polled every 1.8 s; no signals, {failed} failed readings"
    )


def test_another_threshold_is_in_the_status_too(told: Start) -> None:
    status, app = begun(told, "-m 50% app.service", 30)
    status.since_last()
    (app / "memory.max").write_text(f"{200 * MIB}\n")
    status.tree.target("app.service").follow_limit(status.tree.clock.now_s)
    status.tree.advance(2)
    assert " of 100 MiB unreclaimable (" in status.since_last()[-1]


def test_of_several_units_the_last_change_is_shown(told: Start) -> None:
    status = told("-m 500 app.service web.service")
    status.tree.make("app.service", 30)
    web = status.tree.make("web.service", 30)
    status.tree.advance(0)
    status.since_last()
    use(web, 450 * MIB)
    status.tree.advance(10)
    assert status.since_last() == []
    use(web, 510 * MIB)
    status.tree.advance(2)
    assert status.since_last()[-1].startswith("web.service: signalled: ")


def test_a_unit_that_a_glob_names_is_named(told: Start) -> None:
    status, _ = begun(told, "-m 500 a*.service", 30)
    assert status.since_last()[-1].startswith("app.service: ok: at most 62.5 MiB of 500 MiB")
