"""How many first requests are allowed in a sliding window (`--budget`), over all invocations."""

from __future__ import annotations

from collections.abc import Sequence

from memmon_systemd.monitor.target import Allowance
from memmon_systemd.settings import Rate


class Budget:
    """The requests of one unit, or of the processes of one name, in the window that ends now."""

    __slots__ = ("_made_s", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._made_s: list[float] = []

    def made(self, now_s: float) -> int:
        """How many requests the window holds; those that left it are forgotten."""
        begin_s = now_s - self.rate.window_s
        while self._made_s and self._made_s[0] <= begin_s:
            del self._made_s[0]
        return len(self._made_s)

    def allowance(self, now_s: float) -> Allowance:
        """What is left now."""
        made = self.made(now_s)
        free_at_s = self._made_s[0] + self.rate.window_s if self._made_s else 0.0
        return Allowance(made, self.rate.count, self.rate.window_s, free_at_s)

    @property
    def times_s(self) -> Sequence[float]:
        """When the requests were made that it holds, the oldest first."""
        return self._made_s

    def restore(self, times_s: Sequence[float]) -> None:
        """These were made before, by an earlier monitor."""
        self._made_s = sorted(times_s)

    def note(self, now_s: float) -> None:
        """A request was made."""
        self._made_s.append(now_s)
