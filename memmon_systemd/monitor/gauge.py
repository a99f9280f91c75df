"""How much memory a target uses, answered with a rung of the ladder."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from typing import Final, Protocol

from memmon_systemd.monitor.schedule import EXACT, GONE, OVER, UNREADABLE, Ladder, Rung
from memmon_systemd.settings import Metric

GONE_ERRNOS: Final = (errno.ENODEV, errno.ENOENT, errno.ESRCH)


class Gauge(ABC):
    """Measures one target and answers with a rung."""

    __slots__ = ("ladder", "metric", "trouble", "usage_bytes")

    def __init__(self, metric: Metric, ladder: Ladder) -> None:
        """A gauge whose rungs are those of `ladder`."""
        self.metric = metric
        self.ladder = ladder
        self.usage_bytes = 0
        """The last measured usage; a cheap look leaves it as it was."""
        self.trouble = ""
        """Why the last sample was `UNREADABLE`, if it was."""

    @abstractmethod
    def measure(self) -> int:
        """The metric now, in bytes; OSError or ValueError where it can't be read."""

    def climb(self, ladder: Ladder) -> None:
        """Go on with another limit."""
        self.ladder = ladder

    def close(self) -> None:  # noqa: B027 - most gauges hold nothing open
        """Give the descriptors back; the gauge is of no use afterwards."""

    def look(self) -> Rung:
        """The rung of this moment; raises nothing."""
        return self.look_closer()

    def look_closer(self) -> Rung:
        """Measure the metric itself; the wait comes from the exact headroom."""
        try:
            usage_bytes = self.measure()
        except (OSError, ValueError) as error:
            return self._failed(error)
        self.usage_bytes = usage_bytes
        self.trouble = ""
        if usage_bytes > self.ladder.limit_bytes:
            return OVER
        EXACT.wait_s = self.ladder.wait_s(usage_bytes)
        return EXACT

    def _failed(self, error: Exception) -> Rung:
        if isinstance(error, OSError) and error.errno in GONE_ERRNOS:
            return GONE
        self.trouble = str(error)
        return UNREADABLE


class Readable(Protocol):
    """What a process gauge reads; OSError (ESRCH, EACCES) where it can't."""

    def rss_bytes(self) -> int:
        """Resident set size."""

    def pss_bytes(self) -> int:
        """Proportional set size: shared pages divided by those who share them."""

    def swap_bytes(self) -> int:
        """What of it is in swap."""


class ProcessGauge(Gauge):
    """One process: RSS, or PSS where RSS, its upper bound, doesn't settle it."""

    __slots__ = ("_process", "_swap")

    def __init__(self, process: Readable, metric: Metric, swap: bool, ladder: Ladder) -> None:
        """A gauge on an open process."""
        super().__init__(metric, ladder)
        self._process = process
        self._swap = swap

    def look(self) -> Rung:
        """The rung of this moment; smaps_rollup costs milliseconds, so PSS is only read near the limit."""
        if self.metric is Metric.PSS:
            try:
                most_bytes = self._process.rss_bytes() + self._swap_bytes()
            except OSError:
                return self.look_closer()
            if most_bytes <= self.ladder.limit_bytes * 3 // 4:
                EXACT.wait_s = self.ladder.wait_s(most_bytes)
                return EXACT
        return self.look_closer()

    def measure(self) -> int:
        """The metric now, in bytes."""
        read = self._process.pss_bytes if self.metric is Metric.PSS else self._process.rss_bytes
        return read() + self._swap_bytes()

    def _swap_bytes(self) -> int:
        return self._process.swap_bytes() if self._swap else 0
