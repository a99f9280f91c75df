"""What targets have used in the last seconds, as a line of small bars."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from memmon_systemd.ctl.view import Row

READINGS: Final = 16
_BARS: Final = "▁▂▃▄▅▆▇█"
_PLAIN_BARS: Final = "._-~=+*#"
"""Where the terminal's character set has no others."""


class Trends:
    """The last readings of each target."""

    def __init__(self, *, is_plain: bool) -> None:
        self._bars = _PLAIN_BARS if is_plain else _BARS
        self._readings: dict[str, deque[int]] = {}

    def note(self, rows: Iterable[Row]) -> None:
        """One more reading of each; those that are gone are forgotten."""
        before, self._readings = self._readings, {}
        for row in rows:
            readings = before.get(key(row)) or deque(maxlen=READINGS)
            if row.usage_bytes is not None:
                readings.append(row.usage_bytes)
            self._readings[key(row)] = readings

    def line(self, row: Row) -> str:
        """The bars of one: the lowest is its lowest reading, and one that doesn't change is flat."""
        readings = self._readings.get(key(row), ())
        if not readings:
            return ""
        low, high = min(readings), max(readings)
        # What changes by less than a hundredth of the threshold is no trend.
        span = max(high - low, row.record.threshold_bytes // 100, 1)
        return "".join(self._bars[(one - low) * (len(self._bars) - 1) // span] for one in readings)


def key(row: Row) -> str:
    """One target of one monitor: two may have the same."""
    return f"{row.monitor}/{row.record.name}/{row.record.pid}"
