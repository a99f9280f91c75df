"""The tests of this directory run in the machine of machine.py, and nowhere else."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

IN_THE_MACHINE = os.environ.get("MEMORY_MONITOR_VM") == "1"

collect_ignore_glob = [] if IN_THE_MACHINE else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: "TerminalReporter") -> None:
    if not IN_THE_MACHINE:
        terminalreporter.write_line(
            "tests/vm was left out: its tests need systemd; run python3 tests/vm/machine.py"
        )
