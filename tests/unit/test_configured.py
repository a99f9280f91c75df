"""Units that say in their own files that they are monitored (`--configured`), over a tree of cgroups."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from memmon_systemd.errors import StartError
from memmon_systemd.monitor.keeper import NothingKept
from memmon_systemd.monitor.policy import State
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.units.only_one import take_place
from memmon_systemd.units.reload_watch import ReloadWatch
from tests.unit.trees import MIB, Signal, Tree, linux_only, restart, use

pytestmark = linux_only
Start = Callable[..., Tree]
TERM = "kill app.service main 15"
NO_ANSWER = BusError(110, "no answer within 1 s", was_called=True)
TWO_INTERVALS_S = 4.0


def configure(tree: Tree, name: str, *lines: str) -> Path:
    """Write the section of a unit's only file."""
    file = tree.top / f"file-of-{name}"
    file.write_text("\n".join(["[Service]", "ExecStart=x", "[X-MemoryMonitor]", *lines, ""]))
    tree.manager.files[name] = (str(file),)
    return file


def test_each_unit_has_the_threshold_of_its_own_file_and_the_others_are_left_alone(start: Start) -> None:
    tree = start("--configured")
    for name, threshold in (("app.service", "Threshold=100M"), ("big.service", "Threshold=300M")):
        configure(tree, name, threshold)
    for name in ("app.service", "big.service", "other.service"):
        tree.make(name, 200)
    tree.advance(10)
    assert tree.asked == [TERM]
    assert [target.name for target in tree.targets if target.gauge] == ["big.service", "app.service"]


def test_a_unit_that_starts_later_is_found_and_one_that_goes_is_waited_for_no_more(start: Start) -> None:
    tree = start("--configured")
    configure(tree, "app.service", "Threshold=100M")
    tree.advance(5)
    app = tree.make("app.service", 50)
    tree.advance(1)
    assert tree.target("app.service").state is State.OK
    shutil.rmtree(app)
    tree.advance(1)
    assert tree.targets == []


def test_once_all_are_read_systemd_is_asked_nothing_more(start: Start) -> None:
    tree = start("--configured")
    configure(tree, "app.service", "Threshold=100M")
    for name in ("app.service", *(f"other-{number}.service" for number in range(50))):
        tree.make(name, 50)
    tree.advance(5)
    questions = tree.manager.questions
    tree.advance(3600)
    assert tree.manager.questions == questions


def test_changed_settings_are_in_force_within_two_intervals_of_a_reload_and_said_in_one_line(
    start: Start,
) -> None:
    tree = start("--configured")
    configure(tree, "app.service", "Threshold=300M", "Signal=USR1")
    tree.make("app.service", 200)
    tree.advance(5)
    configure(tree, "app.service", "Threshold=100M", "For=1s")
    tree.advance(10)
    assert tree.asked == []
    tree.reload_systemd()
    tree.advance(TWO_INTERVALS_S)
    assert tree.asked == [TERM]
    (line,) = tree.log.having("settings changed")
    assert line == (
        "app.service: settings changed: Threshold=100MiB (was 300MiB), Signal=default (was SIGUSR1),"
        " For=1s (was 0s)"
    )


def test_a_signal_has_all_files_read_again(start: Start) -> None:
    tree = start("--configured")
    configure(tree, "app.service", "Threshold=300M")
    tree.make("app.service", 200)
    tree.advance(5)
    configure(tree, "app.service", "Threshold=100M")
    tree.units.reload()
    tree.poller.events.append(Signal())
    tree.advance(TWO_INTERVALS_S)
    assert tree.asked == [TERM]


def test_a_reload_keeps_what_a_unit_was_asked(start: Start) -> None:
    tree = start("--configured")
    configure(tree, "app.service", "Threshold=100M", "Repeat=infinity", "Budget=3/1h")
    tree.make("app.service", 200)
    tree.advance(5)
    configure(tree, "app.service", "Threshold=90M", "Repeat=infinity", "Budget=2/1h")
    tree.reload_systemd()
    tree.advance(60)
    assert tree.asked == [TERM]
    assert tree.target("app.service").state is State.SIGNALLED
    assert tree.units.names() == ["app.service"]
    allowance = tree.target("app.service").allowance(tree.clock.now_s)
    assert (allowance.made, allowance.count) == (1, 2)


class Small(NothingKept):
    """Room for two units."""

    def __init__(self) -> None:
        self.expected: list[int] = []

    def expect(self, targets: int) -> str | None:
        self.expected.append(targets)
        return None if targets <= 2 else f"there is room for 2 of {targets} units"


def test_room_is_made_for_all_that_are_configured_at_the_start_and_at_a_reload_only(start: Start) -> None:
    kept = Small()
    tree = start("--configured", keeper=kept)
    for name in ("app.service", "big.service"):
        configure(tree, name, "Threshold=300M")
        tree.make(name, 50)
    tree.make("other.service", 50)
    tree.advance(5)
    assert kept.expected == [2]
    configure(tree, "new.service", "Threshold=300M")
    tree.make("new.service", 50)
    tree.advance(60)
    assert kept.expected == [2]
    tree.reload_systemd()
    tree.advance(5)
    assert kept.expected == [2, 3]
    (line,) = tree.log.having("state file")
    assert line.endswith("there is room for 2 of 3 units: memmonctl doesn't show the others")


def test_another_metric_is_measured_after_a_reload(start: Start) -> None:
    tree = start("--configured")
    configure(tree, "app.service", "Threshold=100M")
    app = tree.make("app.service", 90)
    (app / "memory.stat").write_text(f"anon {10 * MIB}\ninactive_file 0\nactive_file 0\nslab_reclaimable 0\n")
    tree.advance(5)
    configure(tree, "app.service", "Threshold=100M", "Metric=anon")
    tree.reload_systemd()
    tree.advance(5)
    use(app, 120 * MIB)
    (app / "memory.stat").write_text(f"anon {10 * MIB}\ninactive_file 0\nactive_file 0\nslab_reclaimable 0\n")
    tree.advance(20)
    assert tree.asked == []


@pytest.mark.parametrize("lines", [["Threshold=infinity"], []])
def test_a_unit_that_no_longer_says_so_is_let_go(start: Start, lines: list[str]) -> None:
    tree = start("--configured")
    configure(tree, "app.service", "Threshold=100M")
    app = tree.make("app.service", 50)
    tree.advance(5)
    configure(tree, "app.service", *lines)
    tree.reload_systemd()
    tree.advance(TWO_INTERVALS_S)
    use(app, 150 * MIB)
    tree.advance(60)
    assert tree.asked == []
    assert tree.log.having("no longer monitored: its unit file no longer says so")


def test_a_wrong_value_is_one_error_and_the_settings_of_before_stay(start: Start) -> None:
    tree = start("--configured")
    configure(tree, "app.service", "Threshold=100M")
    file = configure(tree, "bad.service", "Threshold=50M")
    app, bad = tree.make("app.service", 50), tree.make("bad.service", 10)
    tree.advance(5)
    configure(tree, "bad.service", "Threshold=50 apples")
    for _ in range(3):
        tree.reload_systemd()
        tree.advance(5)
    (line,) = tree.log.having("'50 apples'")
    assert line.startswith(f"error: bad.service: {file}:4: Threshold=: '50 apples' is not a size")
    assert line.endswith("; the settings of before stay in force")
    use(app, 110 * MIB)
    use(bad, 60 * MIB)
    tree.advance(5)
    assert tree.asked == [TERM, "kill bad.service main 15"]


def test_a_restart_keeps_the_last_good_settings_of_a_file_that_is_wrong_and_says_so_once(
    start: Start,
) -> None:
    tree = start("--configured")
    configure(tree, "app.service", "Threshold=100M")
    app = tree.make("app.service", 50)
    tree.advance(5)
    configure(tree, "app.service", "Threshold=50 apples")
    tree.reload_systemd()
    tree.advance(5)
    for _ in range(3):
        restart(tree, app, 50)
        tree.advance(5)
    use(app, 110 * MIB)
    tree.advance(5)
    assert tree.asked == [TERM]
    assert len(tree.log.having("'50 apples'")) == 1


def test_a_unit_that_starts_with_another_file_is_monitored_by_that(start: Start) -> None:
    """systemd reads the file of a unit that isn't loaded when it starts."""
    tree = start("--configured")
    configure(tree, "app.service", "Threshold=100M")
    app = tree.make("app.service", 50)
    tree.advance(5)
    configure(tree, "app.service", "Threshold=40M")
    restart(tree, app, 50)
    tree.advance(5)
    assert tree.asked == [TERM]


def test_units_that_are_gone_are_not_remembered_for_ever(start: Start) -> None:
    tree = start("--configured")
    names = [f"run-{number}.service" for number in range(600)]
    for name in names:
        configure(tree, name, "Threshold=100M")
        directory = tree.make(name, 50)
        tree.advance(0.5)
        shutil.rmtree(directory)
        tree.advance(0.5)
    assert tree.units.names() == []
    remembered = [name for name in names if tree.unit_files.settings_of(name) is not None]
    assert 0 < len(remembered) < 300


def test_a_unit_that_was_wrong_from_the_start_is_not_monitored_and_said(start: Start) -> None:
    tree = start("--configured")
    configure(tree, "bad.service", "Threshold=50 apples")
    tree.make("bad.service", 100)
    tree.advance(60)
    assert tree.asked == []
    assert len(tree.log.having("'50 apples'")) == 1


def test_a_unit_with_a_monitor_of_its_own_is_left_to_that_and_taken_over_when_it_is_gone(
    start: Start,
) -> None:
    tree = start("--configured")
    configure(tree, "app.service", "Threshold=100M")
    app = tree.make("app.service", 50)
    tree.advance(5)
    monitor = tree.make("memory-monitor@app.service", 18)
    tree.advance(5)
    use(app, 150 * MIB)
    tree.advance(60)
    assert tree.asked == []
    assert tree.log.having("left to") == [
        "app.service: left to memory-monitor@app.service, which monitors it"
    ]
    assert not tree.log.having("waiting: it stopped")
    shutil.rmtree(monitor)
    tree.advance(5)
    assert tree.asked == [TERM]
    assert tree.log.having("memory-monitor@app.service is not active")


def test_a_unit_that_ends_while_its_files_are_read_is_no_error(start: Start) -> None:
    tree = start("--configured")
    file = configure(tree, "run-1.service", "Threshold=100M")
    file.unlink()

    def ends(asked: int = 2) -> Callable[[str], None]:
        left = [asked]

        def on_files(name: str) -> None:
            left[0] -= 1
            if not left[0]:
                tree.manager.files.pop(name)

        return on_files

    tree.manager.on_files = ends()
    tree.make("run-1.service", 10)
    tree.advance(5)
    assert not tree.log.having("error")
    assert not tree.log.having("No such file")


def test_while_systemd_doesnt_answer_it_is_said_once_and_asked_again(start: Start) -> None:
    tree = start("--configured")
    configure(tree, "app.service", "Threshold=100M")
    tree.advance(1)
    tree.manager.failure = NO_ANSWER
    tree.make("app.service", 50)
    tree.advance(30)
    assert len(tree.log.having("can't tell which units are configured")) == 1
    tree.manager.failure = None
    tree.advance(5)
    assert tree.target("app.service").state is State.OK


def test_a_thousand_units_are_read_some_at_a_time_so_that_nothing_waits_for_all(start: Start) -> None:
    tree = start("--configured")
    tree.advance(1)
    for number in range(100):
        configure(tree, f"app@{number}.service", "Threshold=100M")
        tree.make(f"app@{number}.service", 50)
    most = 0
    questions = tree.manager.questions
    for _ in range(60):
        tree.monitor.turn()
        most = max(most, tree.manager.questions - questions)
        questions = tree.manager.questions
    tree.advance(5)
    assert len(tree.targets) == 100
    assert 0 < most < 100


def test_a_second_monitor_of_the_configured_units_is_refused(tmp_path: Path) -> None:
    first = take_place(str(tmp_path / "run"))
    assert first >= 0
    with pytest.raises(StartError, match=r"process \d+ monitors these units already: use that one"):
        take_place(str(tmp_path / "run"))


def test_where_a_reload_cant_be_seen_that_is_said_and_the_files_are_read_every_minute(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = str(tmp_path / "none")
    monkeypatch.setattr("tests.unit.trees.ReloadWatch", lambda libc, _: ReloadWatch(libc, nowhere))
    tree = start("--configured")
    configure(tree, "app.service", "Threshold=300M")
    tree.make("app.service", 200)
    tree.advance(5)
    (line,) = tree.log.having("inotify on ")
    assert line.endswith("/none: No such file or directory: unit files are read every 1 min instead")
    configure(tree, "app.service", "Threshold=100M")
    tree.advance(50)
    assert tree.asked == []
    tree.advance(20)
    assert tree.asked == [TERM]


def test_where_no_unit_is_configured_it_says_so_once_and_what_to_do(start: Start) -> None:
    tree = start("--configured")
    tree.make("app.service", 50)
    tree.advance(60)
    said = (
        "memory-monitor: waiting: no running unit is configured; for each one to monitor:"
        " systemctl edit UNIT, add [X-MemoryMonitor] and Threshold=, such as 90%"
    )
    assert tree.log.lines == [said]
    tree.reload_systemd()
    tree.advance(60)
    assert tree.log.lines == [said]
    file = configure(tree, "app.service", "Threshold=300M")
    tree.reload_systemd()
    tree.advance(5)
    file.write_text("")
    tree.reload_systemd()
    tree.advance(5)
    assert tree.log.lines[-2:] == ["app.service: no longer monitored: its unit file no longer says so", said]


def test_a_user_is_told_the_command_for_own_units(start: Start) -> None:
    tree = start("--configured --user")
    tree.make("app.service", 50)
    tree.advance(5)
    assert "systemctl --user edit UNIT" in tree.log.lines[-1]


def test_where_all_sections_are_wrong_it_names_their_units(start: Start) -> None:
    tree = start("--configured")
    tree.make("app.service", 50)
    tree.advance(5)
    configure(tree, "app.service", "Threshold=5 apples")
    tree.reload_systemd()
    tree.advance(5)
    assert tree.log.lines[-1] == (
        "memory-monitor: waiting: no running unit can be monitored as configured:"
        " see the errors of app.service in the log"
    )
