"""What is shipped for those who don't want root: the drop-in with its polkit rule, and the user's unit."""

import re
import shutil
from pathlib import Path

from kit import Leaky, Service, eventually, messages, property_of, run, write_unit

SHIPPED = Path(__file__).parents[2] / "units"
RULES = Path("/etc/polkit-1/rules.d/memory-monitor.rules")


def test_a_static_user_with_a_polkit_rule_may_signal_its_one_unit() -> None:
    monitor = "memory-monitor@ruled.service"
    run("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "memory-monitor")
    RULES.write_text(
        Path(SHIPPED, "memory-monitor.rules").read_text().replace("myapp.service", "ruled.service")
    )
    write_unit(f"{monitor}.d/unprivileged.conf", Path(SHIPPED, "unprivileged.conf").read_text())
    run("systemctl", "restart", "polkit.service")
    with Service("ruled.service", restart=True, properties=("MemoryMax=40M",)) as service:
        run("systemctl", "start", monitor)
        service.tell("grow 35")
        service.wait_for("started", 2)
        (line,) = [line for line in messages(monitor) if line.startswith("ruled.service: signalled: ")]
        assert line.endswith("sent SIGTERM to the main process (KillUnit)")
        assert not [line for line in messages(monitor) if line.startswith("warning: ")]
        report = run("systemd-analyze", "security", "--no-pager", monitor)
        print("\n".join(line for line in report.splitlines() if line.startswith(("✗", "→"))))
        (exposure,) = re.findall(r"Overall exposure level for .*: (\d+\.\d)", report)
        assert float(exposure) <= 0.3
    eventually(lambda: property_of(monitor, "ActiveState") == "inactive", "the monitor ends")


def test_a_user_monitors_an_own_service_by_an_own_unit() -> None:
    as_tester = ("runuser", "-u", "tester", "--", "env", "XDG_RUNTIME_DIR=/run/user/1000")
    units = Path("/run/systemd/user")
    units.mkdir(exist_ok=True)
    shutil.copy(Path(SHIPPED, "user", "memory-monitor@.service"), units)
    leaky = Leaky("homely")
    Path(units, "homely.service").write_text(
        f"[Service]\nExecStart={leaky.exec_line()}\nMemoryMax=40M\nRestart=always\nRestartSec=100ms\n"
    )
    systemctl = (*as_tester, "systemctl", "--user")
    run(*systemctl, "enable", "--runtime", "--now", "memory-monitor@homely.service")
    run(*systemctl, "start", "homely.service")
    leaky.tell("grow 35")
    leaky.wait_for("started", 2)
    run(*systemctl, "stop", "homely.service")
    shown = (*systemctl, "show", "--property=ActiveState", "--value", "memory-monitor@homely.service")
    eventually(lambda: run(*shown) == "inactive", "the monitor ends")
