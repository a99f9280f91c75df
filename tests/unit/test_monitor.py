import errno
import signal
import subprocess
from collections.abc import Callable

import pytest

from memmon_systemd.monitor.loop import OnceResult
from memmon_systemd.monitor.policy import State
from memmon_systemd.monitor.source import Source
from memmon_systemd.systemd.errors import BusError
from tests.unit.trees import MIB, Tree, linux_only, use

pytestmark = linux_only
Start = Callable[..., Tree]
TERM = f"kill app.service main {int(signal.SIGTERM)}"


class BrokenSource(Source):
    def refresh(self, now_s: float) -> None:
        raise RuntimeError("this source is broken")

    def is_finished(self) -> bool:
        return False

    def has_targets(self) -> bool:
        return True


def test_a_unit_is_signalled_once_it_is_strictly_above_the_threshold(start: Start) -> None:
    tree = start("-m 100 app.service")
    app = tree.make("app.service", 100)
    tree.advance(10)
    assert tree.asked == []
    use(app, 100 * MIB + 1)
    tree.advance(2)
    assert tree.asked == [TERM]
    assert tree.target("app.service").state is State.SIGNALLED


def test_a_dip_below_the_threshold_starts_for_anew(start: Start) -> None:
    tree = start("-m 100 --for 5 app.service")
    app = tree.make("app.service", 101)
    tree.advance(4.9)
    use(app, 100 * MIB)
    tree.advance(2.5)
    use(app, 101 * MIB)
    tree.advance(5)
    assert tree.asked == []
    tree.advance(3)
    assert tree.asked == [TERM]
    assert [line.split(": ")[1] for line in tree.log.lines] == ["over", "ok", "over", "signalled"]


@pytest.mark.parametrize(
    ("arguments", "would"), [("-n", "would send SIGTERM"), ("-n --restart", "would restart")]
)
def test_a_dry_run_says_what_it_would_do_and_does_nothing(start: Start, arguments: str, would: str) -> None:
    tree = start(f"-m 100 {arguments} app.service")
    tree.make("app.service", 101)
    tree.advance(10)
    assert tree.asked == []
    assert len(tree.log.having(would)) == 1


def test_restart_asks_for_a_restart_and_signals_nobody(start: Start) -> None:
    tree = start("-m 100 --restart app.service")
    tree.make("app.service", 101)
    tree.advance(1)
    assert tree.asked == ["restart app.service"]


@pytest.mark.parametrize(
    ("arguments", "whom"), [("--kill-whom all", "all"), ("--kill-whom control", "control"), ("", "main")]
)
def test_kill_whom_and_the_signal_reach_the_service_manager(start: Start, arguments: str, whom: str) -> None:
    tree = start(f"-m 100 -s USR1 {arguments} app.service")
    tree.make("app.service", 101)
    tree.advance(1)
    assert tree.asked == [f"kill app.service {whom} {int(signal.SIGUSR1)}"]


def test_it_is_read_again_just_before_acting(start: Start) -> None:
    tree = start("-m 100 app.service")
    app = tree.make("app.service", 90)
    tree.advance(2)
    use(app, 101 * MIB)
    tree.manager.on_question = lambda _: use(app, 99 * MIB)  # it falls while systemd is asked
    tree.advance(4)
    assert tree.manager.questions == 2
    assert tree.asked == []


def test_nothing_is_signalled_once_it_is_told_to_end(start: Start) -> None:
    tree = start("-m 100 app.service")
    app = tree.make("app.service", 90)
    tree.advance(2)
    use(app, 101 * MIB)
    tree.manager.on_question = lambda _: tree.monitor.stop("told to, while systemd is asked")
    tree.advance(4)
    assert tree.manager.questions == 2
    assert tree.asked == []


def test_a_new_invocation_in_the_same_cgroup_starts_afresh(start: Start) -> None:
    tree = start("-m 100 --for 5 app.service")
    tree.make("app.service", 101)
    tree.advance(4.9)
    tree.manager.start_again("app.service")
    tree.advance(5)
    assert tree.asked == []
    tree.advance(0.3)
    assert tree.asked == [TERM]


@pytest.mark.parametrize("garbage", ["", "x\n", "-5\n", "\0\0\n"])
def test_samples_that_cant_be_read_are_counted_said_once_and_not_fatal(start: Start, garbage: str) -> None:
    tree = start("-m 100 app.service")
    app = tree.make("app.service", 50)
    tree.advance(2)
    (app / "memory.current").write_text(garbage)
    tree.advance(20)
    assert tree.target("app.service").unreadable >= 9
    assert len(tree.log.having("can't be read")) == 1
    use(app, 101 * MIB)
    tree.advance(2)
    assert tree.asked == [TERM]


def test_a_target_that_is_gone_is_waited_for(start: Start) -> None:
    tree = start("-m 100 app.service")
    with subprocess.Popen(["sleep", "60"]) as child:
        app = tree.make("app.service", 50)
        (app / "memory.current").unlink()
        (app / "memory.current").symlink_to(f"/proc/{child.pid}/oom_score")  # ESRCH once it ended
        tree.advance(2)
        child.kill()
        child.wait()
    tree.advance(4)
    assert tree.target("app.service").state is State.WAITING
    assert len(tree.log.having("waiting: it stopped")) == 1


def test_a_target_that_is_said_to_be_gone_and_is_not_is_measured_again_within_an_interval(
    start: Start,
) -> None:
    tree = start("-m 100 -i 60 app.service")
    with subprocess.Popen(["sleep", "60"]) as child:
        app = tree.make("app.service", 50)
        (app / "memory.current").unlink()
        (app / "memory.current").symlink_to(f"/proc/{child.pid}/oom_score")  # ESRCH once it ended
        tree.advance(1)
        child.kill()
        child.wait()
    (app / "memory.current").unlink()
    use(app, 50 * MIB)
    tree.advance(60)
    assert tree.log.having("waiting: it stopped")
    tree.advance(60)
    assert tree.target("app.service").state is State.OK
    assert max(tree.poller.waits_s) <= 60


def test_a_failure_is_said_once_and_tried_again_until_it_works(start: Start) -> None:
    tree = start("-m 100 --restart app.service")
    app = tree.make("app.service", 90)
    tree.advance(2)
    tree.manager.failure = BusError(errno.EACCES, "not allowed")
    use(app, 101 * MIB)
    tree.advance(20)
    tree.manager.failure = BusError(errno.ETIMEDOUT, "no answer")
    tree.advance(60)
    first, second = tree.log.having("not restarted")
    assert "not allowed: run as root" in first
    assert "no answer" in second
    tree.manager.failure = None
    tree.advance(120)
    assert tree.asked[0] == "restart app.service"


@pytest.mark.parametrize("broken", ["app.service", "other.service"])
def test_an_error_at_one_target_ends_neither_the_loop_nor_the_watch_of_others(
    start: Start, broken: str
) -> None:
    tree = start("-m 100 app.service other.service")
    units = [tree.make("app.service", 90), tree.make("other.service", 90)]
    tree.advance(2)

    def fail(name: str) -> None:
        if name == broken:
            raise RuntimeError("nobody expected this")

    tree.manager.on_question = fail
    for unit in units:
        use(unit, 101 * MIB)
    tree.run_for(10)
    (said,) = tree.log.having("nobody expected this")
    assert said.endswith("; continuing")
    assert [what.split()[1] for what in tree.asked] == list({"app.service", "other.service"} - {broken})


def test_an_error_in_finding_targets_leaves_those_that_are_there_watched(start: Start) -> None:
    tree = start("-m 100 app.service")
    app = tree.make("app.service", 90)
    tree.advance(2)
    broken = BrokenSource()
    tree.monitor = tree.monitor_of([broken, tree.units])
    use(app, 101 * MIB)
    tree.run_for(10)
    assert tree.asked == [TERM]
    assert len(tree.log.having("this source is broken")) == 1


@pytest.mark.parametrize(
    ("mib", "result"),
    [
        (100, OnceResult(over=False, failed=False, missing=False)),
        (101, OnceResult(over=True, failed=False, missing=False)),
        (None, OnceResult(over=False, failed=False, missing=True)),
        ("garbage", OnceResult(over=False, failed=True, missing=False)),
    ],
)
def test_once_looks_once_and_acts_where_it_is_over(
    start: Start, mib: float | str | None, result: OnceResult
) -> None:
    tree = start("-m 100 --for 5 --once app.service")
    if isinstance(mib, str):
        (tree.make("app.service", 0) / "memory.current").write_text(mib)
    elif mib is not None:
        tree.make("app.service", mib)
    assert tree.monitor.look_once() == result
    assert tree.asked == [TERM] * result.over
    assert tree.poller.waits_s == []


def test_verbose_says_every_reading(start: Start) -> None:
    tree = start("-m 100 -v app.service")
    tree.make("app.service", 20)
    tree.advance(19)
    assert tree.log.lines.count("app.service: ok: unreclaimable 20 MiB of 100 MiB") >= 10
