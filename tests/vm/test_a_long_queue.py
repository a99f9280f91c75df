"""Many units above their threshold at once: with --at-most the nearest is next when a slot is free."""

import os
import re
import time
from collections.abc import Iterator
from typing import Final

import pytest
from kit import DEADLINE_S, UNITS, Monitor, run, write_unit

COUNT: Final = 40
"""300 take 1,100 MiB more and several minutes."""
MOST: Final = 4
SMALLEST_KIB: Final = 2048
SPAN_KIB: Final = 6144
BLURRED_KIB: Final = 512
"""What the kernel charges beside a program's own memory differs, and so may the order of neighbours."""
FIFO: Final = "/run/queue.fifo"
SIZES_KIB: Final = [SMALLEST_KIB + SPAN_KIB * number // COUNT for number in range(COUNT)]


@pytest.fixture
def units() -> Iterator[list[str]]:
    """Units that use what their name says, in KiB: dd holds one block, and waits for a reader."""
    os.mkfifo(FIFO)
    full = os.open(FIFO, os.O_RDWR | os.O_NONBLOCK)
    os.write(full, bytes(65536))
    write_unit(
        "queue@.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=exec\n"
        f"ExecStart=/bin/dd if=/dev/zero of={FIFO} bs=%iK status=none\nRestart=always\nRestartSec=100ms\n",
    )
    names = [f"queue@{size_kib}.service" for size_kib in SIZES_KIB]
    run("systemctl", "start", *names)
    yield names
    run("systemctl", "stop", "queue@*.service")
    (UNITS / "queue@.service").unlink()
    os.close(full)
    os.unlink(FIFO)


def test_of_many_units_above_at_once_the_nearest_is_asked_next(
    units: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    begun_s = time.monotonic()
    options = ("-m", "1", "-i", "1", "--budget", "1/1h", "--at-most", str(MOST))
    with Monitor(*options, "queue@*.service") as monitor:
        monitor.wait_for("signalled: ", len(units), COUNT * DEADLINE_S / 10)
        monitor.wait_for("active again after", len(units))
        took_s = time.monotonic() - begun_s
        asked = [int(re.findall(r"queue@(\d+)", line)[0]) for line in monitor.lines_with("signalled: ")]
        worst, down = 0, 0
        for line in monitor.lines_with("signalled: |active again after"):
            down += 1 if "signalled: " in line else -1
            worst = max(worst, down)
    with capsys.disabled():
        print(
            f"\n{COUNT} units, --at-most {MOST}: {worst} down at worst, all back in {took_s:.0f} s: {asked}"
        )
    assert sorted(asked) == SIZES_KIB  # Each once.
    assert worst <= MOST
    for turn, size_kib in enumerate(asked):
        nearer = [other for other in asked[turn + 1 :] if other > size_kib + BLURRED_KIB]
        assert len(nearer) < MOST, f"{size_kib} was asked before {nearer}"
