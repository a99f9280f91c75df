"""What is shipped for those who don't want root: the drop-in with its polkit rule, and the user's unit."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import Leaky, Service, eventually, run
from shipped import SHIPPED, USER_UNITS, Shipped, exposure_of, start

RULES = Path("/etc/polkit-1/rules.d/memory-monitor.rules")


@pytest.fixture(scope="module")
def drop_in() -> Iterator[str]:
    """unprivileged.conf, its user, and the polkit rule for ruled.service."""
    run("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "memory-monitor")
    rule = Path(SHIPPED, "memory-monitor.rules").read_text()
    RULES.write_text(rule.replace("myapp.service", "ruled.service"))
    run("systemctl", "restart", "polkit.service")
    yield Path(SHIPPED, "unprivileged.conf").read_text()
    RULES.unlink()
    run("userdel", "memory-monitor")


def test_a_static_user_with_a_polkit_rule_may_signal_its_one_unit(drop_in: str) -> None:
    monitor = Shipped("ruled", drop_in=drop_in)
    with Service("ruled.service", restart=True, properties=("MemoryMax=40M",)) as service:
        start(monitor)
        service.tell("grow 35")
        service.wait_for("started", 2)
        line = monitor.wait_for(r"^ruled\.service: signalled: ")
        assert line.endswith("sent SIGTERM to the main process (KillUnit)")
        assert not monitor.lines_with("^warning: ")
        assert exposure_of(monitor.unit) <= 0.3
    monitor.wait_until_ended()


def test_what_polkit_refuses_is_not_signalled_and_the_line_says_what_to_do(drop_in: str) -> None:
    monitor = Shipped("unruled", "INTERVAL=500ms\nSIGNAL=SIGUSR1\n", f"{drop_in}PrivateUsers=no\n")
    foreign = Shipped("foreign", "SIGNAL=SIGUSR1\n", drop_in)
    own = ("MemoryMax=40M", "User=memory-monitor")
    with (
        Service("unruled.service", properties=own) as service,
        Service("foreign.service", properties=("MemoryMax=40M",)) as another,
    ):
        start(monitor, foreign)
        service.tell("grow 35")
        another.tell("grow 35")
        monitor.wait_for(r"^unruled\.service: not signalled: .* by a polkit rule$")
        foreign.wait_for(r"^foreign\.service: not signalled: .* by a polkit rule$")
        # The next answer can be too late, on an emulated processor: then its own process is signalled
        # directly.
        eventually(
            lambda: service.said.count("SIGUSR1") == len(monitor.lines_with("by pidfd .*: no answer within")),
            "what is refused isn't signalled",
        )
        assert "SIGUSR1" not in another.said
        assert monitor.process["NRestarts"] == foreign.process["NRestarts"] == "0"
    monitor.wait_until_ended()
    foreign.wait_until_ended()


def test_a_user_monitors_an_own_service_by_an_own_unit() -> None:
    as_tester = ("runuser", "-u", "tester", "--", "env", "XDG_RUNTIME_DIR=/run/user/1000")
    leaky = Leaky("homely")
    Path(USER_UNITS, "homely.service").write_text(
        f"[Service]\nExecStart={leaky.exec_line()}\nMemoryMax=40M\nRestart=always\nRestartSec=100ms\n"
    )
    systemctl = (*as_tester, "systemctl", "--user")
    run(*systemctl, "daemon-reload")
    run(*systemctl, "enable", "--runtime", "--now", "memory-monitor@homely.service")
    run(*systemctl, "start", "homely.service")

    def shown(name: str) -> str:
        return run(*systemctl, "show", f"--property={name}", "--value", "memory-monitor@homely.service")

    process = shown("MainPID")
    for restarts in (1, 2):
        leaky.tell("grow 35")
        leaky.wait_for("started", restarts + 1)
    assert shown("MainPID") == process
    run(*systemctl, "stop", "homely.service")
    eventually(lambda: shown("ActiveState") == "inactive", "the monitor ends")
    assert shown("Result") == "success"
