"""Units that are seldom: the longest name, processes that outlive their unit, a stop that takes its time."""

import os
import signal
import subprocess

from kit import Monitor, Service, eventually, property_of, reads_of, run

LONGEST = f"{'n' * 247}.service"
COVER = "mount -t tmpfs none /sys/fs/cgroup && exec memory-monitor -m 30 --once covered.service"


def test_a_unit_with_a_name_of_255_bytes_is_signalled() -> None:
    with Service(LONGEST) as service, Monitor("-m", "30", "-i", "1", "-s", "USR1", LONGEST) as monitor:
        service.tell("grow 40")
        service.wait_for("SIGUSR1")
        monitor.wait_for(rf"^{LONGEST}: signalled: .*\(KillUnit\)$")


def test_what_a_stop_leaves_behind_is_not_signalled_and_the_monitor_ends_with_it() -> None:
    options = ("-m", "30", "-i", "1", "--until-stopped", "left-behind.service")
    with (
        Service("left-behind.service", properties=("KillMode=none",)) as service,
        Monitor(*options) as monitor,
    ):
        left = service.pid
        run("systemctl", "stop", "left-behind.service")
        assert property_of("left-behind.service", "ActiveState") == "inactive"
        service.tell("grow 40")
        monitor.wait_for("held: .*: it has stopped, and what is left of it isn't signalled")
        os.kill(left, signal.SIGKILL)
        assert monitor.status() == 0
        assert not {"SIGTERM", "SIGUSR1"} & set(service.said)


def test_what_systemd_gave_up_to_stop_is_not_asked_to_restart_again_and_again() -> None:
    gives_up = ("SendSIGKILL=no", "TimeoutStopSec=2s")
    options = ("-m", "30", "-i", "1", "--restart", "--repeat", "1s", "given-up.service")
    with (
        Service("given-up.service", "ignore", properties=gives_up, restart=True) as service,
        Monitor(*options) as monitor,
    ):
        left = service.pid
        service.tell("grow 40")
        eventually(lambda: property_of("given-up.service", "ActiveState") == "failed", "systemd gives it up")
        monitor.wait_for("held: .*: it has stopped, and what is left of it isn't signalled")
        monitor.wait_for("ended, and isn't back after .*: it is failed")
        reads, asked = reads_of(monitor.pid), len(monitor.lines)
        eventually(lambda: reads_of(monitor.pid) > reads + 20, "it goes on")
        assert len(monitor.lines) == asked
        os.kill(left, signal.SIGKILL)
        monitor.wait_for("waiting: it stopped")


def test_a_restart_that_takes_its_time_is_asked_for_once() -> None:
    options = ("-m", "30", "-i", "1", "--restart", "--repeat", "1s", "slow-stop.service")
    with (
        Service("slow-stop.service", "drain 15", properties=("TimeoutStopSec=60s",), restart=True) as service,
        Monitor(*options) as monitor,
    ):
        service.tell("grow 40")
        service.wait_for("started", 2)
        assert len(monitor.lines_with("TryRestartUnit")) == 1


def test_where_something_is_mounted_over_the_cgroups_it_says_so() -> None:
    with Service("covered.service"):
        covered = subprocess.run(
            ("unshare", "--mount", "sh", "-c", COVER), capture_output=True, text=True, check=False
        )
        assert covered.returncode == 1
        assert "no cgroup hierarchy is there: none is mounted below /sys/fs/cgroup, or" in covered.stderr
