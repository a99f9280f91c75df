"""At the start systemd may be busy for seconds: a monitor waits for it, and then for nothing any more."""

import re
from collections.abc import Callable

import pytest

from tests.audit.fake_systemd import Answer, FakeSystemd
from tests.audit.units import HIGH_BYTES, FakeUnit, Start, unit_monitor
from tests.process.leaker import Leaker

BUSY_S = 3.0
SOON_S = 30.0
LONGER_THAN_ANY_WAIT_S = 60.0
WAITS = "warning: systemd doesn't answer: .*: no answer within 1 s; waiting for it, 10 s at most"


@pytest.mark.parametrize("arguments", [("-m", "500", "busy.service"), ("--configured",)])
def test_a_monitor_that_starts_waits_for_it_and_says_so_once(
    systemd: FakeSystemd,
    start_monitor: Start,
    start_leaker: Callable[..., Leaker],
    arguments: tuple[str, ...],
) -> None:
    leaker = start_leaker("main", ignore=True)
    unit = FakeUnit(systemd.top, "busy.service", leaker.pid)
    systemd.configure("busy.service", "Threshold=500M")
    (systemd.runtime / "systemd").mkdir()
    systemd.busy_s = BUSY_S
    monitor = unit_monitor(start_monitor, systemd, *arguments, changes=f"runtime-in={systemd.runtime}")
    assert len([line for line in monitor.lines if re.search(WAITS, line)]) == 1
    monitor.wait_for_line("busy.service: ok: ", SOON_S)
    systemd.answer = Answer.IS_SILENT
    unit.use(HIGH_BYTES)
    leaker.wait_for_signals("SIGTERM", 1, SOON_S)
    monitor.wait_for_line("KillUnit: no answer within 1 s", SOON_S)


@pytest.mark.parametrize("arguments", [("-m", "500", "many@*.service"), ("--configured",)])
def test_before_ready_and_never_after_it_asks_for_as_long_as_its_start_takes(
    systemd: FakeSystemd, start_monitor: Start, arguments: tuple[str, ...]
) -> None:
    for number in range(100):
        FakeUnit(systemd.top, f"many@{number}.service")
        systemd.configure(f"many@{number}.service", "Threshold=500M")
    (systemd.runtime / "systemd").mkdir()
    monitor = unit_monitor(start_monitor, systemd, *arguments, changes=f"runtime-in={systemd.runtime}")
    systemd.configure("many@100.service", "Threshold=500M")
    FakeUnit(systemd.top, "many@100.service")
    monitor.wait_for_line("many@100.service: ok: ", SOON_S)
    extends = [message.startswith("EXTEND_TIMEOUT_USEC=") for message in monitor.notify.messages]
    assert extends[0] is True
    assert not any(extends[monitor.notify.messages.index("READY=1") :])


def test_where_it_never_answers_the_start_fails_with_what_was_asked(
    systemd: FakeSystemd, start_monitor: Start
) -> None:
    systemd.busy_s = LONGER_THAN_ANY_WAIT_S
    with pytest.raises(AssertionError, match="ControlGroup: no answer within 10 s"):
        unit_monitor(start_monitor, systemd, "-m", "500", "busy.service")
