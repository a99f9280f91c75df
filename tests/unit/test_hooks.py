"""Hooks: a unit that permits requests, and one that is started at each request."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memmon_systemd.arguments import parse
from memmon_systemd.errors import UsageError
from memmon_systemd.monitor.policy import State
from memmon_systemd.parsing import parse_hook
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.hook_units import HookState
from memmon_systemd.units.hook_name import hook_name
from memmon_systemd.units.hook_problems import warn_of_hooks
from tests.unit.trees import MIB, Tree, linux_only, use

pytestmark = linux_only
Start = Callable[..., Tree]
TERM = "kill app.service main 15"
LOCK = "lock@app.service.service"
START = f"start {LOCK}"
MAIL = "start mail-me@app.service.service"
CONDITION = "--condition-unit lock@%n --repeat 60"
RUNS = HookState("activating", "start", 7, True)
SUCCEEDED = HookState("inactive", "dead", 0, True)
FAILED = HookState("failed", "failed", 0, True)
NO_ANSWER = BusError(110, "no answer within 1 s", was_called=True)


def over(start: Start, options: str = CONDITION, *, lock: HookState = RUNS) -> Tree:
    """A unit above its threshold, and a condition that is this far."""
    tree = start(f"-m 100 {options} app.service")
    tree.manager.hook_units.states[LOCK] = lock
    tree.make("app.service", 90)
    tree.advance(2)
    use(tree.top / "system.slice/app.service", 110 * MIB)
    return tree


# --- the condition ----------------------------------------------------------------------------


def test_a_unit_is_asked_when_its_condition_has_succeeded_and_not_before(start: Start) -> None:
    tree = over(start)
    tree.advance(10)
    assert tree.asked == [START]
    assert tree.target("app.service").state is State.HELD
    (held,) = [fields for fields in tree.log.fields if "MEMORY_MONITOR_REASON" in fields]
    assert held["MEMORY_MONITOR_REASON"] == "condition"
    assert tree.log.having(f"held: unreclaimable 110 MiB is above 100 MiB: {LOCK} decides")
    assert tree.manager.hook_units.kept == [LOCK]
    tree.manager.hook_units.states[LOCK] = SUCCEEDED
    tree.advance(1)
    assert tree.asked == [START, TERM]
    assert tree.manager.hook_units.kept == []


def test_a_condition_that_fails_holds_the_unit_and_is_tried_again_after_repeat(start: Start) -> None:
    tree = over(start, lock=FAILED)
    tree.advance(50)
    assert tree.asked == [START]
    tree.advance(15)
    assert tree.asked == [START, START]
    assert len(tree.log.having(f"app.service: not asked: {LOCK} doesn't permit it: it failed")) == 1
    tree.manager.hook_units.states[LOCK] = SUCCEEDED
    tree.advance(61)
    assert tree.asked == [START, START, START, TERM]
    assert tree.manager.hook_units.kept == []


def test_a_condition_that_never_ends_is_given_up_after_its_timeout(start: Start) -> None:
    tree = over(start, f"{CONDITION} --condition-timeout 20")
    tree.advance(18)
    assert not tree.log.having("still runs")
    tree.advance(8)
    assert tree.log.having(f"not asked: {LOCK} doesn't permit it: it still runs")
    tree.advance(40)
    assert tree.asked == [START]
    tree.advance(25)
    assert tree.asked == [START, START]


def test_a_condition_that_systemd_skips_does_not_permit(start: Start) -> None:
    tree = over(start, lock=HookState("inactive", "dead", 0, is_condition_met=False))
    tree.advance(10)
    assert tree.asked == [START]
    assert tree.log.having("systemd skipped it, for a Condition of its own is not met")


def test_a_condition_that_isnt_there_is_said_once_and_the_unit_stays_held(start: Start) -> None:
    tree = start(f"-m 100 {CONDITION} app.service")
    tree.manager.hook_units.absent.add(LOCK)
    tree.make("app.service", 110)
    tree.advance(300)
    assert tree.asked == []
    assert len(tree.log.having(f"it can't be started: Unit {LOCK} not found.")) == 1
    assert tree.manager.hook_units.kept == []


def test_above_the_hard_threshold_nobody_waits_for_a_condition(start: Start) -> None:
    tree = over(start, f"{CONDITION} --hard 200")
    tree.advance(5)
    assert tree.asked == [START]
    use(tree.top / "system.slice/app.service", 210 * MIB)
    tree.advance(2)
    assert tree.asked == [START, TERM]


def test_what_was_permitted_counts_for_one_request_only(start: Start) -> None:
    tree = over(start, "--condition-unit lock@%n", lock=SUCCEEDED)
    tree.advance(3)
    assert tree.asked == [START, TERM]
    app = tree.top / "system.slice/app.service"
    app.rename(tree.top / "gone")
    tree.advance(1)
    tree.manager.start_again("app.service")
    tree.make("app.service", 110)
    tree.manager.hook_units.states[LOCK] = RUNS
    tree.advance(5)
    assert tree.asked == [START, TERM, START]


def test_a_repeat_needs_no_new_permission(start: Start) -> None:
    tree = over(start, "--condition-unit lock@%n --repeat 5", lock=SUCCEEDED)
    tree.advance(12)
    assert tree.asked == [START, TERM, TERM, TERM]


def test_a_unit_that_stops_meanwhile_is_left_alone_and_its_permission_is_void(start: Start) -> None:
    tree = over(start)
    tree.advance(3)
    tree.manager.hook_units.states[LOCK] = SUCCEEDED
    tree.manager.states["app.service"] = replace(tree.manager.usual, active_state="deactivating")
    tree.advance(20)
    assert tree.asked == [START]
    del tree.manager.states["app.service"]
    tree.advance(31)
    assert tree.asked == [START, START, TERM]


def test_a_unit_that_falls_and_rises_again_needs_a_new_permission(start: Start) -> None:
    tree = over(start)
    tree.advance(3)
    app = tree.top / "system.slice/app.service"
    use(app, 50 * MIB)
    tree.advance(3)
    tree.manager.hook_units.states[LOCK] = SUCCEEDED
    use(app, 110 * MIB)
    tree.advance(4)
    assert tree.asked == [START, START, TERM]
    assert tree.manager.hook_units.kept == []


def test_a_condition_whose_end_systemd_has_forgotten_does_not_permit(start: Start) -> None:
    tree = over(start, lock=HookState("inactive", "dead", 0, is_condition_met=True, is_known=False))
    tree.advance(10)
    assert tree.asked == [START]
    assert tree.log.having("systemd has forgotten how it ended")


def test_without_an_answer_of_systemd_a_unit_with_a_condition_is_held_until_it_answers(start: Start) -> None:
    tree = over(start)
    tree.manager.failure = NO_ANSWER
    tree.advance(30)
    assert tree.asked == []
    assert tree.target("app.service").state is State.HELD
    tree.manager.failure = None
    tree.manager.hook_units.states[LOCK] = SUCCEEDED
    tree.advance(2)
    assert tree.asked == [START, TERM]


def test_a_condition_that_couldnt_be_started_without_an_answer_is_started_when_there_is_one(
    start: Start,
) -> None:
    tree = start(f"-m 100 {CONDITION} app.service")
    tree.make("app.service", 90)
    tree.advance(2)
    tree.manager.failure = NO_ANSWER
    use(tree.top / "system.slice/app.service", 110 * MIB)
    tree.advance(30)
    assert len(tree.log.having("it can't be started: no answer within 1 s")) == 1
    tree.manager.failure = None
    tree.advance(3)
    assert tree.asked == [START, TERM]


def test_an_answer_that_is_missing_for_a_moment_does_not_refuse(start: Start) -> None:
    tree = over(start)
    tree.advance(3)
    tree.manager.failure = NO_ANSWER
    tree.advance(3)
    assert tree.manager.hook_units.kept == []
    tree.manager.failure = None
    tree.advance(1)
    assert tree.manager.hook_units.kept == [LOCK], "it is kept by the new connection"
    tree.manager.hook_units.states[LOCK] = SUCCEEDED
    tree.advance(2)
    assert tree.asked == [START, TERM]
    assert tree.manager.hook_units.kept == []


def test_how_a_condition_ends_is_remembered_over_the_loss_of_a_connection(start: Start) -> None:
    tree = over(start)
    tree.advance(3)
    tree.manager.hook_units.lose_the_connection()
    tree.advance(1)
    assert tree.manager.hook_units.kept == [LOCK]
    tree.manager.hook_units.states[LOCK] = SUCCEEDED
    tree.advance(2)
    assert tree.asked == [START, TERM]
    assert tree.manager.hook_units.kept == []


def test_a_unit_whose_condition_runs_holds_its_slot(start: Start) -> None:
    tree = start("-m 100 --condition-unit lock@%n --at-most 1 w@*.service")
    names = [f"w@{number}.service" for number in range(3)]
    for name in names:
        tree.manager.hook_units.states[f"lock@{name}.service"] = RUNS
        tree.make(name, 110)
    tree.advance(10)
    (asked,) = tree.asked
    assert asked in {f"start lock@{name}.service" for name in names}


def test_one_that_is_asked_above_the_hard_threshold_gives_its_slot_back(start: Start) -> None:
    tree = start("-m 100 --hard 200 --condition-unit lock@%n --at-most 1 w@*.service")
    for number in range(2):
        tree.manager.hook_units.states[f"lock@w@{number}.service.service"] = RUNS
    first = tree.make("w@0.service", 110)
    tree.advance(3)
    tree.make("w@1.service", 105)
    tree.advance(3)
    assert tree.asked == ["start lock@w@0.service.service"]
    use(first, 210 * MIB)
    tree.advance(2)
    first.rename(tree.top / "gone")
    tree.advance(1)
    tree.manager.start_again("w@0.service")
    tree.make("w@0.service", 50)
    tree.advance(5)
    assert tree.asked[1:] == ["kill w@0.service main 15", "start lock@w@1.service.service"]
    assert tree.manager.hook_units.kept == ["lock@w@1.service.service"]


# --- at a request -----------------------------------------------------------------------------


def test_a_hook_is_started_at_each_request_and_nobody_waits_for_it(start: Start) -> None:
    tree = over(start, "--on-request mail-me@%n --repeat 5")
    tree.manager.hook_units.states["mail-me@app.service.service"] = RUNS
    tree.advance(3)
    assert tree.asked == [TERM, MAIL]
    assert tree.log.having("app.service: started mail-me@app.service.service")
    tree.advance(4)
    assert tree.asked == [TERM, MAIL, TERM], "it still runs"
    tree.manager.hook_units.states["mail-me@app.service.service"] = SUCCEEDED
    tree.advance(5)
    assert tree.asked == [TERM, MAIL, TERM, TERM, MAIL]
    tree.advance(2)
    assert tree.manager.hook_units.kept == []


def test_how_a_hook_ends_is_said_after_the_loss_of_a_connection(start: Start) -> None:
    tree = over(start, "--on-request mail-me@%n --repeat infinity")
    tree.manager.hook_units.states["mail-me@app.service.service"] = RUNS
    tree.advance(3)
    tree.manager.hook_units.lose_the_connection()
    tree.advance(3)
    assert tree.manager.hook_units.kept == ["mail-me@app.service.service"]
    tree.manager.hook_units.states["mail-me@app.service.service"] = FAILED
    tree.advance(3)
    assert tree.log.having("mail-me@app.service.service: it failed")
    assert tree.manager.hook_units.kept == []


def test_a_hook_is_started_when_the_budget_is_used_up_once(start: Start) -> None:
    tree = start("-m 100 --budget 1/1h --repeat infinity --on-request mail-me@%n app.service")
    tree.make("app.service", 110)
    tree.advance(3)
    (tree.top / "system.slice/app.service").rename(tree.top / "gone")
    tree.advance(1)
    tree.manager.start_again("app.service")
    tree.make("app.service", 110)
    tree.advance(60)
    assert tree.asked == [TERM, MAIL, MAIL]
    assert len(tree.log.having("asked once within 1 h")) == 1


def test_a_hook_is_started_at_an_escalation(start: Start) -> None:
    tree = over(start, "--then-restart 10 --repeat infinity --on-request mail-me@%n")
    tree.advance(13)
    assert tree.asked == [TERM, MAIL, "restart app.service", MAIL]


@pytest.mark.parametrize(
    ("state", "said"),
    [(FAILED, "it failed"), (replace(SUCCEEDED, is_condition_met=False), "systemd skipped it")],
)
def test_a_hook_that_fails_is_said_and_monitoring_goes_on(start: Start, state: HookState, said: str) -> None:
    tree = over(start, "--on-request mail-me@%n --repeat 5")
    tree.manager.hook_units.states["mail-me@app.service.service"] = state
    tree.advance(4)
    (line,) = tree.log.having("warning: app.service: mail-me@app.service.service: ")
    assert said in line
    assert line.endswith("see systemctl status mail-me@app.service.service")
    tree.advance(5)
    assert tree.asked == [TERM, MAIL, TERM, MAIL]


def test_a_hook_that_isnt_there_is_said_and_the_request_was_made(start: Start) -> None:
    tree = start("-m 100 --on-request mail-me@%n --repeat infinity app.service")
    tree.manager.hook_units.absent.add("mail-me@app.service.service")
    tree.make("app.service", 110)
    tree.advance(3)
    assert tree.asked == [TERM]
    assert tree.log.having("can't be started: Unit mail-me@app.service.service not found.")


def test_a_dry_run_starts_nothing(start: Start) -> None:
    tree = over(start, f"{CONDITION} --on-request mail-me@%n -n")
    tree.advance(3)
    assert tree.asked == []
    assert tree.log.having("would send SIGTERM (dry run)")


# --- what is said before it is needed ---------------------------------------------------------

FIT = {
    b"LoadState": b"loaded",
    b"Type": b"oneshot",
    b"RemainAfterExit": False,
    **dict.fromkeys((b"Conflicts", b"Requires", b"Requisite", b"BindsTo", b"PartOf"), ()),
}


@pytest.mark.parametrize(
    ("option", "changes", "said"),
    [
        ("--condition-unit lock@%n", {}, None),
        ("--condition-unit lock@%n", {b"LoadState": b"not-found"}, "create lock@.service"),
        ("--condition-unit lock@%n", {b"LoadState": b"masked"}, "systemd has no such unit (masked)"),
        ("--condition-unit lock@%n", {b"Type": b"simple"}, "use Type=oneshot"),
        ("--condition-unit lock@%n", {b"RemainAfterExit": True}, "has RemainAfterExit=yes"),
        ("--condition-unit lock@%n", {b"Conflicts": [b"app.service"]}, "its start would stop the unit"),
        ("--condition-unit lock@%n", {b"BindsTo": [b"app.service"]}, "it has BindsTo=app.service"),
        ("--condition-unit lock@%n", {b"Requisite": [b"app.service"]}, "it has Requisite=app.service"),
        ("--on-request lock@%n", {b"Type": b"simple"}, None),
        ("--on-request lock@%n", {b"PartOf": [b"app.service"]}, "it is stopped with the unit"),
        ("--on-request app.service", {}, "it is the unit itself: name another service"),
    ],
)
def test_a_hook_that_is_of_no_use_is_said_at_the_start(
    start: Start, option: str, changes: dict[bytes, object], said: str | None
) -> None:
    tree = start(f"-m 100 {option} app.service")
    tree.manager.hook_files[LOCK] = FIT | changes
    warn_of_hooks(tree.units.settings_of_all(), tree.manager, tree.context.report)
    if said is None:
        assert tree.log.lines == []
    else:
        (line,) = tree.log.lines
        assert line.startswith(f"warning: app.service: {option.split()[0]} ")
        assert said in line


def test_of_a_templates_units_one_line_is_said(start: Start) -> None:
    tree = start("-m 100 --on-request mail-me a@1.service a@2.service")
    tree.manager.hook_files["mail-me.service"] = FIT | {b"LoadState": b"not-found"}
    warn_of_hooks(tree.units.settings_of_all(), tree.manager, tree.context.report)
    assert len(tree.log.lines) == 1


def test_where_systemd_doesnt_answer_that_is_said_of_the_hooks(start: Start) -> None:
    tree = start("-m 100 --on-request mail-me app.service")
    tree.manager.failure = NO_ANSWER
    warn_of_hooks(tree.units.settings_of_all(), tree.manager, tree.context.report)
    assert tree.log.having("can't tell whether its hooks are of use: no answer within 1 s")


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "unit", "name"),
    [
        ("mail-me@%n.service", "app.service", "mail-me@app.service.service"),
        ("dump@%N.service", "app@1.service", "dump@app@1.service"),
        ("lock-%p@%i.service", "app@a-b.service", "lock-app@a-b.service"),
        ("lock@%i.service", "app.service", "lock@.service"),
        ("a%%b@%%%p.service", "app.service", "a%b@%app.service"),
        ("plain.service", "app.service", "plain.service"),
    ],
)
def test_specifiers_stand_for_the_unit_that_is_asked(pattern: str, unit: str, name: str) -> None:
    assert hook_name(pattern, unit) == name


@given(st.text("ab%nNpi@.", max_size=12))
def test_what_is_accepted_can_be_resolved(text: str) -> None:
    try:
        pattern = parse_hook(text)
    except UsageError:
        return
    assert hook_name(pattern, "app@x.service").endswith(".service")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mail.timer", "'mail.timer' is not a service: use a name such as mail-me@%n.service"),
        ("mail me", "is not a service"),
        ("mail@%H", "another specifier than %n, %N, %p, %i"),
        ("mail%", "another specifier than"),
        ("mail%%%", "another specifier than"),
        ("a/b", "use one without a slash"),
        ("", "is not a name"),
    ],
)
@pytest.mark.parametrize("option", ["--condition-unit", "--on-request"])
def test_what_cant_be_a_hook_is_a_usage_error(option: str, text: str, said: str) -> None:
    with pytest.raises(UsageError, match="^" + option) as caught:
        parse(["-m", "100", option, text, "app.service"])
    assert said in str(caught.value)


def test_a_condition_cant_be_waited_for_with_once() -> None:
    with pytest.raises(UsageError, match=r"^--once: polls once, and can't wait for --condition-unit"):
        parse(["-m", "100", "--once", "--condition-unit", "lock", "app.service"])
