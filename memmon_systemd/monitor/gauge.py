"""How much memory a target uses, answered with what that means for it."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from typing import Final

from memmon_systemd.monitor.schedule import GONE, OVER, UNREADABLE, WITHIN, LookResult, Schedule
from memmon_systemd.settings import Metric

GONE_ERRNOS: Final = (errno.ENODEV, errno.ENOENT, errno.ESRCH)


class Gauge(ABC):
    """Measures one target."""

    __slots__ = ("metric", "schedule", "trouble", "usage_bytes", "wait_s")

    def __init__(self, metric: Metric, schedule: Schedule) -> None:
        """A gauge that compares `metric` with the threshold of `schedule`."""
        self.metric = metric
        self.schedule = schedule
        self.usage_bytes = 0
        """The last measured usage; a look that answers with a `Step` leaves it as it was."""
        self.wait_s = 0.0
        """How long to wait after the last look that answered with `WITHIN`."""
        self.trouble: str | None = None
        """Why the last sample was `UNREADABLE`, if it was."""

    @property
    def is_hard(self) -> bool:
        """Whether the last measured usage is above the hard threshold."""
        hard_bytes = self.schedule.hard_bytes
        return hard_bytes is not None and self.usage_bytes > hard_bytes

    @abstractmethod
    def measure(self) -> int:
        """The metric now, in bytes; OSError or ValueError where it can't be read."""

    def follow(self, schedule: Schedule) -> None:
        """Go on with another threshold."""
        self.schedule = schedule

    def close(self) -> None:  # noqa: B027 - most gauges hold nothing open
        """Give the descriptors back; the gauge is of no use afterwards."""

    def look(self) -> LookResult:
        """What this moment says; raises nothing."""
        return self.look_closer()

    def look_closer(self) -> LookResult:
        """Measure the metric itself; the wait comes from the exact headroom. Raises nothing."""
        try:
            usage_bytes = self.measure()
        except (OSError, ValueError) as error:
            return self._failed(error)
        self.usage_bytes = usage_bytes
        self.trouble = None
        if usage_bytes > self.schedule.threshold_bytes:
            return OVER
        return self._within(usage_bytes)

    def _within(self, usage_bytes: int) -> LookResult:
        self.wait_s = self.schedule.wait_s(usage_bytes)
        return WITHIN

    def _failed(self, error: Exception) -> LookResult:
        if isinstance(error, OSError) and error.errno in GONE_ERRNOS:
            return GONE
        self.trouble = str(error)
        return UNREADABLE
