"""A monitor that has read its settings again waits as it did before: poll(2) sleeps between two looks."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.audit.counting import CountFile
from tests.audit.fake_systemd import FakeSystemd
from tests.audit.units import FakeUnit, Record, Start, let_it_look, unit_monitor, wait_for_count
from tests.process.kit import MonitorProcess

INTERVAL = "50ms"
LOOKS = 20
WORDS = ("memory-monitor", "-m", "${MAX_MEMORY}", "-i", INTERVAL, "--", "resting.service")
UNIT = "resting.service"
OWN = ((UNIT,), "own-service=memory-monitor@resting.service")

Way = Callable[[FakeSystemd, MonitorProcess], None]


def hang_up(_systemd: FakeSystemd, monitor: MonitorProcess) -> None:
    """What `systemctl reload` sends."""
    os.kill(monitor.pid, signal.SIGHUP)


def daemon_reload(systemd: FakeSystemd, _monitor: MonitorProcess) -> None:
    systemd.reload()


@pytest.mark.parametrize(
    ("reload", "arguments", "changes", "said"),
    [
        pytest.param(hang_up, *OWN, "settings read again", id="its own settings, by SIGHUP"),
        pytest.param(hang_up, ("--configured",), None, "settings changed", id="those of units, by SIGHUP"),
        pytest.param(daemon_reload, ("--configured",), None, "settings changed", id="by daemon-reload"),
    ],
)
def test_it_waits_between_two_looks_as_before(
    reload: Way,
    arguments: tuple[str, ...],
    changes: str | None,
    said: str,
    library: Path,
    systemd: FakeSystemd,
    start_monitor: Start,
    tmp_path: Path,
    record: Record,
) -> None:
    FakeUnit(systemd.top, UNIT)
    file = tmp_path / "resting.conf"
    file.write_text("MAX_MEMORY=500M\n")
    systemd.own_command, systemd.own_files = WORDS, (str(file),)
    systemd.configure(UNIT, "Threshold=400M")
    (systemd.runtime / "systemd").mkdir()
    with CountFile(library) as counts:
        monitor = unit_monitor(
            start_monitor,
            systemd,
            *("-i", INTERVAL, *arguments),
            changes=changes or f"runtime-in={systemd.runtime}",
            environment=counts.environment | {"MEMORY_MONITOR_SETTINGS": str(file)},
        )
        wait_for_count(monitor, ": ok: ", 1)
        before = polls_of_looks(counts)
        systemd.configure(UNIT, "Threshold=500M")
        reload(systemd, monitor)
        wait_for_count(monitor, said, 1)
        polls_of_looks(counts)  # The reload itself.
        after = polls_of_looks(counts)
    record(f"{LOOKS} looks: poll(2) {before} times before the reload, {after} times after it")
    assert after <= 2 * LOOKS, monitor.log


def polls_of_looks(counts: CountFile) -> int:
    """How often it waits in LOOKS looks."""
    begin = counts.read()
    let_it_look(counts, begin, LOOKS)
    return (counts.read() - begin).poll
