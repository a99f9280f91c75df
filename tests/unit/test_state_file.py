"""The state file: what is written is read, and what isn't whole is seen to be so."""

import os
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from memmon_systemd import keeping
from memmon_systemd.ctl.state import read_state, read_states
from memmon_systemd.keeping import OwnState, is_running
from memmon_systemd.linux import proc
from memmon_systemd.linux.libc import Libc
from memmon_systemd.output import state_file, state_format
from memmon_systemd.output.places import own_place
from memmon_systemd.output.record import GONE, MOST_TIMES, MonitorRecord, Record
from memmon_systemd.output.state_file import StateFile
from memmon_systemd.output.state_format import Cell
from memmon_systemd.output.state_values import get_target, put_target
from tests.unit.trees import linux_only

pytestmark = linux_only

FULL = Record(
    name="myapp@1.service",
    state="held",
    hold="paused",
    cgroup="/sys/fs/cgroup/system.slice/myapp@1.service",
    metric="working-set",
    swap=True,
    threshold_bytes=1 << 40,
    hard_bytes=(1 << 40) + 1,
    interval_s=0.25,
    for_s=300.0,
    action="restart",
    signal_number=37,
    dry_run=True,
    invocation_id=bytes(range(16)),
    begun_s=12.5,
    begun_bytes=77,
    first_asked_s=20.0,
    asked_s=30.0,
    asked_in_invocation=3,
    is_escalated=True,
    requests=12,
    failed_requests=2,
    last_request_s=1795823988.25,
    failed_readings=4,
    paused_until_s=float("inf"),
    budget_count=10,
    budget_window_s=3600.0,
    budget_times_s=(20.0, 21.0),
)


def me() -> MonitorRecord:
    pid = os.getpid()
    return MonitorRecord(
        "memory-monitor@myapp", "1.2", pid, proc.read_stat(pid).start_ticks, keeping.boot_id(), 0, False, 5.0
    )


def make(path: Path, cells: int = 4, monitor: MonitorRecord | None = None) -> StateFile:
    return state_file.create(str(path), monitor or me(), cells, Libc().map_file)


def records(path: Path) -> dict[str, Record]:
    return {record.name: record for record in state_file.records_in(path.read_bytes())[1]}


@pytest.mark.parametrize("record", [FULL, Record("x"), Record("p[7]", is_unit=False, pid=7)])
def test_a_record_is_read_as_it_was_written(tmp_path: Path, record: Record) -> None:
    path = tmp_path / "a.state"
    assert make(path).keep(record)
    monitor, found, torn = state_file.records_in(path.read_bytes())
    assert (monitor, found, torn) == (me(), [record], [])
    assert path.stat().st_mode & 0o777 == 0o644


def test_what_is_too_long_is_cut_where_that_is_harmless() -> None:
    room = state_format.room_for(state_format.CELL_BYTES)
    times = tuple(float(number) for number in range(100))
    put_target(room, replace(FULL, name="n" * 300, cgroup="/" + "c" * 600, budget_times_s=times))
    found = get_target(bytes(room))
    assert found.name == "n" * 255
    assert found.cgroup == "", "a part of a path is another path"
    assert found.budget_times_s == times[-MOST_TIMES:]


def test_words_of_a_forged_file_can_not_steer_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    make(path).keep(replace(FULL, state="\x1b[2J", hold="\x07", metric="\x9b1m", action="\r"))
    (record,) = state_file.records_in(path.read_bytes())[1]
    assert (record.state + str(record.hold) + str(record.metric) + record.action).isprintable()


def torn_cells() -> Iterator[tuple[int, bytes, bytes, bytes]]:
    """What a reader can see of a cell while one record takes the place of another, cut at each byte."""
    old, new = (replace(FULL, requests=number, begun_bytes=number * 7) for number in (1, 0x0102030405060708))
    buffer = bytearray(state_format.CELL_BYTES)
    cell = Cell(memoryview(buffer))
    room = state_format.room_for(state_format.CELL_BYTES)
    put_target(room, old)
    cell.write(room)
    before = bytes(buffer)
    put_target(room, new)
    cell.write(room)
    after = bytes(buffer)
    for cut in range(len(before) + 1):
        yield cut, before, after, after[:cut] + before[cut:]
        yield cut, before, after, before[:cut] + after[cut:]


def test_no_half_written_record_is_ever_taken_for_one() -> None:
    torn = 0
    for cut, before, after, seen in torn_cells():
        values = state_format.values_of(seen)
        whole = {state_format.values_of(before), state_format.values_of(after)}
        assert values is None or values in whole, cut
        torn += values is None
    assert torn > 100


def test_a_record_that_has_not_changed_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    file = make(path)
    file.keep(FULL)
    before = path.read_bytes()
    file.keep(replace(FULL))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda _: b"", "no state file"),
        (lambda _: b"something else entirely", "no state file"),
        (lambda data: data[:8] + struct.pack("=I", 99) + data[12:], "of form 99, which another version"),
        (lambda data: data[:12] + struct.pack("=I", 8) + data[16:], "records have"),
        (lambda data: data[: len(data) // 2], "cut off"),
    ],
)
def test_what_is_no_whole_file_of_this_version_is_said(tmp_path: Path, spoil: object, why: str) -> None:
    assert callable(spoil)
    path = tmp_path / "a.state"
    make(path)
    path.write_bytes(spoil(path.read_bytes()))
    (unreadable,) = read_states([str(tmp_path)]).unreadable
    assert why in unreadable.why


def test_what_is_no_file_holds_up_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.state")
    (tmp_path / "b.state").symlink_to(tmp_path / "a.state")
    (tmp_path / "c.state").mkdir()
    states = read_states([str(tmp_path)])
    assert len(states.unreadable) == 3
    assert not states.monitors


def test_a_torn_record_of_a_monitor_that_was_killed_is_counted_and_the_others_are_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.state"
    file = make(path, monitor=replace(me(), start_ticks=1))
    file.keep(FULL)
    file.keep(replace(FULL, name="other.service"))
    data = bytearray(path.read_bytes())
    offset, _ = state_format.span(1)
    data[offset : offset + 8] = struct.pack("@Q", 99)
    path.write_bytes(data)
    state = read_state(str(path))
    assert (state.torn, len(state.records), state.is_running) == (1, 1, False)


def test_a_monitor_is_known_by_its_process_and_not_by_the_next_of_that_pid() -> None:
    assert is_running(me())
    assert not is_running(replace(me(), start_ticks=1))
    assert not is_running(replace(me(), pid=1 << 22))
    assert not is_running(replace(me(), boot_id=b"x" * 16))
    assert is_running(replace(me(), boot_id=bytes(16)))


def test_targets_that_are_gone_make_room_and_what_finds_none_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    file = make(path, cells=2)
    assert file.keep(replace(FULL, name="a"))
    assert file.keep(replace(FULL, name="b"))
    assert not file.keep(replace(FULL, name="c"))
    file.lack(1)
    assert read_state(str(path)).monitor.unrecorded == 1
    file.forget("a")
    assert records(path)["a"].state == GONE
    assert file.past("a") is not None, "what it was asked is kept"
    assert file.keep(replace(FULL, name="c"))
    assert set(records(path)) == {"b", "c"}
    file.keep(Record("p[1]", is_unit=False, pid=1, requests=3))
    file.forget("b")
    file.keep(Record("p[1]", is_unit=False, pid=1, requests=3))
    file.forget("p[1]")
    assert set(records(path)) == {"c"}, "a process that has ended never comes back"


def test_the_next_monitor_of_the_same_name_knows_what_was_asked(tmp_path: Path) -> None:
    now_s = time.monotonic()
    directory = Path("/dev/shm") / f"memory-monitor-{os.getpid()}-{tmp_path.name}"
    directory.mkdir()
    try:
        environ = {"RUNTIME_DIRECTORY": str(directory)}
        first = OwnState(environ, is_users=False)
        assert first.open(4) is None
        asked = replace(FULL, budget_times_s=(now_s - 1,), first_asked_s=now_s - 1, asked_s=now_s - 1)
        first.keep(asked)
        first.keep(Record("never.service"))
        first.end()
        second = OwnState(environ, is_users=False)
        assert second.open(4) is None
        past = second.past(FULL.name)
        assert past is not None
        assert past.state == GONE
        assert (past.requests, past.budget_times_s) == (FULL.requests, asked.budget_times_s)
        assert (past.invocation_id, past.first_asked_s) == (FULL.invocation_id, now_s - 1)
        assert second.past("never.service") is None, "nothing is known of it"
    finally:
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()


def test_a_directory_that_is_missing_is_said_and_nothing_else_happens(tmp_path: Path) -> None:
    state = OwnState({"RUNTIME_DIRECTORY": str(tmp_path / "none")}, is_users=False)
    assert "No such file or directory" in str(state.open(4))
    assert state.keep(FULL)
    assert state.past(FULL.name) is None
    state.forget(FULL.name)
    state.end()


def test_a_directory_on_a_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_IN_MEMORY", ())
    state = OwnState({"RUNTIME_DIRECTORY": str(tmp_path)}, is_users=False)
    assert "isn't in memory (tmpfs)" in str(state.open(4))
    assert not list(tmp_path.iterdir())


def test_remains_of_killed_monitors_are_removed_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    dead = replace(me(), start_ticks=1)
    make(tmp_path / "memory-monitor-5-1.state", monitor=dead)
    (tmp_path / "memory-monitor-5-1.pause").write_text("")
    stay = {"memory-monitor-5-2.state", "memory-monitor-5-3.state", "memory-monitor.state"}
    make(tmp_path / "memory-monitor-5-2.state")
    (tmp_path / "memory-monitor-5-3.state").write_text("x")
    make(tmp_path / "memory-monitor.state", monitor=dead)  # Its service starts it again.
    keeping.remove_remains(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == stay


def test_a_file_that_grows_has_all_that_was_in_it_and_readers_find_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    file = make(path, cells=2)
    file.keep(replace(FULL, name="a"))
    file.keep(replace(FULL, name="b", requests=7))
    file.forget("a")
    before = records(path)
    libc = Libc()
    assert file.expect(3) == "there is room for 2 of 3 units"
    grown = file.grown(4, libc.map_file)
    libc.unmap_file(file.close())
    assert grown.expect(3) is None
    assert records(path) == before
    assert grown.keep(replace(FULL, name="b", requests=8))
    assert [grown.keep(replace(FULL, name=name)) for name in "cdef"] == [True, True, True, False]
    assert set(records(path)) == set("bcde"), "the one that is gone makes room"
    assert records(path)["b"].requests == 8


def test_a_monitor_makes_room_for_what_is_expected_where_there_is_memory_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with TemporaryDirectory(dir="/dev/shm") as directory:
        state = OwnState({"RUNTIME_DIRECTORY": directory}, is_users=False)
        assert state.open(2) is None
        state.keep(replace(FULL, name="a"))
        (path,) = Path(directory).iterdir()
        inode = path.stat().st_ino
        assert state.expect(2) is None
        assert path.stat().st_ino == inode
        monkeypatch.setattr(keeping, "own_headroom_bytes", lambda: 1 << 20)
        assert state.expect(3) == "there is room for 2 of 3 units, and no memory for more"
        monkeypatch.setattr(keeping, "own_headroom_bytes", lambda: 1 << 30)
        assert state.expect(400) is None
        assert all(state.keep(replace(FULL, name=str(number))) for number in range(400))
        assert len(read_state(str(path)).targets) == 401
        state.end()


@pytest.mark.parametrize(
    ("directory", "instance", "file"),
    [
        ("/run/memory-monitor", "my\\x2dapp@a.service", "memory-monitor@my\\x2dapp@a.state"),
        ("/run/memory-monitor", None, "memory-monitor.state"),
        ("/run/memory-monitor/memory-monitor@x", "x.service", "memory-monitor@x.state"),
    ],
)
def test_the_instances_of_the_template_share_a_directory_and_have_names_of_their_own(
    directory: str, instance: str | None, file: str
) -> None:
    place = own_place({"RUNTIME_DIRECTORY": directory}, instance, 1, 2, is_users=False)
    assert place is not None
    assert place.file(".state") == f"{directory}/{file}"
    assert place.is_lasting
