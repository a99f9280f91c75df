"""Where there is neither /proc nor systemd: processes by psutil, and one line for what isn't there."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.kit import ROOT, MonitorProcess
from tests.process.leaker import Leaker

ENVIRONMENT = {"PYTHONPATH": str(ROOT)}
COMMAND = (sys.executable, str(Path(__file__).with_name("as_on_macos.py")))
DEADLINE_S = 30.0


def test_a_process_above_the_limit_is_signalled(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker("other-systems", mib=30)
    monitor = start_monitor(
        "-m", "20", "-i", "0.1", "-s", "USR1", "other-systems", command=COMMAND, environment=ENVIRONMENT
    )
    leaker.wait_for_line("SIGUSR1", DEADLINE_S)
    monitor.wait_for_line(rf"other-systems\[{leaker.pid}\]: signalled: rss .* sent SIGUSR1", DEADLINE_S)


def test_a_process_that_comes_and_goes_is_found_and_missed(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    monitor = start_monitor(
        "-v", "-m", "500", "-i", "0.1", "other-systems", command=COMMAND, environment=ENVIRONMENT
    )
    monitor.wait_for_line("other-systems: waiting: there is no process of that name", DEADLINE_S)
    leaker = start_leaker("other-systems")
    monitor.wait_for_line(rf"other-systems\[{leaker.pid}\]: ok: rss", DEADLINE_S)
    leaker.stop()
    monitor.wait_for_line(rf"other-systems\[{leaker.pid}\]: ended", DEADLINE_S)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-m", "5", "x.service"), "units need systemd, which darwin doesn't have: use --as process"),
        (("-m", "5", "--as", "owner", "x"), "units need systemd"),
        (("-m", "5", "--user", "x"), "units need systemd"),
        (("-m", "5", "--swap", "x"), "--swap: darwin doesn't count that for a process"),
        (("-m", "5", "--metric", "pss", "x"), "--metric pss: darwin doesn't count that for a process"),
    ],
)
def test_what_only_linux_has_is_refused_in_one_line(arguments: tuple[str, ...], says: str) -> None:
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
