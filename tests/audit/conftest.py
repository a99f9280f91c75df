"""What every audit needs: Linux, the counting library, real processes; and its counts at the end."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.audit.counting import build_library
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


def pytest_terminal_summary(terminalreporter: "TerminalReporter") -> None:
    """What was counted in each test: its record_property values."""
    reports = [r for kind in ("passed", "failed", "xfailed") for r in terminalreporter.getreports(kind)]
    counted = [(r.location[2], r.user_properties) for r in reports if r.user_properties]
    if counted:
        terminalreporter.section("counts")
    for test, properties in counted:
        terminalreporter.write_line(f"{test}: {'; '.join(str(value) for _, value in properties)}")
