"""Above the threshold isn't enough: when it asks, how often, and what if that isn't followed."""

import subprocess
import time
from pathlib import Path

import pytest
from kit import Leaky, Monitor, Service, eventually, property_of, run, waits_of, write_unit

NOT_YET = ("-i", "0.2")


def look_on(monitor: Monitor, looks: int = 20) -> None:
    """Let the monitor look so often."""
    waits = waits_of(monitor.pid)
    eventually(lambda: waits_of(monitor.pid) >= waits + looks, f"{looks} looks")


def test_a_stop_of_a_draining_growing_service_is_not_disturbed() -> None:
    properties = ("TimeoutStopSec=60", "KillMode=mixed")
    with (
        Service("draining.service", "child", "drain 6", properties=properties) as service,
        Monitor("-m", "30", *NOT_YET, "draining.service") as monitor,
    ):
        monitor.wait_for("draining.service: ok")
        stop = subprocess.Popen(("systemctl", "stop", "draining.service"))
        service.wait_for("SIGTERM")
        service.tell("grow 40", "child")
        monitor.wait_for("draining.service: held: .* it is stopping or restarting already")
        assert stop.wait() == 0
        assert len(service.who("SIGTERM")) == 1
        assert not monitor.lines_with("sent SIGTERM")


def test_a_peak_before_ready_is_no_reason_and_what_stays_is_asked_once_it_is_active() -> None:
    service = Leaky("peaking")
    script = Path("/var/tmp/peaking.sh")
    script.write_text(
        f"#!/bin/sh\nenv -u NOTIFY_SOCKET {service.exec_line('grow 40')} &\n"
        "while [ ! -e /var/tmp/peaking.go ]; do sleep 0.2; done\nsystemd-notify --ready\nwait\n"
    )
    script.chmod(0o755)
    Path("/var/tmp/peaking.go").unlink(missing_ok=True)
    write_unit(
        "peaking.service",
        "[Service]\nType=notify\nNotifyAccess=all\nTimeoutStartSec=600\n"
        f"ExecStart={script}\nRestart=always\nRestartSec=1\n",
    )
    with Monitor("-m", "30", *NOT_YET, "--repeat", "infinity", "peaking.service") as monitor:
        run("systemctl", "start", "--no-block", "peaking.service")
        monitor.wait_for("peaking.service: held: .* it is starting; asked once it is active")
        look_on(monitor)
        assert not monitor.lines_with("sent SIGTERM")
        Path("/var/tmp/peaking.go").touch()
        monitor.wait_for("peaking.service: signalled: .* sent SIGTERM to the main process")
    run("systemctl", "stop", "peaking.service")


def test_one_that_is_above_from_birth_is_asked_10_times_and_then_said_once() -> None:
    write_unit(
        "newborn.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\n"
        f"ExecStart={Leaky('newborn').exec_line('grow 40')}\nRestart=always\nRestartSec=100ms\n",
    )
    run("systemctl", "start", "newborn.service")
    with Monitor("-m", "30", *NOT_YET, "newborn.service") as monitor:
        monitor.wait_for(
            "newborn.service: held: .* asked 10 times within 1 h: the threshold is below what it needs"
        )
        look_on(monitor)
        assert len(monitor.lines_with("sent SIGTERM")) == 10
        assert len(monitor.lines_with("asked 10 times within 1 h")) == 1
        assert len(monitor.lines_with(r"request 10 of 10 within 1 h")) == 1
        assert property_of("newborn.service", "ActiveState") == "active"
    run("systemctl", "stop", "newborn.service")


def test_of_40_workers_that_leak_alike_at_most_4_are_down_at_a_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, count, most = "rolling@{}.service", 40, 4
    leaky = {number: Leaky(f"rolling-{number}") for number in range(count)}
    directory = leaky[0].directory.parent
    write_unit(
        "rolling@.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\n"
        f"ExecStart=/usr/bin/python3 -IS {leaky[0].command()[2]} {directory}/rolling-%i drain\\x201\n"
        "Restart=always\nRestartSec=200ms\n",
    )
    units = [name.format(number) for number in range(count)]
    run("systemctl", "start", *units)
    for one in leaky.values():
        one.wait_for("drain 1")
    down: list[int] = []
    with Monitor("-m", "12", *NOT_YET, "--at-most", str(most), "rolling@*.service") as monitor:
        monitor.wait_for(r"rolling@\d+\.service: ok", count)
        for one in leaky.values():
            one.tell("grow 14")
        begun_s = time.monotonic()

        def all_have_restarted() -> bool:
            ended = sum(one.said.count("SIGTERM") for one in leaky.values())
            back = sum(one.said.count("started") for one in leaky.values()) - count
            down.append(ended - back)
            return back >= count

        eventually(all_have_restarted, "all have restarted", 400.0)
        took_s = time.monotonic() - begun_s
        with capsys.disabled():
            print(
                f"\n{count} workers, --at-most {most}: {max(down)} down at worst, all back in {took_s:.0f} s"
            )
        assert max(down) <= most
        monitor.wait_for(r"rolling@\d+\.service: ended after .* and active again after", count)
        assert len(monitor.lines_with("held: .* 4 of its kind are down or on their way")) >= 1
    run("systemctl", "stop", *units)


def test_one_that_ignores_the_signal_is_restarted_by_systemd() -> None:
    write_unit(
        "deaf.service",
        f"[Service]\nExecStart={Leaky('deaf').exec_line('ignore', 'grow 40')}\nTimeoutStopSec=2\n"
        "Restart=always\nRestartSec=100ms\n",
    )
    run("systemctl", "start", "deaf.service")
    pid = property_of("deaf.service", "MainPID")
    options = ("--repeat", "infinity", "--then-restart", "3", "--budget", "1/1h")
    with Monitor("-m", "30", *NOT_YET, *options, "deaf.service") as monitor:
        monitor.wait_for("deaf.service: signalled: .* sent SIGTERM to the main process")
        monitor.wait_for("deaf.service: signalled: .* asked systemd to restart it")
        eventually(lambda: property_of("deaf.service", "MainPID") not in (pid, "0"), "it was restarted")
        killed = r"was killed by systemd \(TimeoutStopSec=\) after .* and active again after"
        monitor.wait_for(f"deaf.service: {killed}")
    run("systemctl", "kill", "--signal=KILL", "deaf.service")
    run("systemctl", "stop", "deaf.service")


@pytest.mark.parametrize(
    ("setting", "sent"), [("KillSignal=SIGUSR2", "SIGUSR2"), ("RestartKillSignal=SIGHUP", "SIGHUP")]
)
def test_the_signal_is_the_one_of_the_unit(setting: str, sent: str) -> None:
    with (
        Service("quitting.service", "grow 40", properties=(setting,)) as service,
        Monitor("-m", "30", *NOT_YET, "--repeat", "infinity", "quitting.service") as monitor,
    ):
        service.wait_for(sent)
        monitor.wait_for(f"quitting.service: signalled: .* sent {sent} to the main process")
        assert "SIGTERM" not in service.said
        run("systemctl", "kill", "--signal=KILL", "quitting.service")


@pytest.mark.parametrize("by", ["systemctl", "cgroup.freeze"])
def test_a_frozen_unit_is_said_once_and_asked_when_it_is_thawed(by: str) -> None:
    def freeze(cgroup: Path, *, yes: bool) -> None:
        if by == "systemctl":
            run("systemctl", "freeze" if yes else "thaw", "frozen.service")
        else:
            (cgroup / "cgroup.freeze").write_text(str(int(yes)))

    with Service("frozen.service", "grow 40") as service:
        freeze(service.cgroup, yes=True)
        with Monitor("-m", "30", *NOT_YET, "--repeat", "infinity", "frozen.service") as monitor:
            monitor.wait_for("frozen.service: held: .* it is frozen and can't follow")
            look_on(monitor)
            assert len(monitor.lines_with("held")) == 1
            assert not monitor.lines_with("sent SIGTERM")
            freeze(service.cgroup, yes=False)
            monitor.wait_for("frozen.service: signalled: .* sent SIGTERM")


def test_a_reload_is_asked_of_systemd() -> None:
    reloaded = Leaky("reloaded")
    write_unit(
        "reloaded.service",
        f"[Service]\nExecStart={reloaded.exec_line('grow 40')}\nExecReload=/bin/kill -USR1 $MAINPID\n",
    )
    run("systemctl", "start", "reloaded.service")
    with Monitor("-m", "30", *NOT_YET, "--reload", "--repeat", "infinity", "reloaded.service") as monitor:
        reloaded.wait_for("SIGUSR1")
        monitor.wait_for(r"reloaded.service: signalled: .* asked systemd to reload it \(ReloadUnit\)")
        assert "SIGTERM" not in reloaded.said
    run("systemctl", "stop", "reloaded.service")


def test_with_restart_no_it_is_said_that_it_isnt_back() -> None:
    with Service("lost.service", "grow 40"), Monitor("-m", "30", *NOT_YET, "lost.service") as monitor:
        monitor.wait_for("lost.service: signalled: ")
        monitor.wait_for("lost.service: ended, and isn't back after .*: it is inactive")


def test_one_that_the_kernel_kills_after_the_request_says_that_the_threshold_was_too_near() -> None:
    properties = ("MemoryMax=60M", "MemorySwapMax=0", "OOMPolicy=stop")
    with (
        Service("squeezed.service", "ignore", restart=True, properties=properties) as service,
        Monitor("-m", "30", *NOT_YET, "--repeat", "infinity", "squeezed.service") as monitor,
    ):
        service.tell("grow 35")
        monitor.wait_for("squeezed.service: signalled: ")
        run("sh", "-c", f"echo grow 60 > {service.directory}/orders")
        monitor.wait_for("squeezed.service: was OOM-killed .* and active again after")


def oom_kills_of(service: Service) -> int:
    """How many of its processes the OOM killer has killed."""
    lines = (service.cgroup / "memory.events").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


NOT_STOPPED_BY_OOM = ("MemoryMax=60M", "MemorySwapMax=0", "OOMPolicy=continue")
TOO_NEAR = r"\(the threshold is too near to the limit\)"


def test_a_child_that_the_kernel_kills_after_the_request_is_said_too() -> None:
    with (
        Service("bereft.service", "child", restart=True, properties=NOT_STOPPED_BY_OOM) as service,
        Monitor("-m", "30", *NOT_YET, "-s", "USR1", "--repeat", "infinity", "bereft.service") as monitor,
    ):
        service.tell("grow 35", "child")
        service.wait_for("SIGUSR1")
        monitor.wait_for("bereft.service: signalled: ")
        run("sh", "-c", f"echo grow 60 > {service.directory}/child")
        eventually(lambda: oom_kills_of(service) == 1, "the child is killed")
        assert property_of("bereft.service", "ActiveState") == "active"
        run("systemctl", "kill", "--signal=TERM", "--kill-whom=main", "bereft.service")
        lost = f"lost a process to the OOM killer {TOO_NEAR} and ended after .* and active again"
        monitor.wait_for(f"bereft.service: {lost}")


def test_a_main_process_that_the_kernel_kills_is_said_where_systemd_only_knows_the_signal() -> None:
    with (
        Service("slain.service", restart=True, properties=(*NOT_STOPPED_BY_OOM, "RestartSec=5")) as service,
        Monitor("-m", "30", *NOT_YET, "-s", "USR1", "--repeat", "infinity", "slain.service") as monitor,
    ):
        service.tell("grow 35")
        service.wait_for("SIGUSR1")
        monitor.wait_for("slain.service: signalled: ")
        run("sh", "-c", f"echo grow 60 > {service.directory}/orders")
        eventually(lambda: property_of("slain.service", "Result") == "signal", "it is killed")
        monitor.wait_for(rf"slain.service: was OOM-killed {TOO_NEAR} after .* and active again after")
