"""SIGTERM and SIGINT end the monitor with status 0, SIGHUP with 129, at once, whatever it is doing."""

import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.kit import MINE, MonitorProcess
from tests.process.leaker import Crowd, Leaker
from tests.process.namespace import PidNamespace
from tests.process.waiting import eventually

BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
HUNG_UP = 129
"""As shells have it. systemd takes a death by SIGHUP itself for a clean end, and would not start it again."""
MANY = 5200
GENEROUS_S = 5.0
"""Two busy cores may take long; far less than the hour that it would wait, and than all of a long look."""


def status_field(pid: int, field: str) -> str:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{field}:\s+(\S+)", status, re.MULTILINE)
    assert found is not None, f"no {field}:\n{status}"
    return found[1]


def sleeps(pid: int) -> bool:
    return status_field(pid, "State") == "S"


def end(monitor: MonitorProcess, number: signal.Signals) -> float:
    """Seconds until it has ended, by status 0."""
    begun_s = time.monotonic()
    monitor.process.send_signal(number)
    assert monitor.wait_for_end(GENEROUS_S) == 0, monitor.log
    return time.monotonic() - begun_s


@BOTH
def test_a_monitor_that_waits_for_an_hour_ends_at_once(
    number: signal.Signals,
    start_leaker: Callable[..., Leaker],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    start_leaker(f"{MINE}-quiet")
    monitor = start_monitor("-m", "100", "-i", "1h", f"{MINE}-quiet")
    monitor.wait_ready()
    eventually(lambda: sleeps(monitor.pid), 10, "it waits")
    print(f"\n{number.name}: ended {end(monitor, number) * 1000:.0f} ms later")
    assert monitor.lines[-1] == f"memory-monitor: ended by {number.name}"
    assert monitor.notify.values("STOPPING") == ["1"]


@BOTH
def test_a_monitor_that_has_just_begun_to_start_ends_with_status_0(
    number: signal.Signals,
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    talkative = (sys.executable, "-v", "-m", "memmon_systemd")  # says each import: a view into the start
    monitor = start_monitor("-m", "100", f"{MINE}-none", command=talkative)
    monitor.wait_for_line("import 'memmon_systemd.output.notify'", 10)
    end(monitor, number)
    assert "Traceback (most recent call last):" not in monitor.lines


@BOTH
def test_a_monitor_that_starts_with_5200_processes_leaves_the_rest_undone(
    number: signal.Signals,
    namespace: PidNamespace,
    start_crowd: Callable[..., Crowd],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    start_crowd(f"{MINE}-many", MANY, ignore=True, namespace=namespace).wait_until_grown()
    monitor = start_monitor("-m", "0.0001%", f"{MINE}-many", namespace=namespace)
    monitor.wait_for_line("sent SIGTERM", 30)
    print(f"\n{number.name}: ended {end(monitor, number) * 1000:.0f} ms later")
    assert len([line for line in monitor.lines if "sent SIGTERM" in line]) < MANY
    assert not monitor.notify.values("READY")


@pytest.mark.parametrize("size", ["0.0001%", "100M"])
def test_a_monitor_that_finds_and_signals_5200_processes_leaves_the_rest_undone(
    size: str,
    namespace: PidNamespace,
    start_crowd: Callable[..., Crowd],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    monitor = start_monitor("-m", size, "-i", "0.5", f"{MINE}-many", namespace=namespace)
    monitor.wait_ready()
    monitor.process.send_signal(signal.SIGSTOP)  # So that it finds all of them in one look.
    start_crowd(f"{MINE}-many", MANY, ignore=True, namespace=namespace)
    monitor.process.send_signal(signal.SIGCONT)
    said = "sent SIGTERM" if size == "0.0001%" else r"\]: ok: "
    monitor.wait_for_line(said, 30)
    print(f"\nSIGTERM: ended {end(monitor, signal.SIGTERM) * 1000:.0f} ms later")
    assert len([line for line in monitor.lines if re.search(said, line)]) < MANY
    assert monitor.lines[-1] == "memory-monitor: ended by SIGTERM"


def test_sighup_ends_it_with_a_line_and_a_failure(start_monitor: Callable[..., MonitorProcess]) -> None:
    monitor = start_monitor("-m", "100", "-i", "1h", f"{MINE}-none")
    monitor.wait_ready()
    monitor.process.send_signal(signal.SIGHUP)
    assert monitor.wait_for_end(GENEROUS_S) == HUNG_UP
    assert monitor.lines[-1] == "memory-monitor: ended by SIGHUP"
    eventually(lambda: monitor.notify.values("STOPPING") == ["1"], GENEROUS_S, "STOPPING=1")


def test_sighup_ends_it_with_a_line_and_a_failure_while_it_starts(
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    talkative = (sys.executable, "-v", "-m", "memmon_systemd")
    monitor = start_monitor("-m", "100", f"{MINE}-none", command=talkative)
    monitor.wait_for_line("import 'memmon_systemd.monitor.loop'", 10)
    monitor.process.send_signal(signal.SIGHUP)
    assert monitor.wait_for_end(GENEROUS_S) == HUNG_UP
    # The interpreter's own line, of which it may have written a part, stands before it then.
    assert "memory-monitor: ended by SIGHUP\n" in "\n".join([*monitor.lines, ""])


def test_where_sighup_is_ignored_it_goes_on(start_monitor: Callable[..., MonitorProcess]) -> None:
    monitor = start_monitor("-m", "100", "-i", "50ms", "-v", f"{MINE}-none", prefix=("nohup",))
    monitor.wait_ready()
    monitor.process.send_signal(signal.SIGHUP)
    assert int(status_field(monitor.pid, "SigIgn"), 16) & 1 << (signal.SIGHUP - 1)
    monitor.stop()
