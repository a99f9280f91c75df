"""A machine whose memory is taken away has to be small, and to have nothing else to do.

python3 tests/vm/machine.py --memory 512 -- tests/vm/starved
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

MOST_BYTES = 600 << 20
IS_SMALL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") <= MOST_BYTES

collect_ignore_glob = [] if IS_SMALL else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: "TerminalReporter") -> None:
    if not IS_SMALL:
        terminalreporter.write_line("tests/vm/starved was left out: it needs a machine with --memory 512")
