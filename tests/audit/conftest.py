"""What every audit needs: Linux, the counting library, real processes; and its counts at the end."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.audit.counting import build_library
from tests.audit.fake_systemd import FakeSystemd, fake_systemd
from tests.process.conftest import (  # noqa: F401 - fixtures are found by their names
    leaker_program,
    namespace,
    processes,
    start_crowd,
    start_leaker,
    start_monitor,
)

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


@pytest.fixture(scope="session", autouse=True)
def linux() -> None:
    if sys.platform != "linux":
        pytest.skip("the audit needs Linux: LD_PRELOAD, strace, /proc")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("count_calls"))


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[FakeSystemd]:
    with fake_systemd(tmp_path) as systemd:
        yield systemd


COUNTS: Final = pytest.StashKey[list[str]]()


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """Shows what a test counted at the end of the run, passed or not."""
    lines = request.config.stash.setdefault(COUNTS, [])
    return lambda counted: lines.append(f"{request.node.name}: {counted}")


def pytest_terminal_summary(terminalreporter: "TerminalReporter") -> None:
    counts = terminalreporter.config.stash.get(COUNTS, [])
    if counts:
        terminalreporter.section("counts")
    for line in counts:
        terminalreporter.write_line(line)
