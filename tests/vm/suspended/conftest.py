"""A machine that is suspended takes its other tests along, and can be suspended once only.

python3 tests/vm/machine.py -- tests/vm/suspended
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest
    from _pytest.terminal import TerminalReporter

HERE = Path(__file__).parent
IN_THE_MACHINE = os.environ.get("MEMORY_MONITOR_VM") == "1"


def is_asked_for(config: "pytest.Config") -> bool:
    """Whether a file or directory of these was named, in the machine: no other is to be suspended."""
    return IN_THE_MACHINE and any(
        Path(config.invocation_params.dir, one).is_relative_to(HERE) for one in config.args
    )


def pytest_ignore_collect(config: "pytest.Config") -> bool | None:
    """Nothing here, unless it is asked for by name."""
    return None if is_asked_for(config) else True


def pytest_terminal_summary(terminalreporter: "TerminalReporter", config: "pytest.Config") -> None:
    if not is_asked_for(config):
        terminalreporter.write_line("tests/vm/suspended was left out: it needs a machine of its own")
