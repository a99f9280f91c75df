"""Fixtures that start real processes and end every one of them, by its own PID."""

import os
import pwd
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

# Any: the options are those of the class that is started, which checks their names itself.
from tests.process.kit import IN_MEMORY, MonitorProcess
from tests.process.leaker import Crowd, Leaker, build_leaker
from tests.process.namespace import PidNamespace
from tests.process.stuck import Stuck, build_stuck


@pytest.fixture(scope="session", autouse=True)
def linux() -> None:
    if sys.platform != "linux":
        pytest.skip("tests with real processes need Linux: prctl, signalfd, /proc")


@pytest.fixture(scope="session")
def leaker_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_leaker(tmp_path_factory.mktemp("leaker"))


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    """What is pushed here is ended after the test, last started first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def namespace(leaker_program: Path, tmp_path: Path, processes: ExitStack) -> PidNamespace:
    """PIDs that no other process of this machine takes, and a /proc where none shows."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a PID namespace is made by nobody else")
    return processes.enter_context(PidNamespace(leaker_program, tmp_path))


@pytest.fixture
def start_leaker(leaker_program: Path, tmp_path: Path, processes: ExitStack) -> Callable[..., Leaker]:
    """`start_leaker(name, mib=…, grow_kib_s=…, ignore=…, uid=…)`, see Leaker.start."""

    def start(name: str, **options: Any) -> Leaker:
        leaker = Leaker.start(leaker_program, tmp_path, name, **options)
        processes.callback(leaker.kill)
        return leaker

    return start


@pytest.fixture
def start_crowd(leaker_program: Path, tmp_path: Path, processes: ExitStack) -> Callable[..., Crowd]:
    """`start_crowd(name, count, mib=…, ignore=…, uid=…)`, see Crowd.start."""

    def start(name: str, count: int, **options: Any) -> Crowd:
        crowd = Crowd.start(leaker_program, tmp_path, name, count, **options)
        processes.callback(crowd.kill)
        return crowd

    return start


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where state files are mapped: in memory, as those of monitors are."""
    with TemporaryDirectory(prefix="memory-monitor-", dir=IN_MEMORY) as found:
        yield Path(found)


@pytest.fixture(scope="session")
def stuck_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_stuck(tmp_path_factory.mktemp("stuck"))


@pytest.fixture
def start_stuck(stuck_program: Path, tmp_path: Path, processes: ExitStack) -> Callable[..., Stuck]:
    """`start_stuck(name, mib=…, uid=…, namespace=…)`, see Stuck."""

    def start(name: str, **options: Any) -> Stuck:
        directory = tmp_path / f"stuck-{time.monotonic_ns()}"
        return processes.enter_context(Stuck(stuck_program, directory, name, **options))

    return start


@pytest.fixture
def start_monitor(tmp_path: Path, processes: ExitStack) -> Callable[..., MonitorProcess]:
    """`start_monitor(*arguments, prefix=…, environment=…)`, see MonitorProcess."""

    def start(*arguments: str, **options: Any) -> MonitorProcess:
        return processes.enter_context(MonitorProcess(tmp_path, *arguments, **options))

    return start


@pytest.fixture
def another_uid() -> int:
    """A user who isn't the one that runs the tests; to become that user takes root."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a process of another user can be started by nobody else")
    return pwd.getpwnam("nobody").pw_uid
