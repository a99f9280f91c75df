"""Units that come, go or change together, or one after the other: nothing is asked for them."""

from collections.abc import Callable

import pytest

from tests.audit.counting import Asked
from tests.audit.fake_systemd import FakeSystemd
from tests.audit.units import FakeUnit, Record, Start, unit_monitor, wait_for_count
from tests.process.kit import MonitorProcess

UNITS = 1000
CONFIGURED = 300
NAMES = [f"configured@{number}.service" for number in range(CONFIGURED)]
OTHERS = [f"other@{number}.service" for number in range(UNITS - CONFIGURED)]
NEW_NAMES = 2000
AT_ONCE = 100

StartConfigured = Callable[[], MonitorProcess]


@pytest.fixture
def start_configured(systemd: FakeSystemd, start_monitor: Start) -> StartConfigured:
    """Starts a monitor of those of the units that are there; NAMES and "first.service" are configured."""
    (systemd.runtime / "systemd").mkdir(parents=True)
    for name in (*NAMES, "first.service"):
        systemd.configure(name, "Threshold=500M")
    changes = f"runtime-in={systemd.runtime}"
    return lambda: unit_monitor(start_monitor, systemd, "-i", "1s", "--configured", changes=changes)


def test_1000_units_come_of_which_300_are_configured(
    systemd: FakeSystemd, start_configured: StartConfigured, record: Record
) -> None:
    FakeUnit(systemd.top, "first.service")
    monitor = start_configured()
    wait_for_count(monitor, ": ok: ", 1)
    with Asked(monitor.pid) as asked:
        for name in NAMES + OTHERS:
            FakeUnit(systemd.top, name)
        wait_for_count(monitor, ": ok: ", CONFIGURED + 1)
    record(asked)
    assert asked.is_nothing, asked.detail


def test_1000_units_that_were_there_at_the_start_restart(
    systemd: FakeSystemd, start_configured: StartConfigured, record: Record
) -> None:
    units = [FakeUnit(systemd.top, name) for name in NAMES + OTHERS]
    monitor = start_configured()
    wait_for_count(monitor, ": ok: ", CONFIGURED)
    with Asked(monitor.pid) as asked:
        for restarts in range(1, 4):
            for unit in units:
                unit.stop()
            wait_for_count(monitor, "waiting: it stopped", CONFIGURED * restarts)
            for unit in units:
                unit.start()
            wait_for_count(monitor, ": ok: ", CONFIGURED * (restarts + 1))
    record(asked)
    assert asked.is_nothing, asked.detail


def test_300_units_get_other_settings_ten_times(
    systemd: FakeSystemd, start_configured: StartConfigured, record: Record
) -> None:
    for name in NAMES:
        FakeUnit(systemd.top, name)
    monitor = start_configured()
    wait_for_count(monitor, ": ok: ", CONFIGURED)
    with Asked(monitor.pid) as asked:
        for reloads in range(1, 11):
            metric = "current" if reloads % 2 else "anon"
            for name in NAMES:
                systemd.configure(name, f"Threshold={500 + reloads}M", f"Metric={metric}")
            systemd.reload()
            wait_for_count(monitor, "settings changed", CONFIGURED * reloads)
    record(asked)
    assert asked.is_nothing, asked.detail


def test_2000_units_one_after_the_other_each_with_a_name_of_its_own(
    systemd: FakeSystemd, start_monitor: Start, record: Record
) -> None:
    monitor = unit_monitor(start_monitor, systemd, "-i", "10ms", "job@*.service", changes="clock-times=10")

    def let_come_and_go(numbers: range) -> None:
        units = [FakeUnit(systemd.top, f"job@{number}.service") for number in numbers]
        wait_for_count(monitor, ": ok: ", numbers.stop)
        for unit in units:
            unit.stop()
        wait_for_count(monitor, "waiting: it stopped", numbers.stop)

    let_come_and_go(range(AT_ONCE))
    with Asked(monitor.pid) as asked:
        for begin in range(AT_ONCE, NEW_NAMES, AT_ONCE):
            let_come_and_go(range(begin, begin + AT_ONCE))
    record(asked)
    assert asked.is_nothing, asked.detail
