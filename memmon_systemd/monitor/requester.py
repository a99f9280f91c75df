"""One request: the last questions before it, the request, and what became of it."""

from __future__ import annotations

from memmon_systemd.formatting import signal_name
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.policy import State
from memmon_systemd.monitor.poller import Poller
from memmon_systemd.monitor.report import Report
from memmon_systemd.monitor.schedule import OVER, UNREADABLE, LookResult
from memmon_systemd.monitor.status import Status
from memmon_systemd.monitor.target import Outcome, Target


class Requester:
    """Makes requests of targets, and counts what can't be read."""

    __slots__ = ("_poller", "_report", "_status")

    def __init__(self, poller: Poller, report: Report, status: Status) -> None:
        self._poller = poller
        self._report = report
        self._status = status

    def request(self, target: Target, gauge: Gauge, now_s: float) -> bool:
        """Make the request, unless it is another invocation by now or a second reading is within.

        Whether the list of targets may have changed.
        """
        try:
            is_same = target.is_same()
        except OSError as error:
            why = f"can't tell if it is still the same process ({error})"
            self._failed(target, Outcome(is_done=False, sentence=why), now_s)
            return False
        if not is_same:
            target.enter(State.OK, now_s)
            return True
        # The question can take a second, and be cut short by the signal that ends the monitor.
        if self._poller.is_interrupted or self.look_closer(target, gauge) is not OVER:
            return False
        outcome = _would(target) if target.settings.dry_run else target.request(now_s)
        if target.has_ended:
            return True
        if outcome.is_under_way:
            target.enter(State.SIGNALLED, now_s)
        elif outcome.is_done:
            target.failure = None
            target.enter(State.SIGNALLED, now_s)
            self._status.requests += 1
            self._report.requested(target, outcome)
        else:
            self._failed(target, outcome, now_s)
        return False

    def is_another(self, target: Target) -> bool:
        """Whether it is another invocation or process by now; not where that can't be read."""
        try:
            return not target.is_same()
        except OSError:
            return False  # It is read again before the next request.

    def look_closer(self, target: Target, gauge: Gauge) -> LookResult:
        """Measure the metric itself; a reading that fails is counted."""
        result = gauge.look_closer()
        if result is UNREADABLE:
            self.count_unreadable(target, gauge)
        return result

    def count_unreadable(self, target: Target, gauge: Gauge) -> None:
        """Count a reading that failed; the first of a target is said."""
        target.unreadable += 1
        if target.unreadable == 1:
            trouble = str(gauge.trouble)
            is_minor = target.is_minor_trouble()
            self._report.warn.memory_unreadable(target.name, target.unit, trouble, is_minor=is_minor)
        self._status.blind(target, gauge)

    def _failed(self, target: Target, outcome: Outcome, now_s: float) -> None:
        """Said once while the reason stays the same; tried again at the next look."""
        if outcome.sentence != target.failure:
            self._report.request_failed(target, outcome)
        target.failure = outcome.sentence
        target.enter(State.OVER, now_s - target.settings.for_s)


def _would(target: Target) -> Outcome:
    if target.settings.restart:
        return Outcome(is_done=True, sentence="would restart it (dry run)")
    name = signal_name(target.settings.signal_number)
    return Outcome(is_done=True, sentence=f"would send {name} (dry run)")
