"""The reserve of charge: held while there is room below the limit, given back when there isn't."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from memmon_systemd.resident.charge import RESERVE_BYTES, ChargeReserve
from tests.unit.trees import linux_only

pytestmark = linux_only
MIB = 1 << 20


class Group:
    """A cgroup of plain files."""

    def __init__(self, directory: Path, limit: int | None, current_bytes: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.set(limit, current_bytes)

    def set(self, limit: int | None, current_bytes: int) -> None:
        (self._directory / "memory.max").write_text(f"{'max' if limit is None else limit}\n")
        (self._directory / "memory.current").write_text(f"{current_bytes}\n")


def held_bytes() -> int:
    """The size of all pipes of this process that are as large as the reserve."""
    sizes = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("pipe:"):
                sizes.append(fcntl.fcntl(int(name), fcntl.F_GETPIPE_SZ))
        except OSError:
            continue
    return sum(size for size in sizes if size == RESERVE_BYTES) // 2


@contextmanager
def reserve(*directories: Path) -> Iterator[ChargeReserve]:
    made = ChargeReserve([str(one) for one in directories])
    try:
        yield made
    finally:
        made.close()


def test_it_is_held_below_a_limit_that_is_far(tmp_path: Path) -> None:
    Group(tmp_path, 128 * MIB, 14 * MIB)
    with reserve(tmp_path) as room:
        room.make()
        assert held_bytes() == RESERVE_BYTES
    assert held_bytes() == 0


def test_every_page_of_the_pipe_is_filled(tmp_path: Path) -> None:
    Group(tmp_path, None, 14 * MIB)
    with reserve(tmp_path) as room:
        assert room._pipe is not None
        with pytest.raises(BlockingIOError):
            os.write(room._pipe[1], b"x")


@pytest.mark.parametrize("left_bytes", [0, 1, 100_000, -5])
def test_at_the_limit_it_is_given_back_for_good_while_that_lasts(tmp_path: Path, left_bytes: int) -> None:
    group = Group(tmp_path, None, 14 * MIB)
    with reserve(tmp_path) as room:
        group.set(14 * MIB, 14 * MIB - left_bytes)
        room.make()
        assert held_bytes() == 0
        group.set(14 * MIB, 14 * MIB - RESERVE_BYTES)  # What it gave back is all that is left.
        room.make()
        assert held_bytes() == 0


def test_it_is_taken_again_when_the_limit_is_raised(tmp_path: Path) -> None:
    group = Group(tmp_path, 14 * MIB, 14 * MIB)
    with reserve(tmp_path) as room:
        room.make()
        for limit in (128 * MIB, None):
            group.set(14 * MIB, 14 * MIB)
            room.make()
            assert held_bytes() == 0
            group.set(limit, 13 * MIB)
            room.make()
            assert held_bytes() == RESERVE_BYTES


def test_the_limit_of_a_slice_above_counts_too(tmp_path: Path) -> None:
    above, below = Group(tmp_path, None, 90 * MIB), Group(tmp_path / "a.service", None, 14 * MIB)
    with reserve(tmp_path / "a.service", tmp_path) as room:
        above.set(90 * MIB, 90 * MIB)
        room.make()
        assert held_bytes() == 0
        above.set(900 * MIB, 90 * MIB)
        below.set(14 * MIB, 14 * MIB)
        room.make()
        assert held_bytes() == 0


def test_a_limit_with_fewer_digits_than_the_use_is_near(tmp_path: Path) -> None:
    group = Group(tmp_path, None, 10_000_000)
    with reserve(tmp_path) as room:
        group.set(9_999_999, 10_000_000)
        room.make()
        assert held_bytes() == 0


def test_where_no_cgroup_has_a_limit_nothing_is_held(tmp_path: Path) -> None:
    with reserve(tmp_path) as room:
        room.make()
        room.rehearse()
        assert held_bytes() == 0


def test_after_the_rehearsal_it_is_held_as_before(tmp_path: Path) -> None:
    Group(tmp_path, 128 * MIB, 14 * MIB)
    with reserve(tmp_path) as room:
        room.rehearse()
        assert held_bytes() == RESERVE_BYTES


def test_a_pipe_that_may_not_be_so_large_is_an_error_and_nothing_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Group(tmp_path, None, 14 * MIB)

    def refuse(*_: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    with pytest.raises(PermissionError):
        ChargeReserve([str(tmp_path)])
    monkeypatch.undo()
    assert held_bytes() == 0
