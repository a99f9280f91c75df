"""The recipes run in the machine that has their programs, by `make recipes`."""

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

HAS_PROGRAMS = shutil.which("gunicorn") is not None

collect_ignore_glob = [] if HAS_PROGRAMS else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: "TerminalReporter") -> None:
    if not HAS_PROGRAMS:
        terminalreporter.write_line("tests/vm/recipes was left out: it needs the programs; run make recipes")
