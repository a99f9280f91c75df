"""The end of start-up, where the system refuses what it needs."""

import errno
import gc
from collections.abc import Iterator

import pytest

from memmon_systemd.linux.libc import Libc
from memmon_systemd.resident.lock import FEW_BYTES, reserve_and_lock
from tests.unit.trees import linux_only

pytestmark = linux_only


class RefusedLibc(Libc):
    """Gets nothing of what it asks for, and does nothing to the process of the tests."""

    def keep_freed_memory(self) -> bool:
        return False

    def refuse_huge_pages(self) -> bool:
        return False

    def drop_range(self, start: int, size_bytes: int) -> None:
        return

    def lock_memory(self) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.fixture
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_each_thing_that_is_refused_is_said_and_the_paths_are_rehearsed_all_the_same() -> None:
    rehearsals: list[str] = []
    _, problems = reserve_and_lock(RefusedLibc(), lambda: rehearsals.append("one"), FEW_BYTES)
    assert [problem.split("(")[0] for problem in problems] == ["mallopt", "prctl", "memory isn't locked "]
    assert len(rehearsals) == 2
