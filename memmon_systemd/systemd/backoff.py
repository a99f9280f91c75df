"""When to try again what failed: each try that fails may leak memory, so the pauses grow."""

from __future__ import annotations

from typing import Final

from memmon_systemd.systemd.errors import BusError


class Backoff:
    """When to try again what failed: after 1 s, 2 s, 4 s, … up to an hour."""

    __slots__ = ("_again_s", "_pause_s", "failure")
    LONGEST_S: Final = 3600.0

    def __init__(self) -> None:
        self._pause_s = 0.0
        self._again_s = 0.0
        self.failure: BusError | None = None
        """What failed last."""

    def is_due(self, now_s: float) -> bool:
        """Whether a try is allowed now."""
        return now_s >= self._again_s

    def failed(self, now_s: float, failure: BusError, longest_s: float = LONGEST_S) -> None:
        """A try failed: the next pause is twice as long, but `longest_s` at most."""
        self.failure = failure
        self._pause_s = min(max(2 * self._pause_s, 1.0), longest_s)
        self._again_s = now_s + self._pause_s

    def hasten(self, longest_s: float) -> None:
        """What was refused may be granted now: the pause that runs is one of `longest_s` at most."""
        self._again_s -= max(self._pause_s - longest_s, 0.0)
        self._pause_s = min(self._pause_s, longest_s)

    def worked(self) -> None:
        """A try worked: the next failure starts from 1 s."""
        self._pause_s = 0.0
        self._again_s = 0.0
