"""Where a line goes, and what is common to all such places.

A reader that stopped reading never blocks the monitor. What can't be written at once is dropped and
counted, and the next line that can be written comes behind one that tells how many are missing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, Protocol

WARNING: Final = 4  # as in syslog(3)
_CUT: Final = b"..."


class Sink(Protocol):
    """Takes the lines for the user; dropped is the number of lines that were lost so far."""

    dropped: int

    def write(self, message: str, priority: int, fields: Sequence[tuple[str, str]]) -> None:
        """One line of syslog(3)'s priority, with journal fields; never blocks, never raises."""

    def rehearse(self, message: str, priority: int, fields: Sequence[tuple[str, str]]) -> None:
        """Go the whole way of a line, but write nothing."""


class DroppingSink(ABC):
    """Counts what could not be written, and tells it before the next line that can be."""

    def __init__(self) -> None:
        self.dropped = 0
        self._untold = 0

    def write(self, message: str, priority: int, fields: Sequence[tuple[str, str]]) -> None:
        """Writes the line at once or drops it; never blocks, never raises."""
        if self._untold and self._put(_dropped_line(self._untold), WARNING, ()):
            self._untold = 0
        if self._untold or not self._put(message, priority, fields):
            self.dropped += 1
            self._untold += 1

    @abstractmethod
    def rehearse(self, message: str, priority: int, fields: Sequence[tuple[str, str]]) -> None:
        """Goes the whole way of a line, but writes nothing."""

    @abstractmethod
    def _put(self, message: str, priority: int, fields: Sequence[tuple[str, str]], /) -> bool:
        """Whether the whole line could be written at once."""


def _dropped_line(count: int) -> str:
    lines = "1 line was" if count == 1 else f"{count} lines were"
    return f"{lines} dropped because nobody read {'it' if count == 1 else 'them'}"


def cut(data: bytes, most_bytes: int) -> bytes:
    """The data, or its beginning and an ellipsis, in so many bytes."""
    if len(data) <= most_bytes:
        return data
    return data[: most_bytes - len(_CUT)].decode(errors="ignore").encode() + _CUT
