"""The state file and the pauses of a monitor of units: from READY on the kernel is asked for nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from memmon_systemd.ctl.state import read_state
from memmon_systemd.output import pause_file
from tests.audit.counting import Asked, CountFile
from tests.audit.fake_systemd import FakeSystemd
from tests.audit.test_units_without_asking_for_memory import (
    FASTER,
    INTERVAL,
    LOOKS,
    nothing_asked,
)
from tests.audit.units import (
    HIGH_BYTES,
    LOW_BYTES,
    FakeUnit,
    Record,
    Start,
    let_it_look,
    unit_monitor,
    wait_for_count,
)
from tests.process.kit import ROOT, MonitorProcess
from tests.process.leaker import Leaker
from tests.process.waiting import eventually

READERS = 10
PASSES = 100
DEADLINE_S = 30.0
READS_ON = """
import select, sys
from memmon_systemd.ctl.state import read_states
from memmon_systemd.ctl.view import rows_of, problems_of
directory = sys.argv[1]
reads = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    states = read_states([directory])
    rows = rows_of(states)
    wrong = problems_of(states, rows)
    assert not wrong, wrong
    assert [row.record.name for row in rows] == ["read.service"], rows
    assert rows[0].record.state in ("ok", "over", "signalled"), rows
    assert rows[0].record.threshold_bytes == 500 << 20, rows
    reads += 1
print(reads)
"""


def state_path(monitor: MonitorProcess) -> Path:
    return monitor.runtime / f"{monitor.runtime.name}.state"


def wait_for_state(monitor: MonitorProcess, state: str) -> None:
    """Wait until the only target is in this state, by the file."""
    path = str(state_path(monitor))
    eventually(lambda: read_state(path).targets[0].state == state, DEADLINE_S, state, monitor.log.__str__)


def start_readers(monitor: MonitorProcess, stack: ExitStack) -> list[subprocess.Popen[str]]:
    """Ten that read as fast as they can until their input is closed."""
    command = (sys.executable, "-c", READS_ON, os.fspath(monitor.runtime))
    pipe = subprocess.PIPE
    readers = [
        subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for _ in range(READERS)
    ]
    for reader in readers:
        stack.callback(reader.kill)
    return readers


def end_readers(readers: list[subprocess.Popen[str]]) -> int:
    """How often they have read, without a wrong reading."""
    said = [reader.communicate() for reader in readers]
    assert [reader.returncode for reader in readers] == [0] * READERS, said
    return sum(int(out) for out, _ in said)


def test_ten_readers_cost_a_quiet_monitor_nothing(
    library: Path, systemd: FakeSystemd, start_monitor: Start, record: Record
) -> None:
    FakeUnit(systemd.top, "read.service")
    with ExitStack() as stack:
        counts = stack.enter_context(CountFile(library))
        monitor = unit_monitor(
            start_monitor, systemd, "-i", INTERVAL, "read.service", environment=counts.environment
        )
        let_it_look(counts, counts.read(), 20)
        readers = start_readers(monitor, stack)
        with Asked(monitor.pid) as asked:
            begin = counts.read()
            let_it_look(counts, begin, LOOKS)
            calls = counts.read() - begin
        reads = end_readers(readers)
    record(f"{calls.read} looks, {reads} readings: {calls.allocator_calls} allocator calls, {asked}")
    assert (calls.allocator_calls, calls.free) == (0, 0)
    assert asked.is_nothing, asked.detail
    assert reads > 100


def test_ten_readers_see_each_state_and_nothing_wrong_while_it_changes(
    systemd: FakeSystemd, start_monitor: Start, start_leaker: Callable[..., Leaker], record: Record
) -> None:
    unit = FakeUnit(systemd.top, "read.service", start_leaker("main", ignore=True).pid)
    options = ("-i", INTERVAL, "--repeat", "infinity", "read.service")
    monitor = unit_monitor(start_monitor, systemd, *options, changes=FASTER)
    with ExitStack() as stack:
        readers = start_readers(monitor, stack)
        with nothing_asked(monitor, record):
            for _ in range(PASSES):
                unit.use(HIGH_BYTES)
                wait_for_state(monitor, "signalled")
                unit.use(LOW_BYTES)
                wait_for_state(monitor, "ok")
        record(f"{PASSES} times up and down, {end_readers(readers)} readings, none wrong")


def test_pauses_ask_for_nothing(
    systemd: FakeSystemd, start_monitor: Start, start_leaker: Callable[..., Leaker], record: Record
) -> None:
    unit = FakeUnit(systemd.top, "paused.service", start_leaker("main", ignore=True).pid)
    monitor = unit_monitor(start_monitor, systemd, "-i", INTERVAL, "paused.service", changes=FASTER)
    path = state_path(monitor).with_suffix(".pause")
    with nothing_asked(monitor, record):
        for passes in range(1, 21):
            pause_file.write(str(path), {"paused.service": float("inf"), f"other@{passes}*": 1e12}, "t")
            wait_for_count(monitor, "paused.service: paused until it is resumed", passes)
            unit.use(HIGH_BYTES)
            wait_for_count(monitor, "held: .*: paused; asked once", passes)
            wait_for_state(monitor, "held")  # It is noted after it is said: "ok" could be the one before.
            unit.use(LOW_BYTES)
            wait_for_state(monitor, "ok")
            pause_file.write(str(path), {}, "t")
            wait_for_count(monitor, "paused.service: resumed", passes)
        pause_file.write(str(path), {"*": float("inf")}, "t")
        wait_for_count(monitor, "\\*: paused until it is resumed", 1)
        unit.use(HIGH_BYTES)
        wait_for_state(monitor, "held")
        pause_file.write(str(path), {}, "t")
        wait_for_count(monitor, "resumed: asked at the next poll", 1)
        wait_for_state(monitor, "signalled")


def test_300_units_that_come_and_go_are_recorded_without_asking_for_anything(
    systemd: FakeSystemd, start_monitor: Start, record: Record
) -> None:
    monitor = unit_monitor(start_monitor, systemd, "-i", INTERVAL, "many@*.service")

    def shown() -> int:
        return len(read_state(str(state_path(monitor))).targets)

    with nothing_asked(monitor, record):
        for _ in range(2):
            units = [FakeUnit(systemd.top, f"many@{number}.service") for number in range(300)]
            eventually(lambda: shown() == 300, 60, "all have a record", monitor.log.__str__)
            for unit in units:
                unit.stop()
            eventually(lambda: shown() == 0, 60, "none has", monitor.log.__str__)


def test_memmonctl_shows_a_unit_by_the_same_gauge(systemd: FakeSystemd, start_monitor: Start) -> None:
    unit = FakeUnit(systemd.top, "shown.service")
    monitor = unit_monitor(start_monitor, systemd, "-i", INTERVAL, "--for", "1d", "shown.service")
    unit.use(HIGH_BYTES, LOW_BYTES)
    wait_for_count(monitor, ": over: ", 1)

    def answer(*words: str) -> dict[str, Any]:
        command = (
            sys.executable,
            "-m",
            "memmon_systemd.ctl.command",
            "--directory",
            os.fspath(monitor.runtime),
        )
        done = subprocess.run((*command, *words), cwd=ROOT, capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    (shown,) = answer("--json")["targets"]
    assert (shown["state"], shown["usage_bytes"]) == ("over", HIGH_BYTES - LOW_BYTES)
    (status,) = answer("status", "shown", "--json")["targets"]
    assert status["readings_bytes"]["current"] == HIGH_BYTES


def test_the_file_grows_at_a_reload_and_at_no_other_time(systemd: FakeSystemd, start_monitor: Start) -> None:
    (systemd.runtime / "systemd").mkdir(parents=True)

    def add(numbers: range) -> None:
        for number in numbers:
            systemd.configure(f"grown@{number}.service", "Threshold=500M")
            FakeUnit(systemd.top, f"grown@{number}.service")

    add(range(300))
    changes = f"{FASTER},runtime-in={systemd.runtime}"
    monitor = unit_monitor(start_monitor, systemd, "-i", INTERVAL, "--configured", changes=changes)
    path = state_path(monitor)
    inode = path.stat().st_ino

    def shown() -> tuple[int, int]:
        state = read_state(str(path))
        return len(state.targets), state.monitor.unrecorded

    eventually(lambda: shown() == (300, 0), DEADLINE_S, "all have a record", monitor.log.__str__)
    add(range(300, 340))
    eventually(lambda: shown() == (320, 20), DEADLINE_S, "some have none", monitor.log.__str__)
    assert path.stat().st_ino == inode
    systemd.reload()
    eventually(lambda: shown() == (340, 0), DEADLINE_S, "all have one", monitor.log.__str__)
    assert path.stat().st_ino != inode
