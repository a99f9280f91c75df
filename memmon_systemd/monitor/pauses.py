"""Pauses: targets of which nothing is asked for a while, by somebody's wish."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Pause:
    """A name, or a glob of names, that is paused."""

    pattern: str
    until_s: float
    """On the monotonic clock; infinite: until it is resumed."""

    def covers(self, name: str) -> bool:
        """Whether a target of this name is meant."""
        return name == self.pattern or fnmatchcase(name, self.pattern)


class Pauses:
    """Those that are in force now."""

    __slots__ = ("in_force", "text")

    def __init__(self) -> None:
        self.in_force: Sequence[Pause] = ()
        self.text = ""
        """What the service's status ends with: nothing, or "; paused until 14:05"."""

    def until_s(self, name: str) -> float | None:
        """Until when a target is paused; None: it isn't."""
        return max((pause.until_s for pause in self.in_force if pause.covers(name)), default=None)

    @property
    def next_end_s(self) -> float:
        """When the first of them ends; infinite: never."""
        return min((pause.until_s for pause in self.in_force), default=math.inf)
