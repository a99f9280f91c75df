"""How a unit that was asked has ended: by itself, or killed by the kernel or by systemd."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from memmon_systemd.units import oom_kills
from tests.unit.trees import MIB, Tree, linux_only, restart, use

pytestmark = linux_only
Start = Callable[[str], Tree]
TOO_NEAR = "(the threshold is too near to the limit)"


def kill(cgroup: Path, count: int) -> None:
    """Let the OOM killer have killed so many processes, in a cgroup or below it."""
    (cgroup / "memory.events").write_text(
        f"low 0\nhigh 0\nmax 7\noom 2\noom_kill {count}\noom_group_kill 0\n"
    )


def asked(start: Start, killed_before: int = 0) -> tuple[Tree, Path]:
    """A unit that was asked, in a slice in which that many processes were killed before."""
    tree = start("-m 100 -i 60 app.service")
    app = tree.make("app.service", 10)
    kill(app, killed_before)
    kill(app.parent, killed_before)
    tree.advance(1)
    use(app, 101 * MIB)
    tree.advance(60)
    assert len(tree.asked) == 1
    return tree, app


def event(tree: Tree) -> None:
    """As the kernel says that memory.events has changed."""
    events = tree.target("app.service").events
    assert events is not None
    tree.poller.events.append(events)
    tree.advance(0.01)


def became(tree: Tree, app: Path) -> str:
    """What is said of it once it has ended and is active again."""
    (app / "memory.events").write_text("")  # Whoever has it open can't read it any more.
    restart(tree, app, 10)
    tree.advance(2)
    (line,) = tree.log.having("active again")
    return line


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("low 0\nhigh 0\nmax 0\noom 3\noom_kill 2\noom_group_kill 5\n", 2),
        ("oom_kill 18446744073709551615\n", 2**64 - 1),
        ("low 0\noom 1\noom_group_kill 1\n", None),
        ("low 0\noom_kill -1\n", None),
        ("low 0\noom_kill 1", None),
        ("low 0\noom_kill \n", None),
        ("", None),
        ("\xff\n", None),
    ],
)
def test_the_number_is_read_whole_or_not_at_all(tmp_path: Path, text: str, count: int | None) -> None:
    (tmp_path / "memory.events").write_text(text, encoding="latin-1")
    assert oom_kills.read_below(os.fspath(tmp_path)) == count


def test_a_cgroup_that_isnt_there_has_no_number(tmp_path: Path) -> None:
    assert oom_kills.read_below(os.fspath(tmp_path / "gone")) is None


def test_a_process_that_was_killed_after_the_request_is_said(start: Start) -> None:
    tree, app = asked(start)
    kill(app, 1)
    event(tree)
    assert f"app.service: lost a process to the OOM killer {TOO_NEAR} and ended after " in became(tree, app)


def test_one_that_was_killed_between_two_events_is_seen_while_the_unit_is_there(start: Start) -> None:
    tree, app = asked(start)
    event(tree)  # It meets its limit: muted from now on.
    kill(app, 1)
    tree.advance(0.2)
    assert "lost a process to the OOM killer" in became(tree, app)


def test_events_of_a_unit_that_was_asked_are_listened_to_sooner_but_not_for_ever(start: Start) -> None:
    tree, _ = asked(start)
    target = tree.target("app.service")
    muted_s = []
    for _ in range(12):
        event(tree)
        muted_s.append(target.muted_until_s - tree.clock.now_s)
        tree.advance(60)
    assert muted_s[0] < 0.2
    assert muted_s == sorted(muted_s)
    assert muted_s[-1] == pytest.approx(60, abs=0.1)


def test_what_was_killed_before_the_request_is_no_consequence_of_it(start: Start) -> None:
    tree, app = asked(start, killed_before=3)
    event(tree)
    tree.manager.results["app.service"] = "signal"
    tree.manager.killed.add("app.service")
    assert became(tree, app).startswith("app.service: ended after ")


def test_a_main_process_that_was_killed_is_said_where_systemd_only_knows_the_signal(start: Start) -> None:
    tree, app = asked(start, killed_before=3)
    kill(app.parent, 4)  # That of its own cgroup is gone before anybody can read it.
    tree.manager.results["app.service"] = "signal"
    tree.manager.killed.add("app.service")
    assert became(tree, app).startswith(f"app.service: was OOM-killed {TOO_NEAR} after ")


@pytest.mark.parametrize("result", ["success", "signal", "exit-code"])
def test_what_was_killed_in_a_neighbour_is_no_loss_of_this_unit(start: Start, result: str) -> None:
    tree, app = asked(start)
    kill(app.parent, 1)
    tree.manager.results["app.service"] = result
    assert became(tree, app).startswith("app.service: ended after ")


def test_that_systemd_says_so_is_enough(start: Start) -> None:
    tree, app = asked(start)
    tree.manager.results["app.service"] = "oom-kill"
    assert became(tree, app).startswith(f"app.service: was OOM-killed {TOO_NEAR} after ")


def test_the_count_begins_anew_with_each_request(start: Start) -> None:
    tree, app = asked(start)
    kill(app, 1)
    event(tree)
    became(tree, app)
    use(app, 101 * MIB)
    tree.advance(60)
    restart(tree, app, 10)
    tree.advance(2)
    assert tree.log.having("active again")[-1].startswith("app.service: ended after ")


@pytest.mark.parametrize(
    ("took_s", "how"), [(20.0, "was killed by systemd (TimeoutStopSec=)"), (19.9, "ended")]
)
def test_a_restart_that_took_all_of_its_time_to_stop_was_killed_whatever_the_next_start_has_reset(
    start: Start, took_s: float, how: str
) -> None:
    tree, app = asked(start)
    began_s = tree.clock.now_s
    usual = tree.manager.usual
    tree.manager.states["app.service"] = replace(usual, stop_began_s=began_s, stopped_s=began_s + took_s)
    assert became(tree, app).startswith(f"app.service: {how} after ")
