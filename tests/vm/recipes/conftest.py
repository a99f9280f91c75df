"""The recipes run in the machines that have their programs, by `make recipes`."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

HAS_PROGRAMS = shutil.which("gunicorn") is not None
HAS_CONTAINERS = shutil.which("podman") is not None

collect_ignore = [
    path.name
    for path in Path(__file__).parent.glob("test_*.py")
    if not (HAS_CONTAINERS if path.name == "test_containers.py" else HAS_PROGRAMS)
]


def pytest_terminal_summary(terminalreporter: "TerminalReporter") -> None:
    if not HAS_PROGRAMS and not HAS_CONTAINERS:
        terminalreporter.write_line("tests/vm/recipes was left out: it needs the programs; run make recipes")
