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
from kit import MIB, Service, eventually, journal, messages, properties_of, property_of, run, silent_bus
from shipped import CONFIGURATION, Monitored, Shipped, exposure_of, start

RESTARTS_IN_A_ROW = 20
MONITOR = Shipped("shipped")
ASKED = (
    r"shipped\.service: signalled: unreclaimable \d+(\.\d)? MiB is above 36 MiB after [^:]+:"
    r" sent SIGTERM to the main process \(KillUnit\)"
)


@pytest.fixture(scope="module")
def target() -> Iterator[Monitored]:
    """shipped.service with a limit of 40 MiB, and the monitor that was enabled for it."""
    target = Monitored("shipped")
    start(target)
    run("systemctl", "enable", "--runtime", "--now", MONITOR.unit)
    yield target
    run("systemctl", "disable", "--runtime", "--now", MONITOR.unit)
    run("systemctl", "stop", target.unit)


@pytest.fixture
def running(target: Monitored) -> Monitored:
    """The target, with the monitor active."""
    start(target, MONITOR)
    return target


def end_by_sigterm(monitor: Shipped) -> float:
    """How long it takes to end, in seconds."""
    pid = monitor.pid
    pidfd = os.pidfd_open(pid)
    begun_s = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    assert select.select([pidfd], [], [], 30.0)[0], "it doesn't end"
    os.close(pidfd)
    took_s = time.monotonic() - begun_s
    monitor.wait_until_ended()
    return took_s


@pytest.mark.usefixtures("running")
def test_with_nothing_configured_the_threshold_is_90_percent_of_the_limit() -> None:
    assert MONITOR.wait_for(r"^shipped\.service: ok: unreclaimable .* of 36 MiB$")
    assert re.match(r"(shipped\.service: )?ok: .* of 36 MiB", MONITOR.status)


def test_one_and_the_same_process_asks_its_target_20_times_in_a_row(running: Monitored) -> None:
    # Else each of the 20 begins with a wait of 2 s, and the last 10 aren't asked.
    Shipped("shipped", "INTERVAL=500ms\nOPTIONS=--budget infinity\n")
    run("systemctl", "restart", MONITOR.unit)
    process, before = MONITOR.process, running.said.count("started")
    for restarts in range(1, RESTARTS_IN_A_ROW + 1):
        running.tell("grow 35")
        running.wait_for("started", before + restarts)
    # Each invocation has its own signal, one, and its own process.
    assert running.said.count("SIGTERM") == len(set(running.who("SIGTERM"))) == RESTARTS_IN_A_ROW
    assert MONITOR.process == process
    assert process["NRestarts"] == "0"


@pytest.mark.usefixtures("running")
def test_the_journal_of_the_target_shows_each_signal_with_its_fields() -> None:
    entries = eventually(lambda: asked()[RESTARTS_IN_A_ROW - 1 :] and asked(), "a line for each signal")
    assert len(entries) == RESTARTS_IN_A_ROW
    assert "memory-monitor[" in run("journalctl", "--unit=shipped.service", "--output=short")
    for entry in entries:
        assert entry["PRIORITY"] == "4"
        assert entry["MESSAGE_ID"] == "43b9da7a063b459bb9ea683a83c3f93b"
        assert entry["OBJECT_SYSTEMD_UNIT"] == entry["MEMORY_MONITOR_UNIT"] == "shipped.service"
        assert entry["MEMORY_MONITOR_LIMIT"] == str(36 * MIB)
        assert 36 * MIB < int(entry["MEMORY_MONITOR_USAGE"]) <= 40 * MIB
        assert entry["MEMORY_MONITOR_METRIC"] == "unreclaimable"
        assert entry["MEMORY_MONITOR_SIGNAL"] == "SIGTERM"
        assert entry["MEMORY_MONITOR_STATE"] == "signalled"


def asked() -> list[dict[str, str]]:
    entries = journal("--unit=shipped.service", f"_PID={MONITOR.pid}")
    return [entry for entry in entries if re.fullmatch(ASKED, entry["MESSAGE"])]


def test_a_restart_by_hand_and_a_crash_leave_it_running(running: Monitored) -> None:
    process, before = MONITOR.process, running.said.count("started")
    run("systemctl", "restart", running.unit)
    running.wait_for("started", before + 1)
    os.kill(running.pid, signal.SIGKILL)
    running.wait_for("started", before + 2)
    running.tell("grow 35")
    running.wait_for("started", before + 3)
    assert MONITOR.process == process


def test_a_stop_and_a_start_at_once_leave_no_target_without_it(running: Monitored) -> None:
    for _ in range(5):
        run("systemctl", "stop", running.unit)
        run("systemctl", "start", running.unit)
    eventually(lambda: running.pid in running.who("started"), "the last invocation has begun")
    # Ended or not, it is there in the end: it may have been about to end, and was started again then.
    eventually(lambda: property_of(MONITOR.unit, "ActiveState") == "active", "the monitor is active")
    before = running.said.count("started")
    running.tell("grow 35")
    running.wait_for("started", before + 1)


@pytest.mark.usefixtures("running")
def test_it_ends_when_its_target_is_stopped_and_comes_with_it_without_delaying_it() -> None:
    run("systemctl", "stop", "shipped.service")
    MONITOR.wait_until_ended()
    run("systemctl", "start", "shipped.service")
    eventually(lambda: property_of(MONITOR.unit, "ActiveState") == "active", "the monitor is active")
    started = int(property_of("shipped.service", "ActiveEnterTimestampMonotonic"))
    assert started <= int(property_of(MONITOR.unit, "InactiveExitTimestampMonotonic"))


@pytest.mark.usefixtures("running")
def test_sigterm_ends_it_at_once_with_status_0() -> None:
    took_s = end_by_sigterm(MONITOR)
    print(f"ended {took_s * 1000:.0f} ms after SIGTERM")
    assert took_s < 2.0


def test_a_reload_and_sighup_read_its_file_again_and_keep_what_is_right() -> None:
    monitor = Shipped("read-again", "MAX_MEMORY=20\n")
    with Service("read-again.service"):
        start(monitor)
        assert monitor.wait_for(r"^read-again\.service: ok: .* of 20 MiB$")
        pid = monitor.pid
        Shipped("read-again", "MAX_MEMORY=25\n")
        os.kill(pid, signal.SIGHUP)
        assert monitor.wait_for(r"^read-again\.service: settings changed: --max-memory=25\D.*was 20\D")
        Shipped("read-again", "MAX_MEMORY=5X\n")
        run("systemctl", "reload", monitor.unit)
        assert monitor.wait_for(r"read-again\.conf:1: MAX_MEMORY=: '5X' is not a size: .* of before stay")
        Shipped("read-again", "MAX_MEMORY=30\n")
        run("systemctl", "reload", monitor.unit)
        assert monitor.wait_for(r"^read-again\.service: settings changed: --max-memory=30\D.*was 25\D")
        assert (monitor.pid, monitor.process["NRestarts"]) == (pid, "0")
    monitor.wait_until_ended()


def test_the_bus_silent_it_signals_another_users_process_and_ends_in_time() -> None:
    monitor = Shipped("unheard")
    with Service("unheard.service", "ignore", properties=("MemoryMax=40M", "User=tester")) as service:
        start(monitor)
        with silent_bus():
            took_s = end_by_sigterm(monitor)
        print(f"ended {took_s * 1000:.0f} ms after SIGTERM, the bus silent")
        start(monitor)
        with silent_bus():
            # Now it asks, and waits for an answer.
            service.tell("grow 35")
            asking_s = end_by_sigterm(monitor)
        print(f"ended {asking_s * 1000:.0f} ms after SIGTERM, the bus silent and asked")
        service.tell("free")
        start(monitor)
        signals = service.said.count("SIGTERM")
        with silent_bus():
            service.tell("grow 35")
            service.wait_for("SIGTERM", signals + 1)
    assert any("by pidfd" in line for line in messages("unheard.service"))


def test_its_file_changes_threshold_signal_and_options() -> None:
    monitor = Shipped(
        "filed", "MAX_MEMORY=20\nINTERVAL=500ms\nSIGNAL=SIGUSR1\nOPTIONS=--metric current --repeat 1s\n"
    )
    with Service("filed.service", "grow 20") as service:
        start(monitor)
        service.wait_for("SIGUSR1", 2)
        signalled = re.compile(r"filed\.service: signalled: current .* is above 20 MiB.*: sent SIGUSR1")
        assert [line for line in messages("filed.service") if signalled.match(line)]
    monitor.wait_until_ended()


def test_systemctl_edit_changes_it_too() -> None:
    monitor = Shipped("edited")
    # The file to edit is the last argument.
    editor = Path("/var/tmp/editor")
    edited = r"[Service]\nEnvironment=MAX_MEMORY=123\n"
    editor.write_text(f"#!/bin/sh\nfor file; do :; done\nprintf '{edited}' >$file\n")
    editor.chmod(0o755)
    with Service("edited.service"):
        # It wants a terminal.
        edit = f"SYSTEMD_EDITOR={editor} systemctl edit --runtime {monitor.unit}"
        run("script", "--quiet", "--return", "--command", edit, "/dev/null")
        start(monitor)
        assert monitor.wait_for(r"^edited\.service: ok: .* of 123 MiB$")
    monitor.wait_until_ended()


BAD_VALUES = {
    "MAX_MEMORY=9O%": "-m/--max-memory: '9O%' is not a size: use MiB (500)",
    "INTERVAL=2 parsecs": "-i/--interval: '2 parsecs' ",
    "SIGNAL=SIGFOO": "-s/--signal: 'SIGFOO' ",
    "OPTIONS=--metric rss": "--metric rss: 'bad-3.service' means units",
}


def test_a_bad_value_in_its_file_is_one_line_and_no_loop() -> None:
    bad = [Shipped(f"bad-{number}", f"{line}\n") for number, line in enumerate(BAD_VALUES)]
    names = [monitor.unit for monitor in bad]
    assert subprocess.run(("systemctl", "start", *names), capture_output=True, check=False).returncode != 0
    for monitor, error in zip(bad, BAD_VALUES.values(), strict=True):
        ended = properties_of(monitor.unit, "ActiveState", "SubState", "ExecMainStatus", "NRestarts")
        # Not "activating", "auto-restart", in which it would wait for its next try.
        assert ended == {
            "ActiveState": "failed",
            "SubState": "failed",
            "ExecMainStatus": "2",
            "NRestarts": "0",
        }
        (line,) = [line for line in messages(monitor.unit) if line.startswith("memory-monitor: ")]
        assert line.startswith(f"memory-monitor: {error}")
    run("systemctl", "reset-failed", *names)


def test_it_waits_for_a_target_that_does_not_exist_and_starts_none() -> None:
    monitor = Shipped("absent")
    start(monitor)
    assert monitor.status.startswith("absent.service: waiting: there is no such unit yet")
    assert end_by_sigterm(monitor) < 2.0
    assert property_of("absent.service", "ActiveState") == "inactive"


def test_names_with_a_dash_an_instance_or_an_escape_are_taken_as_they_are() -> None:
    names = ("a-b", "my-app@3", r"x\x2dy")
    monitors = [Shipped(name) for name in names]
    services = [Service(f"{name}.service", properties=("MemoryMax=40M",)) for name in names]
    start(*monitors)
    for name, monitor, service in zip(names, monitors, services, strict=True):
        assert monitor.wait_for(rf"^{re.escape(name)}\.service: ok: ")
        service.tell("grow 35")
    for monitor, service in zip(monitors, services, strict=True):
        service.wait_for("SIGTERM")
        monitor.wait_until_ended()
        asked = rf"^{re.escape(service.unit)}: signalled: .*\(KillUnit\)$"
        assert [line for line in messages(service.unit) if re.search(asked, line)]


def test_an_instance_that_begins_with_a_dash_is_no_option() -> None:
    monitor = Shipped("-i", drop_in="[Service]\nEnvironment=MAX_MEMORY=30\n")
    service = ("systemd-run", "--quiet", "--collect", "--unit=-i.service", "sleep", "1h")
    run(*service)
    run("systemctl", "start", "--", monitor.unit)
    assert monitor.wait_for(r"^-i\.service: ok: .* of 30 MiB$")
    run("systemctl", "stop", "--", "-i.service")
    monitor.wait_until_ended()


def test_the_settings_of_a_name_with_backslashes_are_in_a_file_without_them() -> None:
    name, plain = r"my\x2dapp@a-b", "myx2dapp@a-b"
    with Service(f"{name}.service", restart=True):
        Shipped(plain, "MAX_MEMORY=123\n")  # For its file.
        read = Shipped(name)
        start(read)
        assert read.wait_for(rf"^{re.escape(name)}\.service: ok: .* of 123 MiB$")
        assert not read.lines_with("isn't read")
        run("systemctl", "stop", read.unit)
        settings = CONFIGURATION / f"{plain}.conf"
        settings.rename(CONFIGURATION / f"{name}.conf")
        start(read)
        warning = read.wait_for("isn't read")
        assert warning == (
            rf"warning: {CONFIGURATION}/{name}.conf isn't read: systemd takes a backslash in EnvironmentFile="
            rf" for an escape; rename it to {settings}"
        )
        (CONFIGURATION / f"{name}.conf").unlink()
    read.wait_until_ended()


def test_the_watchdog_is_fed_while_it_works_and_restarts_it_when_it_hangs() -> None:
    monitor = Shipped("watched", drop_in="[Service]\nWatchdogSec=6\n")
    with Service("watched.service"):
        start(monitor)
        pings: set[str] = set()

        def fed() -> bool:
            pings.add(property_of(monitor.unit, "WatchdogTimestampMonotonic"))
            return len(pings) >= 3

        eventually(fed, "three pings")
        before = monitor.process
        assert before["NRestarts"] == "0"
        os.kill(int(before["MainPID"]), signal.SIGSTOP)
        eventually(lambda: monitor.process["NRestarts"] == "1", "systemd starts it again")
        monitor.wait_for(r"^watched\.service: ok: ", 2)
        assert any("Watchdog timeout" in line for line in messages(monitor.unit))
    monitor.wait_until_ended()


@pytest.mark.usefixtures("running")
def test_its_exposure_is_as_small_as_can_be_with_root() -> None:
    assert exposure_of(MONITOR.unit) <= 0.8


@pytest.mark.parametrize("manager", ["--system", "--user"])
def test_systemd_finds_no_fault_with_it(manager: str) -> None:
    verify = ("systemd-analyze", manager, "verify", "--man=no", MONITOR.unit)
    # The user's manager has a directory of its own; there is none of root's here.
    environment = {**os.environ, "XDG_RUNTIME_DIR": "/run"}
    done = subprocess.run(verify, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
