"""Waiting for conditions with a deadline, and lines that a process writes to a file."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.005


def eventually(
    condition: Callable[[], T | None],
    deadline_s: float,
    what: str,
    detail: Callable[[], str] = str,
) -> T:
    """The first true value that `condition` gives.

    Raises:
        AssertionError: at the deadline; names `what`, followed by the `detail` of that moment.
    """
    end_s = time.monotonic() + deadline_s
    while True:
        # Taken first: however late this thread comes to run, the condition is asked after the end.
        last = time.monotonic() > end_s
        value = condition()
        if value:
            return value
        if last:
            raise AssertionError(f"not within {deadline_s} s: {what}{detail()}")
        time.sleep(POLL_S)


def eventually_or_ended(
    condition: Callable[[], T | None],
    deadline_s: float,
    what: str,
    running: Callable[[], bool],
    output: "Output",
) -> T:
    """As eventually(), but a process that has ended is not waited for; errors show its output."""

    def met() -> T | None:
        # Asked first: what was said just before the end is seen by this very condition.
        still_running = running()
        value = condition()
        assert value or still_running, f"ended before {what}{output}"
        return value

    return eventually(met, deadline_s, what, output.__str__)


class Output:
    """The file that a process writes its lines to: it never blocks the writer."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        """To end an error message with."""
        return f"; its output:\n{self.path.read_text(errors='replace')}"

    @property
    def lines(self) -> list[str]:
        """The whole lines so far, without their ends."""
        return self.path.read_text(errors="replace").split("\n")[:-1]

    def first_line_with(self, pattern: str) -> str | None:
        """The first line in which the regular expression is found."""
        return next((line for line in self.lines if re.search(pattern, line)), None)
