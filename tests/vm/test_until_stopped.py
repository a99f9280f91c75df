"""`--until-stopped`: the monitor ends when its unit has stopped for good, and not before."""

import os
import signal

from kit import Monitor, Service, eventually, property_of, run, waits_of


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
