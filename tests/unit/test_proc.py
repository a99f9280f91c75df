"""What /proc and the limits of this process can answer besides the usual."""

import os
import resource
from pathlib import Path

import pytest

from memmon_systemd.linux import proc
from tests.unit.trees import linux_only

pytestmark = linux_only


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What the limit was set to; the kernel takes no more than fs.nr_open (setrlimit(2))."""
    asked: list[tuple[int, int]] = []
    nr_open = int(Path("/proc/sys/fs/nr_open").read_text())

    def setrlimit(_: int, limits: tuple[int, int]) -> None:
        if max(limits) > nr_open:
            raise ValueError("not allowed to raise maximum limit")
        asked.append(limits)

    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    return asked


def test_as_many_descriptors_are_allowed_as_the_hard_limit_does(
    limits: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    proc.raise_descriptor_limit()
    assert limits == [(4096, 4096)]


def test_a_hard_limit_above_what_the_kernel_allows_is_cut_to_that(
    limits: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    nr_open = int(Path("/proc/sys/fs/nr_open").read_text())
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 2 * nr_open))
    proc.raise_descriptor_limit()
    assert limits == [(nr_open, nr_open)]


def test_a_refused_limit_is_an_error_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    with pytest.raises(OSError, match="not allowed"):
        proc.raise_descriptor_limit()


def test_this_process_knows_its_users_and_its_directory() -> None:
    assert proc.user_ids(os.getpid()) == (*os.getresuid(), os.geteuid())
    assert proc.memory_directory(os.getpid()) == f"/proc/{os.getpid()}"


def test_the_first_of_some_processes_is_the_oldest_whose_parent_is_none_of_them() -> None:
    assert proc.first_of([os.getpid(), os.getppid()]) == os.getppid()
    assert proc.first_of([os.getpid()]) == os.getpid()
    assert proc.first_of([]) is None
