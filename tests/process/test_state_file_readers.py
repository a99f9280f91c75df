"""Readers of a state file while it is written, and files of monitors that were killed in the middle of it."""

import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memmon_systemd import keeping
from memmon_systemd.ctl.state import read_state
from memmon_systemd.linux import proc
from memmon_systemd.linux.libc import Libc
from memmon_systemd.output import state_file
from memmon_systemd.output.record import MonitorRecord, Record
from tests.process.kit import IN_MEMORY

KILLS = 1000
READERS = 10
READ_S = 3.0
CELLS = 3


@pytest.fixture
def path() -> Iterator[Path]:
    found = IN_MEMORY / f"memory-monitor-{os.getpid()}-{time.monotonic_ns()}.state"
    yield found
    found.unlink(missing_ok=True)


def record_of(number: int) -> Record:
    """One in which each value follows from the number, so that a mixture shows."""
    return Record(
        name=f"unit{number % CELLS}.service",
        state=("ok", "over", "held", "signalled")[number % 4],
        cgroup=f"/{number}" * 20,
        metric="unreclaimable",
        threshold_bytes=number,
        begun_bytes=number * 3,
        invocation_id=number.to_bytes(16, "big"),
        requests=number,
        failed_requests=number + 1,
        asked_s=number + 0.5,
        budget_times_s=tuple(float(number + add) for add in range(32)),
    )


def write_without_end(path: Path) -> None:
    pid = os.getpid()
    monitor = MonitorRecord(
        "writer", "", pid, proc.read_stat(pid).start_ticks, keeping.boot_id(), 0, False, 0.0
    )
    file = state_file.create(str(path), monitor, CELLS, Libc().map_file)
    number = 0
    while True:
        file.keep(record_of(number))
        number += 1


def in_child(work: Callable[[], None]) -> int:
    """A process that does this and nothing else; its PID."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(status)


def test_no_reading_is_wrong_whenever_the_writer_is_killed(path: Path) -> None:
    torn = read = 0
    chance = random.Random(16)
    for _ in range(KILLS):
        path.unlink(missing_ok=True)
        writer = in_child(lambda: write_without_end(path))
        while not path.exists():
            time.sleep(0.0005)
        time.sleep(chance.uniform(0.0005, 0.003))
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        state = read_state(str(path))
        assert not state.is_running
        torn += state.torn
        read += len(state.records)
        for record in state.records:
            assert record == record_of(record.requests)
    print(f"{KILLS} killed: {read} records read, {torn} torn, 0 wrong")
    assert read > KILLS
    assert torn > 0, "none was killed while it wrote: this test has seen nothing"


def test_ten_readers_see_no_wrong_record_while_it_is_written_without_a_pause(path: Path) -> None:
    writer = in_child(lambda: write_without_end(path))
    while not path.exists():
        time.sleep(0.001)

    def read_on() -> None:
        end_s = time.monotonic() + READ_S
        seen = set()
        while time.monotonic() < end_s:
            state = read_state(str(path))
            assert state.is_running
            for record in state.records:
                assert record == record_of(record.requests)
                seen.add(record.requests)
        # The writer may lose the processor in the middle of a record, and a reader waits for it.
        assert len(seen) >= 5, "it always read the same"

    try:
        readers = [in_child(read_on) for _ in range(READERS)]
        assert [os.waitstatus_to_exitcode(os.waitpid(reader, 0)[1]) for reader in readers] == [0] * READERS
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
