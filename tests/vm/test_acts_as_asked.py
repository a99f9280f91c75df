"""Who gets the signal, when, how often, and what else --restart, --dry-run and --once do."""

import re
import subprocess
from pathlib import Path

import pytest
from kit import Leaky, Monitor, Service, eventually, run, waits_of, write_unit

WITHIN, FAILED, OVER, NOT_FOUND = 0, 1, 3, 4


def once(*arguments: str) -> tuple[int, str]:
    """The exit status of `memory-monitor --once`, and what it logged."""
    done = subprocess.run(
        ("memory-monitor", "--once", *arguments), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def test_kill_whom_chooses_main_process_control_process_or_all() -> None:
    main, control = Leaky("three"), Leaky("three-control")
    write_unit(
        "three.service",
        f"[Service]\nExecStart={main.exec_line('child')}\nExecStartPost={control.exec_line()}\n",
    )
    run("systemctl", "start", "--no-block", "three.service")
    main.wait_for("child")
    control.wait_for("started")
    eventually(lambda: main.said.count("started") == 2, "the child is there")
    (control_pid,) = control.who("started")
    status, log = once("-m", "1", "--kill-whom", "main", "-s", "SIGUSR1", "three.service")
    assert (status, "held: " in log, "(KillUnit)" in log) == (OVER, True, False), log
    status, log = once("-m", "1", "--kill-whom", "control", "-s", "SIGKILL", "three.service")
    assert (status, "(KillUnit)" in log) == (OVER, True), log
    eventually(lambda: not Path(f"/proc/{control_pid}").exists(), "the control process is gone")
    run("systemctl", "stop", "three.service")
    run("systemctl", "reset-failed", "three.service")  # its control process was killed


def test_kill_whom_all_reaches_the_children_too() -> None:
    both = Leaky("two")
    write_unit("two.service", f"[Service]\nExecStart={both.exec_line('child')}\n")
    run("systemctl", "start", "two.service")
    both.wait_for("child")
    eventually(lambda: both.said.count("started") == 2, "the child is there")
    for whom, signal, who in (("main", "SIGUSR1", both.who("child")), ("all", "SIGHUP", both.who("started"))):
        status, log = once("-m", "1", "--kill-whom", whom, "-s", signal, "two.service")
        assert (status, "(KillUnit)" in log) == (OVER, True), log
        eventually(lambda: sorted(both.who(signal)) == sorted(who), f"{signal} comes")  # noqa: B023
    run("systemctl", "stop", "two.service")


def test_a_service_that_never_had_a_main_process_has_all_its_processes_signalled() -> None:
    left = Leaky("mainless")
    write_unit(
        "mainless.service",
        f"[Service]\nType=forking\nGuessMainPID=no\nExecStart=/bin/sh -c '{left.exec_line('child')} &'\n",
    )
    run("systemctl", "start", "mainless.service")
    eventually(lambda: left.said.count("started") == 2, "the processes are there")
    status, log = once("-m", "1", "-s", "USR1", "mainless.service")
    assert status == OVER, log
    assert "sent SIGUSR1 to all processes (KillUnit)" in log
    eventually(lambda: sorted(left.who("SIGUSR1")) == sorted(left.who("started")), "both are signalled")
    run("systemctl", "stop", "mainless.service")


@pytest.mark.parametrize("whom", ["", "--kill-whom=main"])
def test_what_a_main_process_has_left_behind_is_not_signalled(whom: str) -> None:
    left = Leaky("bystanders")
    write_unit(
        "bystanders.service",
        f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c '{left.exec_line('child')} &'\n",
    )
    run("systemctl", "start", "bystanders.service")
    eventually(lambda: left.said.count("started") == 2, "the processes are there")
    status, log = once("-m", "1", "-s", "USR1", *whom.split(), "bystanders.service")
    assert status == FAILED, log
    assert "bystanders.service: not signalled: " in log
    assert "pidfd" not in log
    assert re.search("its main process has ended" if not whom else "No main process to kill", log), log
    left.tell("name done")
    assert "SIGUSR1" not in left.said
    run("systemctl", "stop", "bystanders.service")


def test_what_a_wrapper_leaves_behind_drains_in_peace() -> None:
    """KillMode=process: the first signal ends the main process, and its child stays, above the threshold."""
    main = Leaky("wrapper")
    write_unit(
        "wrapper.service",
        f"[Service]\nExecStart={main.exec_line('child')}\nKillMode=process\nTimeoutStopSec=2\n",
    )
    run("systemctl", "start", "wrapper.service")
    eventually(lambda: main.said.count("started") == 2, "the child is there")
    main.tell("grow 40", "child")
    with Monitor("-m", "30", "-i", "0.2", "--repeat", "0.5", "wrapper.service") as monitor:
        monitor.wait_for("sent SIGTERM to the main process")
        waits = waits_of(monitor.pid)
        eventually(lambda: waits_of(monitor.pid) >= waits + 20, "it looks on")
        assert len(main.who("SIGTERM")) == 1
    run("systemctl", "kill", "--signal=KILL", "wrapper.service")


def test_restart_asks_systemd_to_restart_the_unit_which_need_not_restart_itself() -> None:
    leaky = Leaky("restarted")
    write_unit("restarted.service", f"[Service]\nExecStart={leaky.exec_line()}\n")
    run("systemctl", "start", "restarted.service")
    status, log = once("-m", "1", "--restart", "restarted.service")
    assert status == OVER
    assert "restarted.service: signalled: " in log
    assert "asked systemd to restart it (TryRestartUnit)" in log
    leaky.wait_for("started", 2)
    assert leaky.said[:2] == ["started", "SIGTERM"]
    run("systemctl", "stop", "restarted.service")


def test_once_tells_by_its_exit_status_what_it_saw() -> None:
    with Service("once.service", "grow 20") as service:
        assert once("-m", "100", "once.service")[0] == WITHIN
        assert once("-m", "10", "-s", "USR1", "once.service")[0] == OVER
        service.wait_for("SIGUSR1")
        assert once("-m", "10", "--as", "unit", "no-such-unit")[0] == NOT_FOUND
        assert once("-m", "100", "once.service", "no-such-unit.service")[0] == NOT_FOUND
        assert service.said.count("SIGUSR1") == 1


def test_over_for_less_than_asked_is_no_reason() -> None:
    with (
        Service("patient.service") as service,
        Monitor("-m", "30", "-i", "0.5", "-s", "USR1", "--for", "1h", "patient.service") as never,
        Monitor("-m", "30", "-i", "0.5", "-s", "USR2", "--for", "2", "patient.service") as soon,
    ):
        service.tell("grow 40")
        service.wait_for("SIGUSR2")
        service.tell("free")
        assert never.wait_for("within again: unreclaimable")
        lines = [line.split(": ")[1] for line in soon.lines_with(r"^patient\.service")]
        assert lines[:3] == ["ok", "over", "signalled"]
        assert never.lines_with("over: .* is above 30 MiB; signalled if it stays above for 1 h")
        assert "SIGUSR1" not in service.said


def test_a_dry_run_says_what_it_would_do_and_does_not() -> None:
    options = ("-m", "30", "-i", "0.5", "--repeat", "1", "tried.service")
    with (
        Service("tried.service", "grow 40") as service,
        Monitor("-n", *options) as signal,
        Monitor("-n", "--restart", *options) as restart,
    ):
        signal.wait_for(r"signalled: .*: would send SIGTERM \(dry run\)", 2)
        restart.wait_for(r"signalled: .*: would restart it \(dry run\)", 2)
        assert service.said == ["started", "grow 40"]


@pytest.mark.parametrize("value", ["leaky.timer", "no such name.service"])
def test_what_is_no_unit_with_processes_is_a_usage_error(value: str) -> None:
    status, log = once("-m", "10", value)
    assert status == 2
    (line,) = log.splitlines()
    assert line.startswith(f"memory-monitor: '{value}' ")
