"""memory-monitor@.service as it is installed, but that a forbidden system call kills it."""

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import Leaky, Service, eventually, messages, properties_of, property_of, run, silent_bus, write_unit

MONITOR = "memory-monitor@shipped.service"
RESTARTS_IN_A_ROW = 20
CONFIGURATION = Path("/etc/memory-monitor")


@pytest.fixture(scope="module")
def target() -> Iterator[Leaky]:
    """shipped.service with a limit of 40 MiB, and the monitor that was enabled for it."""
    leaky = Leaky("shipped")
    write_unit(
        "shipped.service",
        f"[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart={leaky.exec_line()}\nMemoryMax=40M\n"
        "Restart=always\nRestartSec=100ms\n",
    )
    write_unit("memory-monitor@.service.d/tests.conf", "[Service]\nSystemCallErrorNumber=kill\n")
    run("systemctl", "start", "shipped.service")
    run("systemctl", "enable", "--runtime", "--now", MONITOR)
    yield leaky
    run("systemctl", "disable", "--runtime", "--now", MONITOR)
    run("systemctl", "stop", "shipped.service")


@pytest.fixture
def running(target: Leaky) -> Leaky:
    """The target, with the monitor active."""
    run("systemctl", "start", "shipped.service", MONITOR)
    return target


def status_of(monitor: str) -> str:
    return property_of(monitor, "StatusText")


def wait_until_ended(monitor: str) -> None:
    eventually(lambda: property_of(monitor, "ActiveState") in ("inactive", "failed"), f"{monitor} ends")
    ended = properties_of(monitor, "Result", "ExecMainStatus")
    assert ended == {"Result": "success", "ExecMainStatus": "0"}


def end_by_sigterm(monitor: str) -> float:
    """How long it takes to end, in seconds."""
    pid = int(property_of(monitor, "MainPID"))
    pidfd = os.pidfd_open(pid)
    begun_s = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    assert select.select([pidfd], [], [], 30.0)[0], "it doesn't end"
    os.close(pidfd)
    took_s = time.monotonic() - begun_s
    wait_until_ended(monitor)
    return took_s


@pytest.mark.usefixtures("running")
def test_with_nothing_configured_the_threshold_is_90_percent_of_the_limit() -> None:
    assert re.fullmatch(r"shipped\.service: ok: unreclaimable .* of 36 MiB", status_of(MONITOR))


def test_one_and_the_same_process_outlives_20_restarts_of_its_target(running: Leaky) -> None:
    pid = property_of(MONITOR, "MainPID")
    before = running.said.count("started")
    for restarts in range(1, RESTARTS_IN_A_ROW + 1):
        running.tell("grow 35")
        running.wait_for("started", before + restarts)
    assert running.said.count("SIGTERM") >= RESTARTS_IN_A_ROW
    assert properties_of(MONITOR, "MainPID", "NRestarts") == {"MainPID": pid, "NRestarts": "0"}


@pytest.mark.usefixtures("running")
def test_it_ends_when_its_target_is_stopped_and_comes_with_it_without_delaying_it() -> None:
    run("systemctl", "stop", "shipped.service")
    wait_until_ended(MONITOR)
    run("systemctl", "start", "shipped.service")
    eventually(lambda: property_of(MONITOR, "ActiveState") == "active", "the monitor is active")
    started = int(property_of("shipped.service", "ActiveEnterTimestampMonotonic"))
    assert started <= int(property_of(MONITOR, "InactiveExitTimestampMonotonic"))


@pytest.mark.usefixtures("running")
def test_sigterm_ends_it_at_once_with_status_0() -> None:
    took_s = end_by_sigterm(MONITOR)
    print(f"ended {took_s * 1000:.0f} ms after SIGTERM")
    assert took_s < 2.0


def test_the_bus_silent_it_signals_another_users_process_and_ends_in_time() -> None:
    monitor = "memory-monitor@unheard.service"
    with Service("unheard.service", "ignore", properties=("MemoryMax=40M", "User=tester")) as service:
        run("systemctl", "start", monitor)
        with silent_bus():
            took_s = end_by_sigterm(monitor)
        print(f"ended {took_s * 1000:.0f} ms after SIGTERM, the bus silent")
        run("systemctl", "start", monitor)
        with silent_bus():
            # Now it asks, and waits for an answer.
            service.tell("grow 35")
            asking_s = end_by_sigterm(monitor)
        print(f"ended {asking_s * 1000:.0f} ms after SIGTERM, the bus silent and asked")
        service.tell("free")
        run("systemctl", "start", monitor)
        signals = service.said.count("SIGTERM")
        with silent_bus():
            service.tell("grow 35")
            service.wait_for("SIGTERM", signals + 1)
    assert any("by pidfd" in line for line in messages("unheard.service"))


def test_its_file_changes_threshold_signal_and_options() -> None:
    CONFIGURATION.mkdir(exist_ok=True)
    Path(CONFIGURATION, "filed.conf").write_text(
        "MAX_MEMORY=20\nINTERVAL=500ms\nSIGNAL=SIGUSR1\nOPTIONS=--metric current --repeat 1s\n"
    )
    with Service("filed.service", "grow 20") as service:
        run("systemctl", "start", "memory-monitor@filed.service")
        service.wait_for("SIGUSR1", 2)
        signalled = re.compile(r"filed\.service: signalled: current .* is above 20 MiB: sent SIGUSR1")
        assert [line for line in messages("filed.service") if signalled.match(line)]
    wait_until_ended("memory-monitor@filed.service")


def test_a_bad_value_in_its_file_is_one_line_and_no_loop() -> None:
    CONFIGURATION.mkdir(exist_ok=True)
    Path(CONFIGURATION, "bad.conf").write_text("MAX_MEMORY=9O%\n")
    monitor = "memory-monitor@bad.service"
    start = subprocess.run(("systemctl", "start", monitor), capture_output=True, check=False)
    assert start.returncode != 0
    ended = properties_of(monitor, "ActiveState", "SubState", "ExecMainStatus", "NRestarts")
    assert ended == {"ActiveState": "failed", "SubState": "failed", "ExecMainStatus": "2", "NRestarts": "0"}
    errors = [line for line in messages(monitor) if line.startswith("memory-monitor: ")]
    assert len(errors) == 1
    assert errors[0].startswith("memory-monitor: -m/--max-memory: '9O%' is not a size: use MiB (500)")
    run("systemctl", "reset-failed", monitor)


def test_it_waits_for_a_target_that_does_not_exist_and_starts_none() -> None:
    run("systemctl", "start", "memory-monitor@absent.service")
    sentence = "absent.service: waiting: there is no such unit yet"
    assert status_of("memory-monitor@absent.service") == sentence
    assert end_by_sigterm("memory-monitor@absent.service") < 2.0


def test_a_name_with_dashes_escapes_and_an_instance_is_taken_as_it_is() -> None:
    name = r"my-app\x2dx@3-b"
    monitor = f"memory-monitor@{name}.service"
    with Service(f"{name}.service"):
        run("systemctl", "start", monitor)
        assert status_of(monitor).startswith(f"{name}.service: ok: ")
    wait_until_ended(monitor)


def test_the_watchdog_is_fed_while_it_works_and_restarts_it_when_it_hangs() -> None:
    monitor = "memory-monitor@watched.service"
    write_unit(f"{monitor}.d/quick.conf", "[Service]\nWatchdogSec=6\n")
    with Service("watched.service"):
        run("systemctl", "start", monitor)
        pings: set[str] = set()

        def fed() -> bool:
            pings.add(property_of(monitor, "WatchdogTimestampMonotonic"))
            return len(pings) >= 4

        eventually(fed, "four pings")
        before = properties_of(monitor, "MainPID", "NRestarts")
        assert before["NRestarts"] == "0"
        os.kill(int(before["MainPID"]), signal.SIGSTOP)
        eventually(lambda: property_of(monitor, "NRestarts") == "1", "systemd starts it again")
        eventually(lambda: status_of(monitor).startswith("watched.service: ok: "), "it monitors again")
    wait_until_ended(monitor)


@pytest.mark.usefixtures("running")
def test_its_exposure_is_as_small_as_can_be_with_root() -> None:
    report = run("systemd-analyze", "security", "--no-pager", MONITOR)
    print("\n".join(line for line in report.splitlines() if line.startswith(("✗", "→"))))
    (exposure,) = re.findall(r"Overall exposure level for .*: (\d+\.\d)", report)
    assert float(exposure) <= 0.8


def test_systemd_finds_no_fault_with_it() -> None:
    verify = ("systemd-analyze", "verify", "--man=no", MONITOR)
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
