"""The tests of this directory run in the machine of machine.py, and nowhere else."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

IN_THE_MACHINE = os.environ.get("MEMORY_MONITOR_VM") == "1"

if IN_THE_MACHINE:
    # Behind the installed package: for the counters of tests/audit, not for the source of what is tested.
    sys.path.append(str(Path(__file__).parents[2]))

collect_ignore_glob = [] if IN_THE_MACHINE else ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def strict_units() -> None:
    """A system call that the shipped unit forbids kills the monitor, in every test."""
    if IN_THE_MACHINE:
        from shipped import be_strict

        be_strict()


@pytest.fixture(scope="module", autouse=True)
def no_configuration_is_left() -> Iterator[None]:
    """The next file's tests find /etc/memory-monitor as these did."""
    yield
    if IN_THE_MACHINE:
        from shipped import leave_no_configuration

        leave_no_configuration()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The machine as it was started comes first, what looks back at all the others last."""
    items.sort(key=lambda item: item.path.name != "test_the_machine.py")
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


def pytest_terminal_summary(terminalreporter: "TerminalReporter") -> None:
    if not IN_THE_MACHINE:
        terminalreporter.write_line(
            "tests/vm was left out: its tests need systemd; run python3 tests/vm/machine.py"
        )
