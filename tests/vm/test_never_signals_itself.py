"""The unit that memory-monitor itself runs in is never one of its targets."""

import re
import subprocess

from kit import MonitorUnit, Service, messages, property_of


def test_its_own_unit_is_refused() -> None:
    run = ("systemd-run", "--quiet", "--wait", "--collect", "--pipe", "--unit=narcissus.service")
    done = subprocess.run(
        (*run, "memory-monitor", "-m", "1", "narcissus.service"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    (refused,) = done.stderr.splitlines()
    assert re.match("memory-monitor: 'narcissus.service' .*memory-monitor, an ancestor", refused)


def test_a_glob_leaves_its_own_unit_out() -> None:
    with (
        Service("herd-1.service") as service,
        MonitorUnit("herd-2.service", "-m", "1", "-i", "1", "-s", "USR1", "herd-*.service") as monitor,
    ):
        service.wait_for("SIGUSR1")
        monitor.wait_for(r"^warning: herd-2\.service is skipped: memory-monitor, ")
        assert not [line for line in messages("herd-2.service") if "herd-2.service: signalled" in line]
        assert property_of("herd-2.service", "ActiveState") == "active"
