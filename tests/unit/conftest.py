"""What the tests of the parts share: a deadline, monitors of trees of files, real children."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
import pytest

# Any: the options are those of the class that is made, which checks their names itself.
from tests.process.leaker import Leaker, build_leaker
from tests.unit.trees import Tree

LONGEST_TEST_S = 60

# A deadline for each example would make a failure of a machine that is busy.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """Fails what blocks or spins, instead of waiting for ever."""

    def fail(_number: int, _frame: FrameType | None) -> None:
        pytest.fail(f"not done after {LONGEST_TEST_S} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(LONGEST_TEST_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def started() -> Iterator[ExitStack]:
    """What is pushed here is ended after the test, last started first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start(tmp_path: Path, started: ExitStack) -> Callable[..., Tree]:
    """`start(arguments, memory=…, notifier=…)`, see Tree."""

    def start_tree(arguments: str, **options: Any) -> Tree:
        top = tmp_path / "cgroup"
        (top / "system.slice").mkdir(parents=True)
        tree = Tree(top, arguments, **options)
        started.callback(tree.close)
        return tree

    return start_tree


@pytest.fixture(scope="session")
def leaker_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_leaker(tmp_path_factory.mktemp("leaker"))


@pytest.fixture
def start_leaker(leaker_program: Path, tmp_path: Path, started: ExitStack) -> Callable[..., Leaker]:
    """`start_leaker(name, mib=…, ignore=…)`, see Leaker.start."""

    def start_child(name: str, **options: Any) -> Leaker:
        leaker = Leaker.start(leaker_program, tmp_path, name, **options)
        started.callback(leaker.kill)
        return leaker

    return start_child
