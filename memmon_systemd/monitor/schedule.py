"""How long to wait until the next look: the nearer to the threshold, the shorter.

The schedule is stateless. At headroom h (threshold less usage) the wait is h / growth, at least 50 ms and at
most the interval: a target that grows no faster than `growth` can't pass the threshold by more than what it
takes in 50 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from memmon_systemd.settings import TargetSettings

SHORTEST_WAIT_S: Final = 0.05
"""Twenty looks a second at most; a nearer look would cost more than it prevents."""

STEPS: Final = 8
"""The steps cut the interval into eighths; from a quarter of it on, a closer look is due."""

_SCHEDULES_KEPT: Final = 32

BUFFER_BYTES: Final = 24
"""memory.current is at most 20 digits (2^64) and a newline."""


class LookResult:
    """What one look says of a target. There is one object for each, so that a look makes none."""

    __slots__ = ("is_within",)

    def __init__(self, *, is_within: bool) -> None:
        """`is_within`: the target was measured, and is not above its threshold."""
        self.is_within = is_within


WITHIN: Final = LookResult(is_within=True)
"""Not above the threshold, by the metric itself; `Gauge.wait_s` says how long to wait."""
OVER: Final = LookResult(is_within=False)
"""The usage is strictly above the threshold."""
GONE: Final = LookResult(is_within=False)
"""What was measured is no more: the cgroup was removed, the process ended."""
UNREADABLE: Final = LookResult(is_within=False)
"""The sample could not be read; the target may still be there."""


class Step(LookResult):
    """Far within the threshold, by memory.current alone; and for how long that holds.

    It has the highest reading at which it holds as text: `length` counts the digits and the newline, `bound`
    is the digits and a byte above every other, so that an equal reading of as many digits compares as not
    greater. Comparing text makes no int; an int above 256 would be an allocation.
    """

    __slots__ = ("bound", "highest_bytes", "length", "next", "wait_s")

    def __init__(self, wait_s: float, highest_bytes: int, following: Step | None) -> None:
        """A step that holds up to `highest_bytes`; the one without a `following` holds for every reading."""
        super().__init__(is_within=True)
        self.wait_s = wait_s
        self.highest_bytes = highest_bytes
        self.next: Step = self if following is None else following
        digits = b"%d" % highest_bytes
        self.length = BUFFER_BYTES + 1 if following is None else len(digits) + 1
        self.bound = digits + b"\xff"


NEARER: Final = Step(0.0, 0, None)
"""The end of the steps, and no result: memory.current alone doesn't settle it, measure the metric itself."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The waits for one threshold, in bytes, bytes per second and seconds."""

    threshold_bytes: int
    hard_bytes: int | None
    """The hard threshold, above the other one; None: there is none."""
    interval_s: float
    growth_bytes_per_s: float
    is_of_machine: bool
    """Whether the threshold is a share of all the memory that there is, for no limit is lower."""
    first: Step = field(compare=False, repr=False)
    """The steps from the lowest readings up, a linked list that ends in `NEARER`.

    They hold while the reading alone leaves at least a quarter of the interval. A step's wait is never
    longer than `wait_s` at any reading on it, so the promise on overshoot holds on them too.
    """

    @property
    def is_hard_only(self) -> bool:
        """Whether the hard threshold is all there is: the other one isn't below it."""
        return self.hard_bytes is not None and self.hard_bytes <= self.threshold_bytes

    def wait_s(self, usage_bytes: int) -> float:
        """How long to wait after a reading that is within the threshold, or within the hard one."""
        next_bytes = self.threshold_bytes
        if self.hard_bytes is not None and usage_bytes > next_bytes:
            next_bytes = self.hard_bytes
        headroom_s = (next_bytes - usage_bytes) / self.growth_bytes_per_s
        return min(max(headroom_s, SHORTEST_WAIT_S), self.interval_s)


def schedule_of(settings: TargetSettings, limit_bytes: int, *, is_of_machine: bool = False) -> Schedule:
    """The waits of a target below its thresholds; of those that are a share, of `limit_bytes`.

    Where the hard threshold isn't above the other one, as shares can make it, the lower one is both.
    """
    threshold_bytes = settings.threshold.threshold_bytes(limit_bytes)
    hard_bytes = None
    if settings.hard_threshold is not None:
        hard_bytes = settings.hard_threshold.threshold_bytes(limit_bytes)
        threshold_bytes = min(threshold_bytes, hard_bytes)
    is_of_machine = is_of_machine and settings.threshold.follows_limit
    return schedule_for(
        threshold_bytes, settings.interval_s, settings.growth_bytes_per_s, hard_bytes, is_of_machine
    )


def search_interval_s(settings: TargetSettings) -> float:
    """How often to look for new targets, where nothing reports them, in seconds.

    One that begins at nothing is found before it passes the threshold, as long as it grows no faster than
    `growth`. Of a share nothing is known before there is a target: then it is the interval.
    """
    if settings.growth_bytes_per_s is None or settings.threshold.follows_limit:
        return settings.interval_s
    way_s = settings.threshold.threshold_bytes(0) / settings.growth_bytes_per_s
    return min(max(way_s, SHORTEST_WAIT_S), settings.interval_s)


@lru_cache(_SCHEDULES_KEPT)
def schedule_for(
    threshold_bytes: int,
    interval_s: float,
    growth_bytes_per_s: int | None = None,
    hard_bytes: int | None = None,
    is_of_machine: bool = False,
) -> Schedule:
    """The schedule; without a growth it is the one that fills the threshold in one interval.

    Targets with the same threshold share one: it is 1.1 kB.
    """
    # A share of MemoryMax=0 is 0 bytes.
    growth = growth_bytes_per_s or max(threshold_bytes, 1) / interval_s
    return Schedule(
        threshold_bytes,
        hard_bytes,
        interval_s,
        growth,
        is_of_machine,
        _steps(threshold_bytes, interval_s, growth),
    )


def _steps(threshold_bytes: int, interval_s: float, growth_bytes_per_s: float) -> Step:
    first = NEARER
    for eighths in range(STEPS // 4, STEPS + 1):
        headroom_s = interval_s * eighths / STEPS
        # In integers: as floats, a threshold of 2^53 or more would be rounded up.
        highest_bytes = threshold_bytes - math.ceil(headroom_s * growth_bytes_per_s)
        if highest_bytes < 0:
            break
        first = Step(max(headroom_s, min(SHORTEST_WAIT_S, interval_s)), highest_bytes, first)
    return first
