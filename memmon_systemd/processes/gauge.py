"""One process' memory."""

from __future__ import annotations

from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.schedule import OVER, SHORTEST_WAIT_S, WITHIN, LookResult, Schedule
from memmon_systemd.processes.table import Process
from memmon_systemd.settings import Metric


class ProcessGauge(Gauge):
    """One process: RSS, or PSS where RSS, its upper bound, doesn't settle it."""

    __slots__ = ("_process", "_swap")

    def __init__(self, process: Process, metric: Metric, swap: bool, schedule: Schedule) -> None:
        """A gauge on an open process."""
        super().__init__(metric, schedule)
        self._process = process
        self._swap = swap

    def look(self) -> LookResult:
        """What this moment says; smaps_rollup costs milliseconds, so PSS is only read near the threshold."""
        if self.metric is Metric.PSS:
            try:
                most_bytes = self._process.rss_bytes() + self._swap_bytes()
            except OSError:
                return self.look_closer()
            if most_bytes <= self.schedule.threshold_bytes * 3 // 4:
                return self._within(most_bytes)
        return self.look_closer()

    def look_closer(self) -> LookResult:
        """As of every gauge, but not above while it may be about to execute another program."""
        result = super().look_closer()
        if result is OVER:
            try:
                if self._process.may_execute():
                    self.wait_s = SHORTEST_WAIT_S
                    return WITHIN
            except OSError as error:
                return self._failed(error)
        return result

    def measure(self) -> int:
        """The metric now, in bytes."""
        read = self._process.pss_bytes if self.metric is Metric.PSS else self._process.rss_bytes
        return read() + self._swap_bytes()

    def _swap_bytes(self) -> int:
        return self._process.swap_bytes() if self._swap else 0
