"""`--until-stopped`: the monitor ends when its unit has stopped for good, and not before."""

import os
import signal

from kit import Leaky, Monitor, Service, eventually, property_of, run, waits_of, write_unit


def test_it_outlives_restarts_and_ends_with_status_0_when_the_unit_is_stopped() -> None:
    leaky = Leaky("until")
    again = "Restart=always\nRestartSec=100ms\n"
    write_unit("until.service", f"[Service]\nExecStart={leaky.exec_line()}\n{again}")
    run("systemctl", "start", "until.service")
    with Monitor("-m", "30", "-i", "1", "--until-stopped", "until.service") as monitor:
        leaky.tell("grow 40")
        leaky.wait_for("started", 2)
        monitor.wait_for(r"until\.service: ok: ", 2)
        os.kill(leaky.who("started")[-1], signal.SIGKILL)
        monitor.wait_for(r"until\.service: ok: ", 3)
        run("systemctl", "restart", "until.service")
        monitor.wait_for(r"until\.service: ok: ", 4)
        assert monitor.process.poll() is None
        run("systemctl", "stop", "until.service")
        assert monitor.status() == 0
        assert monitor.lines[-1] == "memory-monitor: every unit has stopped"


def test_it_ends_when_the_unit_is_stopped_in_the_pause_before_a_restart() -> None:
    paused = ("Restart=always", "RestartSec=1h")
    with (
        Service("pausing.service", properties=paused) as service,
        Monitor("-m", "30", "-i", "1", "--until-stopped", "pausing.service") as monitor,
    ):
        os.kill(service.pid, signal.SIGKILL)
        monitor.wait_for(r"pausing\.service: waiting: it stopped")
        assert property_of("pausing.service", "SubState") == "auto-restart"
        # It asks once a second now.
        waits = waits_of(monitor.pid)
        eventually(lambda: waits_of(monitor.pid) >= waits + 6, "it asks several times")
        assert monitor.process.poll() is None
        run("systemctl", "stop", "pausing.service")
        assert monitor.status() == 0


def test_it_waits_for_a_unit_that_has_not_run_yet() -> None:
    with Monitor("-m", "30", "-i", "1", "--until-stopped", "late.service") as monitor:
        with Service("late.service"):
            monitor.wait_for(r"late\.service: ok: ")
        assert monitor.status() == 0


def test_a_unit_that_failed_for_good_has_stopped() -> None:
    with (
        Service("failing.service", arguments=("--no-block",)) as service,
        Monitor("-m", "30", "-i", "1", "--until-stopped", "failing.service") as monitor,
    ):
        os.kill(service.pid, signal.SIGKILL)
        assert monitor.status() == 0
