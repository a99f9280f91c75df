"""What `systemctl status` shows of the monitor of one unit, and of several."""

import re
import shutil
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


def test_where_no_unit_is_configured_it_says_what_to_do(told: Start) -> None:
    status, _ = begun(told, "--configured", 30)
    assert status.since_last() == [
        "memory-monitor: waiting: no running unit is configured; for each one to monitor:"
        " systemctl edit UNIT, add [X-MemoryMonitor] and Threshold=, such as 90%"
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


def test_a_unit_that_is_started_later_is_followed_like_one_that_runs(told: Start) -> None:
    status = told("-m 500 app.service")
    status.tree.advance(0)
    assert status.since_last() == ["app.service: waiting: it isn't running"]
    app = status.tree.make("app.service", 30)
    status.tree.advance(10)
    assert status.since_last()[-1].startswith("ok: at most 62.5 MiB of 500 MiB")
    use(app, 300 * MIB)
    status.tree.advance(2)
    assert status.since_last()[-1].startswith("ok: at most 312.5 MiB of 500 MiB")


def test_in_a_dry_run_no_signal_is_counted_as_sent(told: Start) -> None:
    status, app = begun(told, "-m 500 -n app.service", 30)
    assert status.since_last()[-1].endswith("; dry run: would have sent no signals")
    use(app, 510 * MIB)
    status.tree.advance(2)
    use(app, 30 * MIB)
    status.tree.advance(4)
    assert status.since_last()[-1].endswith("; dry run: would have sent 1 signal")
    assert status.tree.asked == []


def test_in_a_dry_run_of_restarts_none_is_counted_as_asked_for(told: Start) -> None:
    status, _ = begun(told, "-m 500 -n --restart app.service", 30)
    assert status.since_last()[-1].endswith("; dry run: would have asked for no restarts")


def several(told: Start, options: str = "") -> tuple[Told, dict[str, Path]]:
    """A monitor of a.service, b.service and c.service, which use 30 MiB each, and one that doesn't run."""
    status = told(f"-m 500 {options} a.service b.service c.service d.service")
    units = {name: status.tree.make(f"{name}.service", 30) for name in "abc"}
    status.tree.advance(0)
    return status, units


def test_of_several_units_it_says_how_many_are_in_which_state(told: Start) -> None:
    status, units = several(told, "--for 60")
    assert status.since_last() == ["4 units: 3 ok, 1 waiting; no signals"]
    use(units["b"], 510 * MIB)
    status.tree.advance(2)
    assert status.since_last() == ["4 units: 2 ok, 1 over, 1 waiting; no signals"]
    status.tree.advance(62)
    assert status.since_last()[-1] == "4 units: 2 ok, 1 signalled, 1 waiting; 1 signal"
    use(units["b"], 30 * MIB)
    status.tree.advance(4)
    assert status.since_last()[-1] == "4 units: 3 ok, 1 waiting; 1 signal"


def test_of_several_units_the_nearest_to_its_threshold_is_named(told: Start) -> None:
    status, units = several(told)
    status.since_last()
    use(units["a"], 300 * MIB)  # Far: what it uses isn't known.
    status.tree.advance(4)
    assert status.since_last() == []
    use(units["b"], 400 * MIB)
    status.tree.advance(4)
    assert status.since_last() == ["4 units: 3 ok, 1 waiting; nearest b.service 80%; no signals"]
    use(units["c"], 490 * MIB)
    status.tree.advance(4)
    assert status.since_last() == ["4 units: 3 ok, 1 waiting; nearest c.service 98%; no signals"]
    use(units["c"], 0)
    status.tree.advance(4)
    far, nearest = status.since_last()
    assert far == "4 units: 3 ok, 1 waiting; no signals"
    assert nearest == "4 units: 3 ok, 1 waiting; nearest b.service 80%; no signals"
    use(units["b"], 510 * MIB)
    status.tree.advance(4)
    assert status.since_last() == ["4 units: 2 ok, 1 signalled, 1 waiting; 1 signal"]


def test_of_several_units_the_nearest_is_told_once_in_an_interval(told: Start) -> None:
    status, units = several(told)
    status.since_last()
    for mib in range(400, 480):
        use(units["a"], mib * MIB)
        use(units["b"], (mib + 5) * MIB)
        status.tree.advance(0.25)
    said = status.since_last()
    assert 9 <= len(said) <= 11
    assert all(re.search(r"; nearest [ab]\.service (8|9)\d%; ", sentence) for sentence in said)


def test_while_the_memory_of_several_units_stays_as_it_is_the_service_manager_hears_nothing(
    told: Start,
) -> None:
    status, units = several(told)
    use(units["a"], 510 * MIB)
    use(units["b"], 450 * MIB)
    status.tree.advance(4)
    status.since_last()
    status.tree.advance(15)  # Less than --repeat.
    assert status.since_last() == []


def test_of_several_units_it_says_how_many_cant_be_read_now(told: Start) -> None:
    status, units = several(told)
    status.since_last()
    (units["a"] / "memory.current").write_text("")
    status.tree.advance(6)
    assert status.since_last() == ["4 units: 3 ok, 1 waiting (1 can't be read); no signals"]
    use(units["a"], 30 * MIB)
    status.tree.advance(2)
    assert status.since_last() == ["4 units: 3 ok, 1 waiting; no signals"]


def test_a_hundred_units_that_change_at_once_are_one_message(told: Start) -> None:
    status = told("-m 500 x*.service")
    for number in range(100):
        status.tree.make(f"x{number}.service", 30)
    status.tree.advance(0)
    assert status.since_last() == ["100 units: 100 ok; no signals"]


def test_the_last_of_several_units_is_said_even_if_it_is_above_the_threshold(told: Start) -> None:
    status = told("-m 500 a*.service")
    app, _ = (status.tree.make(f"{name}.service", 510) for name in ("app", "all"))
    status.tree.advance(0)
    assert status.since_last()[-1] == "2 units: 2 signalled; 2 signals"
    shutil.rmtree(status.tree.top / "system.slice" / "all.service")
    status.tree.advance(4)
    assert status.since_last()[-1] == "1 unit: 1 signalled; 2 signals"
    use(app, 30 * MIB)
    status.tree.advance(4)
    assert status.since_last()[-1].startswith("app.service: ok: at most 62.5 MiB of 500 MiB")


def test_a_unit_that_a_glob_names_is_named(told: Start) -> None:
    status, _ = begun(told, "-m 500 a*.service", 30)
    assert status.since_last()[-1].startswith("app.service: ok: at most 62.5 MiB of 500 MiB")
