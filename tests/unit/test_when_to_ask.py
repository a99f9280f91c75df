"""Above the threshold is necessary, not sufficient: the monitor over the rules of when to ask."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memmon_systemd.arguments import parse
from memmon_systemd.errors import UsageError
from memmon_systemd.monitor.policy import State
from memmon_systemd.systemd.errors import BusError
from tests.unit.trees import MIB, Tree, linux_only, use

pytestmark = linux_only
# Any: what is said are attributes of UnitState, which checks their names itself.
Start = Callable[..., Tree]
TERM = "kill app.service main 15"
NO_ANSWER = BusError(110, "no answer within 1 s", was_called=True)


def says(tree: Tree, name: str = "app.service", **what: Any) -> None:
    """Let systemd say this of a unit from now on."""
    known = tree.manager.states.get(name, tree.manager.usual)
    tree.manager.states[name] = replace(known, **what)


def start_again(tree: Tree, directory: Path, mib: float) -> None:
    """Stop a unit, and start it again with so much memory."""
    directory.rename(tree.top / f"gone-{tree.clock.now_s}")
    tree.advance(0.5)
    tree.manager.start_again(directory.name)
    tree.make(directory.name, mib)
    tree.advance(0.5)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"active_state": "deactivating", "sub_state": "stop-sigterm"}, "stopping"),
        ({"active_state": "activating", "sub_state": "start"}, "starting"),
        ({"active_state": "activating", "sub_state": "auto-restart"}, "starting"),
        ({"active_state": "reloading", "sub_state": "reload"}, "reloading"),
        ({"freezer_state": "frozen"}, "frozen"),
        ({"freezer_state": "frozen-by-parent"}, "frozen"),
        ({"job_id": 7}, "stopping"),
        ({"active_state": "inactive", "sub_state": "dead"}, "not-running"),
    ],
)
@pytest.mark.parametrize("options", ["", "--hard 101"])
def test_a_unit_that_cant_follow_now_is_held_said_once_and_asked_when_it_can(
    start: Start, state: dict[str, Any], reason: str, options: str
) -> None:
    tree = start(f"-m 100 --repeat infinity {options} app.service")
    app = tree.make("app.service", 90)
    tree.advance(2)
    says(tree, **state)
    use(app, 110 * MIB)
    tree.advance(60)
    assert tree.asked == []
    (held,) = [fields for fields in tree.log.fields if "MEMORY_MONITOR_REASON" in fields]
    assert held["MEMORY_MONITOR_REASON"] == reason
    assert tree.target("app.service").state is State.HELD
    del tree.manager.states["app.service"]
    tree.advance(31)
    assert tree.asked == [TERM]


def test_a_unit_that_is_held_for_an_hour_is_asked_about_twice_a_minute(start: Start) -> None:
    tree = start("-m 100 app.service")
    tree.make("app.service", 101)
    says(tree, active_state="activating", sub_state="start")
    tree.advance(3600)
    assert 100 <= tree.manager.questions <= 150


def test_a_oneshot_is_activating_for_all_its_life_and_is_asked(start: Start) -> None:
    tree = start("-m 100 app.service")
    tree.manager.oneshots.add("app.service")
    says(tree, active_state="activating", sub_state="start", job_id=3)
    tree.make("app.service", 101)
    tree.advance(1)
    assert tree.asked == [TERM]


def test_where_systemd_doesnt_answer_the_line_says_that_the_state_is_unknown(start: Start) -> None:
    tree = start("-m 100 -n app.service")
    app = tree.make("app.service", 90)
    tree.advance(2)
    tree.manager.failure = NO_ANSWER
    use(app, 101 * MIB)
    tree.advance(2)
    assert len(tree.log.having("its state is unknown")) == 1


def test_an_invocation_is_asked_from_min_age_on(start: Start) -> None:
    tree = start("-m 100 --min-age 1min app.service")
    says(tree, started_s=tree.clock.now_s - 10)
    tree.make("app.service", 101)
    tree.advance(49)
    assert tree.asked == []
    assert len(tree.log.having("held: unreclaimable 101 MiB is above 100 MiB: it is younger than 1 min")) == 1
    tree.advance(2)
    assert tree.asked == [TERM]
    assert tree.log.having("is above 100 MiB after 1 min ")


def test_above_the_hard_threshold_neither_for_nor_min_age_hold_it_back(start: Start) -> None:
    tree = start("-m 100 --hard 150 --for 1h --min-age 1h app.service")
    says(tree, started_s=tree.clock.now_s)
    app = tree.make("app.service", 120)
    tree.advance(60)
    assert tree.asked == []
    use(app, 151 * MIB)
    tree.advance(2)
    assert tree.asked == [TERM]


def test_the_hard_threshold_is_met_in_time(start: Start) -> None:
    tree = start("-m 100 --hard 150 --for 1h -i 60 --growth 10M app.service")
    app = tree.make("app.service", 101)
    tree.advance(2)
    used = 101.0

    def grow(waited_s: float) -> None:
        nonlocal used
        used += 10 * waited_s
        use(app, int(used * MIB))

    tree.poller.on_wait = grow
    tree.advance(6)
    assert tree.asked
    assert used < 150 + 10 * 0.06 + 10 * 6


def test_the_budget_counts_first_requests_over_all_invocations(start: Start) -> None:
    tree = start("-m 100 --budget 3/1h --repeat infinity app.service")
    app = tree.make("app.service", 101)
    for _ in range(5):
        tree.advance(10)
        start_again(tree, app, 101)
    assert tree.asked == [TERM] * 3
    (spent,) = tree.log.having("asked 3 times within 1 h: the threshold is below what it needs")
    assert spent.startswith("app.service: held: ")
    tree.advance(3500)
    assert tree.asked == [TERM] * 3
    tree.advance(100)
    assert tree.asked == [TERM] * 4


def test_by_default_a_unit_is_asked_10_times_an_hour_and_each_line_says_which_it_is(start: Start) -> None:
    tree = start("-m 100 worker@*.service")
    app = tree.make("worker@1.service", 101)
    for _ in range(15):
        tree.advance(5)
        start_again(tree, app, 101)
    assert len(tree.asked) == 10
    assert len(tree.log.having("request 10 of 10 within 1 h): sent SIGTERM")) == 1
    assert len(tree.log.having("asked 10 times within 1 h")) >= 1


def test_of_40_workers_at_most_4_are_down_and_the_nearest_goes_first(start: Start) -> None:
    tree = start("-m 100 --at-most 4 --repeat infinity worker@*.service")
    for number in range(40):
        tree.make(f"worker@{number}.service", 101 + number)
    tree.advance(0.1)
    assert len(tree.asked) == 4
    tree.advance(30)
    assert len(tree.asked) == 4
    assert len([f for f in tree.log.fields if f.get("MEMORY_MONITOR_REASON") == "at-most"]) == 36
    asked = {what.split()[1] for what in tree.asked}
    down = sorted(asked)[0]
    directory = tree.top / "system.slice" / down
    directory.rename(tree.top / "gone")
    says(tree, down, active_state="activating", sub_state="auto-restart")
    tree.advance(10)
    assert len(tree.asked) == 4
    tree.manager.start_again(down)
    tree.make(down, 10)
    says(tree, down, active_state="activating", sub_state="start")
    tree.advance(10)
    assert len(tree.asked) == 4  # It is there, but not active yet.
    says(tree, down, active_state="active", sub_state="running")
    tree.advance(5)
    assert len(tree.asked) == 5
    waiting = {f"worker@{number}.service" for number in range(40)} - asked
    nearest = max(waiting, key=lambda name: int(name.partition("@")[2].partition(".")[0]))
    assert tree.asked[-1].split()[1] == nearest


def test_one_that_doesnt_come_back_keeps_its_slot_and_is_said(start: Start) -> None:
    tree = start("-m 100 --at-most 1 worker@*.service")
    tree.make("worker@1.service", 101)
    tree.advance(1)
    tree.make("worker@2.service", 120)
    (tree.top / "system.slice" / "worker@1.service").rename(tree.top / "gone")
    says(tree, "worker@1.service", active_state="failed", sub_state="failed")
    tree.manager.results["worker@1.service"] = "exit-code"
    tree.advance(600)
    assert tree.asked == ["kill worker@1.service main 15"]
    (line,) = tree.log.having("isn't back")
    assert "it is failed (exit-code): systemd doesn't start it again" in line


def test_one_that_was_stopped_for_good_gives_its_slot_back(start: Start) -> None:
    tree = start("-m 100 --at-most 1 worker@*.service")
    tree.make("worker@1.service", 101)
    tree.advance(1)
    tree.make("worker@2.service", 120)
    (tree.top / "system.slice" / "worker@1.service").rename(tree.top / "gone")
    says(tree, "worker@1.service", active_state="inactive", sub_state="dead")
    tree.advance(10)
    assert tree.asked == ["kill worker@1.service main 15", "kill worker@2.service main 15"]


def test_one_that_a_socket_starts_when_it_is_needed_isnt_missed(start: Start) -> None:
    tree = start("-m 100 app.service")
    tree.make("app.service", 101)
    tree.manager.triggered_by["app.service"] = ("app.socket", "app.timer")
    tree.advance(1)
    (tree.top / "system.slice" / "app.service").rename(tree.top / "gone")
    says(tree, "app.service", active_state="inactive", sub_state="dead")
    tree.advance(10)
    assert tree.asked == [TERM]
    (line,) = tree.log.having("when it is needed")
    assert line.startswith("app.service: ended after ")
    assert line.endswith("; it is started by app.socket and app.timer when it is needed")
    assert tree.log.having("isn't back") == []


def test_a_scope_that_has_ended_isnt_missed_and_its_next_one_is_measured(start: Start) -> None:
    tree = start("-m 100 docker-*.scope")
    tree.make("docker-1.scope", 101)
    tree.advance(1)
    (tree.top / "system.slice" / "docker-1.scope").rename(tree.top / "gone")
    says(tree, "docker-1.scope", active_state="inactive", sub_state="dead")
    tree.advance(10)
    (line,) = tree.log.having("; systemd doesn't start scopes again")
    assert line.startswith("docker-1.scope: ended after ")
    assert tree.log.having("isn't back") == []
    tree.make("docker-1.scope", 10)
    tree.advance(10)
    assert len(tree.log.having("docker-1.scope: ok:")) == 1


def test_one_that_failed_holds_its_slot_until_that_is_reset_and_nobody_asks_about_it_meanwhile(
    start: Start,
) -> None:
    tree = start("-m 100 --at-most 1 worker@*.service")
    tree.make("worker@1.service", 101)
    tree.advance(1)
    (tree.top / "system.slice" / "worker@1.service").rename(tree.top / "gone")
    says(tree, "worker@1.service", active_state="failed", sub_state="failed")
    two = tree.make("worker@2.service", 90)
    tree.advance(10)
    questions = tree.manager.questions
    tree.advance(600)
    assert tree.manager.questions == questions
    use(two, 120 * MIB)
    tree.advance(10)
    assert len(tree.asked) == 1
    says(tree, "worker@1.service", active_state="inactive", sub_state="dead")
    tree.advance(10)
    assert len(tree.asked) == 2


def test_an_invocation_that_left_processes_behind_is_said_not_to_be_back(start: Start) -> None:
    """As after SendSIGKILL=no, where systemd can't start the next one among them (Result=resources)."""
    tree = start("-m 100 --restart --repeat 1s app.service")
    tree.make("app.service", 101)
    tree.advance(0.5)
    says(tree, active_state="failed", sub_state="failed", invocation_id=b"next")
    tree.manager.results["app.service"] = "resources"
    tree.advance(60)
    assert len(tree.asked) == 1
    (line,) = tree.log.having("isn't back")
    assert "it is failed (resources)" in line


def test_above_the_hard_threshold_it_jumps_the_queue(start: Start) -> None:
    tree = start("-m 100 --hard 200 --at-most 1 worker@*.service")
    tree.make("worker@1.service", 101)
    tree.advance(1)
    two = tree.make("worker@2.service", 120)
    tree.advance(10)
    assert len(tree.asked) == 1
    use(two, 201 * MIB)
    tree.advance(2)
    assert len(tree.asked) == 2


def test_units_that_are_down_by_others_hands_count_too(start: Start) -> None:
    tree = start("-m 100 --at-most 1 worker@1.service worker@2.service")
    says(tree, "worker@3.service", active_state="deactivating", sub_state="stop-sigterm")
    tree.make("worker@1.service", 101)
    tree.advance(10)
    assert tree.asked == []
    says(tree, "worker@3.service", active_state="inactive", sub_state="dead")
    tree.advance(10)
    assert tree.asked == ["kill worker@1.service main 15"]


def test_with_repeat_infinity_an_invocation_is_asked_once(start: Start) -> None:
    tree = start("-m 100 --repeat infinity app.service")
    app = tree.make("app.service", 101)
    tree.advance(24 * 3600)
    assert tree.asked == [TERM]
    start_again(tree, app, 101)
    tree.advance(1)
    assert tree.asked == [TERM] * 2


def test_the_repeat_is_not_forgotten_when_a_reading_is_below(start: Start) -> None:
    tree = start("-m 100 -i 0.5 --repeat 1h app.service")
    app = tree.make("app.service", 101)
    for _ in range(20):
        tree.advance(1)
        use(app, 99 * MIB)
        tree.advance(1)
        use(app, 101 * MIB)
    assert tree.asked == [TERM]
    assert len(tree.log.having("within again")) == 1


def test_the_repeat_has_a_floor_however_short_the_stop_may_be(start: Start) -> None:
    tree = start("-m 100 -i 0.02 app.service")
    tree.manager.timeouts_stop_s["app.service"] = 0.001
    tree.make("app.service", 101)
    tree.advance(6)
    assert len(tree.asked) <= 7


def test_while_it_stops_the_signal_is_not_repeated(start: Start) -> None:
    tree = start("-m 100 --repeat 5 app.service")
    tree.make("app.service", 101)
    tree.advance(1)
    says(tree, active_state="deactivating", sub_state="stop-sigterm")
    tree.advance(120)
    assert tree.asked == [TERM]
    assert not tree.log.having("held")


def test_one_that_doesnt_follow_is_restarted_by_systemd_once(start: Start) -> None:
    tree = start("-m 100 --repeat 10 --then-restart 25 app.service")
    tree.make("app.service", 101)
    tree.advance(24)
    assert tree.asked == [TERM] * 3
    tree.advance(3)
    assert tree.asked == [*[TERM] * 3, "restart app.service"]
    tree.advance(600)
    assert tree.asked.count("restart app.service") == 1


def test_reload_asks_for_a_reload_and_signals_nobody(start: Start) -> None:
    tree = start("-m 100 --reload app.service")
    tree.make("app.service", 101)
    tree.advance(1)
    assert tree.asked == ["reload app.service"]


@pytest.mark.parametrize(("options", "sent"), [("", signal.SIGQUIT), ("-s TERM", signal.SIGTERM)])
def test_the_signal_is_the_one_that_systemd_would_restart_it_with(
    start: Start, options: str, sent: int
) -> None:
    tree = start(f"-m 100 {options} app.service")
    tree.manager.stop_signals["app.service"] = signal.SIGQUIT
    tree.make("app.service", 101)
    tree.advance(1)
    assert tree.asked == [f"kill app.service main {int(sent)}"]
    assert tree.log.fields[-1]["MEMORY_MONITOR_SIGNAL"] == signal.Signals(sent).name


def test_a_request_says_how_old_the_invocation_is_and_how_fast_it_grew(start: Start) -> None:
    tree = start("-m 100 app.service")
    says(tree, started_s=tree.clock.now_s - 60)
    app = tree.make("app.service", 20)
    tree.advance(2 * 3600 - 60)
    use(app, 102 * MIB)
    tree.advance(2)
    (line,) = tree.log.having("signalled: unreclaimable 102 MiB is above 100 MiB after 2 h ")
    assert "(+41.3 MiB/h, request 1 of 10 within 1 h): sent SIGTERM" in line
    assert tree.log.fields[-1]["MEMORY_MONITOR_AGE_SEC"].startswith("720")
    assert tree.log.fields[-1]["MEMORY_MONITOR_REQUEST"] == "1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("-m 100 --hard 100 app", "--hard: 100 MiB is not above the threshold of 100 MiB"),
        ("-m 80% --hard 70% app", "--hard: 70% is not above the threshold of 80%"),
        ("-m 1 --budget 0/1h app", "--budget: '0/1h' allows no request at all"),
        ("-m 1 --budget 5 app", "--budget: '5' is not a budget"),
        ("-m 1 --budget 5/0 app", "--budget: '5/0': '0' is too short"),
        ("-m 1 --at-most 0 app", "--at-most: '0' is not a number of units"),
        ("-m 1 --at-most x app", "--at-most: 'x' is not a number of units"),
        ("-m 1 --then-restart 5min --restart app", "--then-restart: --restart does that at once"),
    ],
)
def test_rules_that_make_no_sense_are_refused_in_one_line(arguments: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(arguments.split())
    assert words in str(caught.value)


def test_where_shares_make_the_hard_threshold_the_lower_one_it_is_both_and_said_once(start: Start) -> None:
    tree = start("-m 100 --hard 50% app.service")
    app = tree.make("app.service", 10)
    tree.advance(4)
    assert tree.log.having("--hard isn't above -m") == []
    (app / "memory.max").write_text(f"{100 * MIB}\n")
    tree.target("app.service").follow_limit(tree.clock.now_s)
    (warning,) = tree.log.having("--hard isn't above -m")
    start_again(tree, app, 10)
    assert tree.log.having("--hard isn't above -m") == [warning]
    assert "50 MiB" in warning


def test_the_repeat_and_the_signal_that_were_asked_for_hold_where_systemd_doesnt_answer(start: Start) -> None:
    tree = start("-m 100 --repeat 5 -s USR1 app.service")
    tree.manager.failure = NO_ANSWER
    tree.make("app.service", 50)
    tree.advance(1)
    target = tree.target("app.service")
    assert (target.repeat_s, target.signal_number) == (5.0, signal.SIGUSR1)
