"""What a look asks of the kernel, and what each further unit takes, in numbers that no other load changes."""

from collections import Counter

from tests.audit.counting import Trace
from tests.audit.fake_systemd import FakeSystemd
from tests.audit.units import FakeUnit, Start, unit_monitor
from tests.bench.gauging import footprint
from tests.process.kit import MonitorProcess
from tests.process.waiting import eventually

DEADLINE_S = 60.0
WAKES = 200
MOST_CALLS = 4
FEW, MANY = 500, 4500
"""Far apart: memory comes in arenas of 1 MiB. Of the first hundreds it is there, left over from the start."""
MOST_BYTES_EACH = 2048


def calls_while_quiet(monitor: MonitorProcess) -> Counter[str]:
    with Trace(monitor.pid, ("all",)) as trace:
        eventually(lambda: trace.calls["poll"] >= WAKES, DEADLINE_S, f"{WAKES} wake-ups")
    # The poll that strace attached in shows as restart_syscall.
    return Counter({name: count for name, count in trace.calls.items() if name != "restart_syscall"})


def test_a_look_at_one_unit_is_one_seek_one_read_and_one_poll(
    systemd: FakeSystemd, start_monitor: Start
) -> None:
    FakeUnit(systemd.top, "small.service")
    monitor = unit_monitor(start_monitor, systemd, "-i", "10ms", "small.service")
    # The first look after READY tells the status anew.
    eventually(lambda: "polled every" in monitor.notify.values("STATUS")[-1], DEADLINE_S, "the status")
    calls = calls_while_quiet(monitor)
    assert set(calls) == {"lseek", "read", "poll"}, calls
    assert sum(calls.values()) <= MOST_CALLS * calls["poll"], calls
    assert abs(calls["read"] - calls["poll"]) <= 1, calls


def test_units_that_are_alike_are_looked_at_in_one_wake_up(
    systemd: FakeSystemd, start_monitor: Start
) -> None:
    for number in range(100):
        FakeUnit(systemd.top, f"alike@{number}.service")
    calls = calls_while_quiet(unit_monitor(start_monitor, systemd, "-i", "10ms", "alike@*.service"))
    assert calls["read"] >= 99 * calls["poll"], calls


def test_each_further_unit_takes_little_memory(systemd: FakeSystemd, start_monitor: Start) -> None:
    for number in range(MANY):
        FakeUnit(systemd.top, f"{'few' if number < FEW else 'many'}@{number}.service")
    few = unit_monitor(start_monitor, systemd, "few@*.service")
    many = unit_monitor(start_monitor, systemd, "*@*.service")
    bytes_each = (footprint(many.pid).rss - footprint(few.pid).rss) * 1024 / (MANY - FEW)
    print(f"\neach further unit: {bytes_each:.0f} bytes")
    assert bytes_each <= MOST_BYTES_EACH
