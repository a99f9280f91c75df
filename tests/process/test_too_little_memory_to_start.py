"""What it is limited to may not suffice to start: then one line says so, and no signal ends it."""

from collections.abc import Callable
from typing import Final

import pytest

from tests.process.kit import MINE, MonitorProcess
from tests.process.waiting import eventually
from tests.unit.trees import linux_only

pytestmark = linux_only
KIB: Final = 1024
WORDS: Final = "memory-monitor: not enough memory to start: raise LimitAS=, LimitDATA= or LimitSTACK="
BELOW_KIB, ABOVE_KIB, STEP_KIB = 600, 120, 40
READY: Final = "ready"
Start = Callable[..., MonitorProcess]


def outcome(start_monitor: Start, limit: str, kib: int) -> str:
    """READY, or its status and its last line."""
    prefix = ("prlimit", f"--{limit}={kib * KIB}", "--")
    with start_monitor("-m", "100", "-i", "1h", f"{MINE}-none", prefix=prefix) as monitor:

        def is_ready_or_ended() -> bool:
            return not monitor.running or "1" in monitor.notify.values("READY")

        eventually(is_ready_or_ended, 20, "READY=1, or its end")
        return READY if monitor.running else f"{monitor.wait_for_end()} {monitor.lines[-1]}"


def test_the_least_address_space_that_suffices_is_an_edge_without_a_crash(start_monitor: Start) -> None:
    with start_monitor("-m", "100", "-i", "1h", f"{MINE}-none") as monitor:
        monitor.wait_ready()
        peak_kib = monitor.peak_kib
    tried = range(peak_kib - BELOW_KIB, peak_kib + ABOVE_KIB, STEP_KIB)
    outcomes = {kib: outcome(start_monitor, "as", kib) for kib in tried}
    assert set(outcomes.values()) == {READY, f"1 {WORDS}"}, outcomes


@pytest.mark.parametrize("kib", [200, 300, 500])
def test_a_stack_that_is_too_small_is_refused(start_monitor: Start, kib: int) -> None:
    assert outcome(start_monitor, "stack", kib) == f"1 {WORDS}"
