"""memory-monitor.service of a user's service manager: the user's units that say so in their own files."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import DEADLINE_S, Leaky, eventually, journal, run
from shipped import TIMES_SLOWER

SYSTEMCTL = ("runuser", "-u", "tester", "--", "env", "XDG_RUNTIME_DIR=/run/user/1000", "systemctl", "--user")
OWN_UNITS = Path("/home/tester/.config/systemd/user")
MONITOR = "memory-monitor.service"
UNIT = "users-own.service"
TWO_INTERVALS_S = 4


def write(name: str, text: str) -> None:
    """A unit file of the user, as `systemctl --user edit` makes it."""
    run("runuser", "-u", "tester", "--", "mkdir", "-p", str((OWN_UNITS / name).parent))
    (OWN_UNITS / name).write_text(text)


def shown(unit: str, name: str) -> str:
    """A property of a unit of the user."""
    return run(*SYSTEMCTL, "show", f"--property={name}", "--value", unit)


def lines() -> list[str]:
    """What the user's monitor has logged."""
    entries = journal("_UID=1000", f"_SYSTEMD_USER_UNIT={MONITOR}", "SYSLOG_IDENTIFIER=memory-monitor")
    return [str(entry["MESSAGE"]) for entry in entries]


def wait_for_line(*words: str, deadline_s: float = DEADLINE_S) -> None:
    """Waits until one of its lines has all these words."""

    def found() -> bool:
        return any(all(word in line for word in words) for line in lines())

    eventually(found, f"{words} of the user's monitor", deadline_s, lambda: "\n".join(lines()))


@pytest.fixture
def leaky() -> Iterator[Leaky]:
    """users-own.service with a threshold of 30 MiB in a drop-in, monitored by the user's own monitor."""
    service = Leaky("users-own")
    start = f"[Service]\nExecStart={service.exec_line()}\nRestart=always\nRestartSec=100ms\n"
    write(UNIT, f"[Unit]\nStartLimitIntervalSec=0\n{start}")
    write(f"{UNIT}.d/memory-monitor.conf", "[X-MemoryMonitor]\nThreshold=30M\n")
    run(*SYSTEMCTL, "daemon-reload")
    run(*SYSTEMCTL, "start", MONITOR, UNIT)
    wait_for_line(f"{UNIT}: ok: ", "of 30 MiB")
    yield service
    run(*SYSTEMCTL, "stop", MONITOR, UNIT)
    run("rm", "-r", str(OWN_UNITS / UNIT), str(OWN_UNITS / f"{UNIT}.d"))
    run(*SYSTEMCTL, "daemon-reload")


def test_a_users_unit_is_asked_as_its_drop_in_says_and_a_changed_one_holds_after_a_reload(
    leaky: Leaky,
) -> None:
    pid = shown(MONITOR, "MainPID")
    leaky.tell("grow 40")
    wait_for_line(f"{UNIT}: signalled: ", "is above 30 MiB", "sent SIGTERM to the main process (KillUnit)")
    leaky.wait_for("SIGTERM")
    leaky.wait_for("started", 2)
    wait_for_line(f"{UNIT}: ended after ", "and active again")
    write(f"{UNIT}.d/memory-monitor.conf", "[X-MemoryMonitor]\nThreshold=60M\nSignal=USR1\n")
    run(*SYSTEMCTL, "daemon-reload")
    changed = f"{UNIT}: settings changed: Threshold=60MiB (was 30MiB), Signal=SIGUSR1"
    wait_for_line(changed, deadline_s=TWO_INTERVALS_S * TIMES_SLOWER)
    leaky.tell("grow 70")
    wait_for_line(f"{UNIT}: signalled: ", "is above 60 MiB", "sent SIGUSR1")
    leaky.wait_for("SIGUSR1")
    assert leaky.said.count("SIGTERM") == 1
    assert (shown(MONITOR, "MainPID"), shown(MONITOR, "NRestarts")) == (pid, "0")
    assert f"{UNIT}: " in shown(MONITOR, "StatusText")
