"""A process that may not be signalled: the log says so once, with what would help, and it goes on."""

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.process.kit import MINE, ROOT, WITHOUT_CAP_KILL, MonitorProcess
from tests.process.leaker import Leaker
from tests.process.waiting import eventually

SOON_S = 15.0
NAME = f"{MINE}-process"
REFUSED = (
    r"not signalled: rss \S+ MiB is above 10 MiB: SIGTERM: Operation not permitted:"
    r" run as root, as that user, or with CAP_KILL$"
)


def as_user(uid: int) -> tuple[str, ...]:
    return ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--")


def failures(monitor: MonitorProcess, leaker: Leaker) -> list[str]:
    return [line for line in monitor.lines if re.search(rf"^{NAME}\[{leaker.pid}\]: {REFUSED}", line)]


def wait_for_looks(monitor: MonitorProcess, leaker: Leaker, count: int) -> None:
    """So many more readings of that process, by a monitor with -v."""

    def readings() -> int:
        return sum(f"[{leaker.pid}]: over: rss" in line for line in monitor.lines)

    goal = readings() + count
    eventually(lambda: readings() >= goal, SOON_S, f"{count} looks", monitor.log.__str__)


def test_a_refusal_is_said_once_and_nothing_says_that_it_was_sent(
    another_uid: int, start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    foreign = start_leaker(NAME, mib=20, uid=another_uid)
    monitor = start_monitor("-m", "10", "-i", "0.05", "-v", NAME, prefix=WITHOUT_CAP_KILL)
    monitor.wait_ready()
    wait_for_looks(monitor, foreign, 20)
    monitor.stop()
    assert len(failures(monitor, foreign)) == 1
    assert not [line for line in monitor.lines if "sent" in line or "signalled: rss" in line.split("not ")[0]]
    assert foreign.lines == ["ready"]


def test_an_ordinary_user_signals_its_own_and_says_of_roots_that_it_may_not(
    another_uid: int,
    start_leaker: Callable[..., Leaker],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    prefix = as_user(another_uid)
    # The interpreter and the package may lie in a directory that only root can enter.
    command = [*prefix, sys.executable, "-c", "import memmon_systemd.cli"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"another user can't run {sys.executable} in {ROOT}: {done.stderr.strip()[-200:]}")
    roots = start_leaker(NAME, mib=20)
    own = start_leaker(NAME, mib=20, ignore=True, uid=another_uid)
    monitor = start_monitor(
        "-m", "10", "-i", "0.05", "-v", NAME, prefix=prefix, environment={"NOTIFY_SOCKET": ""}
    )
    own.wait_for_signals("SIGTERM", 10, SOON_S)
    wait_for_looks(monitor, roots, 10)
    monitor.stop()
    assert len(failures(monitor, roots)) == 1
    assert roots.lines == ["ready"]
    assert not [line for line in monitor.lines if f"[{roots.pid}]" in line and "sent" in line]


def test_a_refusal_makes_once_fail(
    another_uid: int, start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    foreign = start_leaker(NAME, mib=20, uid=another_uid)
    monitor = start_monitor("-m", "10", "--once", NAME, prefix=WITHOUT_CAP_KILL)
    assert monitor.wait_for_end() == 1, monitor.log
    assert len(failures(monitor, foreign)) == 1


def test_the_others_are_signalled_all_the_same(
    another_uid: int, start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leakers = [
        start_leaker(NAME, mib=20, ignore=True, uid=another_uid if number % 2 else None)
        for number in range(4)
    ]
    monitor = start_monitor("-m", "10", "-i", "0.05", NAME, prefix=WITHOUT_CAP_KILL)
    for leaker in leakers[::2]:
        leaker.wait_for_signals("SIGTERM", 3, SOON_S)
    monitor.stop()
    for leaker in leakers[1::2]:
        assert len(failures(monitor, leaker)) == 1
        assert leaker.lines == ["ready"]
