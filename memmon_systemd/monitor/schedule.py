"""How long to wait until the next look: the ladder.

The ladder is stateless. At headroom h (limit less usage) the wait is h / growth, at least 50 ms and at
most the interval: a target that grows no faster than `growth` can't pass the limit by more than what it
takes in 50 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

SHORTEST_WAIT_S: Final = 0.05
"""Twenty looks a second at most; a nearer look would cost more than it prevents."""

STEPS: Final = 8
"""The cheap rungs cut the interval into eighths; from a quarter of it on, a closer look is due."""

_LADDERS_KEPT: Final = 32

BUFFER_BYTES: Final = 24
"""memory.current is at most 20 digits (2^64) and a newline."""


class Rung:
    """What one look says: how long to wait, or (`OVER`, `GONE`, `UNREADABLE`) why not to.

    A cheap rung also carries the highest reading at which it holds, as text: `length` counts the digits and
    the newline, `bound` is the digits and a byte above every other, so that an equal reading of as many
    digits compares as not greater. Comparing text makes no int; an int above 256 would be an allocation.
    """

    __slots__ = ("bound", "highest_bytes", "length", "next", "wait_s")

    def __init__(self, wait_s: float, highest_bytes: int = -1) -> None:
        """A rung that holds up to `highest_bytes`; without it, one that holds for every reading."""
        self.wait_s = wait_s
        self.highest_bytes = highest_bytes
        self.next: Rung = self
        digits = b"" if highest_bytes < 0 else b"%d" % highest_bytes
        self.length = BUFFER_BYTES + 1 if highest_bytes < 0 else len(digits) + 1
        self.bound = digits + b"\xff"


EXACT: Final = Rung(0.0)
"""Within the limit, by the exact headroom: `wait_s` is that of the last look, of whichever target.

One for all, for one look is over before the next begins: 110 bytes less for each target.
"""
OVER: Final = Rung(0.0)
"""The usage is strictly above the limit."""
GONE: Final = Rung(0.0)
"""What was measured is no more: the cgroup was removed, the process ended."""
UNREADABLE: Final = Rung(0.0)
"""The sample could not be read; the target may still be there."""
NEARER: Final = Rung(0.0)
"""The end of the cheap rungs: memory.current alone doesn't settle it, measure the metric itself."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """The waits for one limit, in bytes, bytes per second and seconds."""

    limit_bytes: int
    interval_s: float
    growth_bytes_per_s: float
    first: Rung = field(compare=False, repr=False)
    """The cheap rungs from the lowest readings up, a linked list that ends in `NEARER`.

    They hold while the reading alone leaves at least a quarter of the interval. A rung's wait is never
    longer than `wait_s` at any reading on it, so the promise on overshoot holds on them too.
    """

    @staticmethod
    @lru_cache(_LADDERS_KEPT)
    def climb(limit_bytes: int, interval_s: float, growth: int | None) -> Ladder:
        """A ladder; without `growth` (bytes per second) it is what fills the limit in one interval.

        Targets with the same limit share one: it is 1.1 kB.
        """
        growth_bytes_per_s = growth or limit_bytes / interval_s
        first = _cheap_rungs(limit_bytes, interval_s, growth_bytes_per_s)
        return Ladder(limit_bytes, interval_s, growth_bytes_per_s, first)

    def wait_s(self, usage_bytes: int) -> float:
        """How long to wait after a reading that is within the limit."""
        headroom_s = (self.limit_bytes - usage_bytes) / self.growth_bytes_per_s
        return min(max(headroom_s, SHORTEST_WAIT_S), self.interval_s)


def _cheap_rungs(limit_bytes: int, interval_s: float, growth_bytes_per_s: float) -> Rung:
    first = NEARER
    for step in range(STEPS // 4, STEPS + 1):
        headroom_s = interval_s * step / STEPS
        # In integers: as floats, a limit of 2^53 or more would be rounded up.
        highest_bytes = limit_bytes - math.ceil(headroom_s * growth_bytes_per_s)
        if highest_bytes < 0:
            break
        rung = Rung(max(headroom_s, min(SHORTEST_WAIT_S, interval_s)), highest_bytes)
        rung.next = first
        first = rung
    return first
