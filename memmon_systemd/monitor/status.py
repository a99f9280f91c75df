"""The service's status while the one target is `ok`: what `systemctl status` shows, kept up to date.

While memory.current alone settles the look, the metric is not known, and no sentence may be made: that would
allocate memory. So there is one for each step of the schedule, made when the target begins. Nearer to the
threshold the status has the reading itself, when that has moved by a hundredth of the threshold, once in an
interval. Several targets: the last change of any is shown.
"""

from __future__ import annotations

import time
from typing import Final

from memmon_systemd.formatting import format_bytes, format_seconds
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.schedule import NEARER, LookResult, Schedule, Step
from memmon_systemd.monitor.target import Target, TargetList
from memmon_systemd.output.notify import Notifier, status_message
from memmon_systemd.settings import Settings

_NOTHING: Final = -(2**63)
"""No reading is near it."""


class Status:
    """Keeps STATUS= up to date; `result` is the look that it speaks of now, of `target`."""

    __slots__ = (
        "_due_s",
        "_is_blind",
        "_messages",
        "_names",
        "_notifier",
        "_schedule",
        "_since",
        "_told_bytes",
        "requests",
        "result",
        "target",
    )

    def __init__(self, settings: Settings, notifier: Notifier) -> None:
        """A status without a target; requests are counted from now."""
        self._names = settings.names
        self._notifier = notifier
        self._since = time.strftime("%Y-%m-%d %H:%M")
        self._schedule: Schedule | None = None
        self._messages: dict[Step, bytes] = {}
        self._due_s = 0.0
        self._is_blind = False
        self._told_bytes = _NOTHING
        self.requests = 0
        """How many signals were sent, or restarts asked for."""
        self.target: Target | None = None
        self.result: LookResult | None = None

    def choose(self, targets: TargetList) -> None:
        """Speak of the only target there is, or of none."""
        target = targets.first
        if target is not None and (target.next is not None or target.gauge is None):
            target = None
        if target is not self.target:
            self.target = target
            self.outdate()

    def outdate(self) -> None:
        """Something else was said, or another request was made: begin anew."""
        self._schedule = self.result = None
        self._due_s = 0.0
        self._told_bytes = _NOTHING

    def follow(self, target: Target, gauge: Gauge, result: LookResult, now_s: float) -> None:
        """The target's look has another result; calls no allocator where that is a `Step`."""
        self._is_blind = False
        if gauge.schedule is not self._schedule:
            self._prepare(target, gauge)
        if isinstance(result, Step):
            self.result = result
            self._told_bytes = _NOTHING
            self._notifier.tell(self._messages[result])
            return
        self.result = None
        usage_bytes = gauge.usage_bytes
        moved = 100 * abs(usage_bytes - self._told_bytes) >= gauge.schedule.threshold_bytes
        if moved and now_s >= self._due_s:
            self._told_bytes = usage_bytes
            self._due_s = now_s + target.settings.interval_s
            usage = format_bytes(usage_bytes)
            self._notifier.tell(self._message(target, gauge, gauge.wait_s, usage, usage_bytes))

    def blind(self, target: Target, gauge: Gauge) -> None:
        """A target's memory can't be read: said at the first of several such looks."""
        self.outdate()
        if target is self.target and not self._is_blind:
            self._is_blind = True
            sentence = f"{self._prefix(target)}its memory can't be read ({gauge.trouble})"
            self._notifier.tell(status_message(f"{sentence}; {self._counted(target)}"))

    def _prepare(self, target: Target, gauge: Gauge) -> None:
        self._schedule = gauge.schedule
        self._messages.clear()
        step = gauge.schedule.first
        while step is not NEARER:
            most = f"at most {format_bytes(step.highest_bytes)}"
            self._messages[step] = self._message(target, gauge, step.wait_s, most, step.highest_bytes)
            step = step.next

    def _message(self, target: Target, gauge: Gauge, wait_s: float, usage: str, usage_bytes: int) -> bytes:
        threshold_bytes = gauge.schedule.threshold_bytes
        return status_message(
            f"{self._prefix(target)}ok: {usage} of {format_bytes(threshold_bytes)} {gauge.metric.value}"
            f" ({100 * usage_bytes // max(threshold_bytes, 1)}%), polled every {format_seconds(wait_s)};"
            f" {self._counted(target)}"
        )

    def _counted(self, target: Target) -> str:
        what = "restart" if target.settings.restart else "signal"
        plural = "" if self.requests == 1 else "s"
        counted = f"{self.requests or 'no'} {what}{plural} since {self._since}"
        unreadable = target.unreadable
        if not unreadable:
            return counted
        return f"{counted}, {unreadable} failed reading{'' if unreadable == 1 else 's'}"

    def _prefix(self, target: Target) -> str:
        """Nothing where the name is in the first line of `systemctl status` anyway."""
        name = target.name
        return "" if self._names in ((name,), (name.removesuffix(".service"),)) else f"{name}: "
