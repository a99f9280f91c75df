"""How fast what is checked grows: as it did in this invocation, or by an assumption; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from memmon_systemd.check.facts import Case
from memmon_systemd.formatting import format_bytes, format_growth, format_seconds

ASSUMED_BYTES_PER_S: Final = 1 << 20
"""A leak that is realistic, where nothing is known of this one."""
_YOUNGEST_S: Final = 60.0
"""What a younger invocation uses says how it starts, and nothing of how it grows."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A rate, and where it is from."""

    bytes_per_s: float
    is_seen: bool
    words: str
    """How a sentence begins that rests on it."""

    def time_s(self, size_bytes: int) -> float:
        """How long it takes to grow by so much; infinite where it doesn't grow."""
        return size_bytes / self.bytes_per_s if self.bytes_per_s else float("inf")


def growth_of(case: Case) -> Growth:
    """What it uses by the age of this invocation, where it is old enough; else an assumption.

    What it needed from the start is in that, too: the real growth is less.
    """
    usage_bytes, age_s = case.usage_bytes, case.subject.age_s
    if usage_bytes is None or age_s is None or age_s < _YOUNGEST_S:
        words = f"at {format_growth(ASSUMED_BYTES_PER_S, 1.0)} (assumed: it hasn't run for 1 min)"
        return Growth(ASSUMED_BYTES_PER_S, False, words)
    seen = f"{format_bytes(usage_bytes)} in {format_seconds(round(age_s))}"
    words = f"at {format_growth(usage_bytes, age_s)} (as in this invocation: {seen})"
    return Growth(usage_bytes / age_s, True, words)
