"""The service's status, `STATUS=`: what `systemctl status` shows of the monitor, kept up to date.

Of one target it is the last change of its state, and while it is `ok` what it uses. While memory.current
alone settles the look, the metric is not known, and no sentence may be made: that would allocate memory. So
there is one for each step of the schedule, made when the target begins. Nearer to the threshold the status
has the reading itself, when that has moved by a hundredth of the threshold, once in an interval.

Of several targets it is how many are in which state, and which is nearest to its threshold.
"""

from __future__ import annotations

import time
from typing import Final

from memmon_systemd.formatting import format_bytes, format_seconds, percent
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.log import Log
from memmon_systemd.monitor.overview import Overview
from memmon_systemd.monitor.pauses import Pauses
from memmon_systemd.monitor.schedule import NEARER, LookResult, Schedule, Step
from memmon_systemd.monitor.target import Target, TargetList
from memmon_systemd.output.notify import Notifier, status_message
from memmon_systemd.settings import Action, Settings, TargetSettings

_NOTHING: Final = -(2**63)
"""No reading is near it."""


class Status:
    """Keeps STATUS= up to date; `result` is the look that it speaks of now, of `target`."""

    __slots__ = (
        "_due_s",
        "_far_message",
        "_is_of_several",
        "_is_outdated",
        "_log",
        "_messages",
        "_notifier",
        "_overview",
        "_pause_text",
        "_pauses",
        "_schedule",
        "_settings",
        "_since",
        "_targets",
        "_told_bytes",
        "_told_of_several",
        "is_watchful",
        "requests",
        "result",
        "target",
    )

    def __init__(
        self,
        settings: Settings,
        targets: TargetList,
        log: Log,
        notifier: Notifier,
        pauses: Pauses | None = None,
    ) -> None:
        """A status of what is in `targets`; requests are counted from now."""
        self._pauses = pauses or Pauses()
        self._pause_text = self._pauses.text
        self._settings = settings
        self._targets = targets
        self._log = log
        self._notifier = notifier
        self._overview = Overview(targets)
        self._since = time.strftime("%Y-%m-%d %H:%M")
        self._schedule: Schedule | None = None
        self._messages: dict[Step, bytes] = {}
        self._far_message = b""
        """The sentence on several targets without the nearest, for when that isn't near any more."""
        self._due_s = 0.0
        self._is_of_several = False
        self._is_outdated = False
        """Whether the sentence on several targets may be another one."""
        self._told_bytes = _NOTHING
        self._told_of_several = b""
        self.is_watchful = False
        """Whether every look of a target that is `ok` has to be followed, not only those of `target`."""
        self.requests = 0
        """How many signals were sent, or restarts asked for."""
        self.target: Target | None = None
        """The only one, where it is measured."""
        self.result: LookResult | None = None

    def choose(self) -> None:
        """Speak of the only target there is, or of several, or of none: some came or went."""
        first = self._targets.first
        is_of_several = first is not None and first.next is not None
        target = None if is_of_several or first is None or first.gauge is None else first
        is_another_form = is_of_several is not self._is_of_several
        if is_another_form or target is not self.target:
            self._is_of_several = is_of_several
            self.target = target
            self._overview.forget()
            self._told_of_several = b""
            self.is_watchful = False
            self.outdate()
        # The last of several has said nothing for itself yet.
        if is_of_several or (is_another_form and first is not None):
            self._is_outdated = True

    def outdate(self) -> None:
        """Something else was said, or another request was made: begin anew."""
        self._schedule = self.result = None
        self._due_s = 0.0
        self._told_bytes = _NOTHING
        if self._is_of_several:
            self._is_outdated = True

    def follow(self, target: Target, gauge: Gauge, result: LookResult, now_s: float) -> None:
        """The look of a target that is `ok` has another result; calls no allocator where that is a `Step`."""
        if self._overview.note_readable(target) and self._is_of_several:
            self._is_outdated = True
        if target is self.target:
            self._follow_only(target, gauge, result, now_s)
        elif self._is_of_several:
            self._follow_one_of_several(target, gauge, result, now_s)
        self.is_watchful = self._overview.is_watchful

    def blind(self, target: Target, gauge: Gauge) -> None:
        """A target's memory can't be read: said at the first of several such looks."""
        self.outdate()
        self.is_watchful = True
        if self._overview.note_unreadable(target) and target is self.target:
            sentence = f"{self._prefix(target)}its memory can't be read ({gauge.trouble})"
            self._tell(status_message(f"{sentence}; {self._counted(target)}"))

    def update(self, now_s: float) -> None:
        """Tell what has changed since the last time; calls no allocator where nothing has."""
        if self._pauses.text is not self._pause_text:
            self._pause_text = self._pauses.text
            self.outdate()
        news = self._log.news
        if news is not None:
            self._log.news = None
            self.choose()
            if not self._is_outdated:
                self._notifier.status(news)
        if self._is_outdated:
            self._is_outdated = False
            self._due_s = now_s + self._settings.target.interval_s
            self._tell_of_several()

    def _follow_only(self, target: Target, gauge: Gauge, result: LookResult, now_s: float) -> None:
        if gauge.schedule is not self._schedule:
            self._prepare(target, gauge)
        if isinstance(result, Step):
            self.result = result
            self._told_bytes = _NOTHING
            self._tell(self._messages[result])
            return
        self.result = None
        usage_bytes = gauge.usage_bytes
        moved = 100 * abs(usage_bytes - self._told_bytes) >= gauge.schedule.threshold_bytes
        if moved and now_s >= self._due_s:
            self._told_bytes = usage_bytes
            self._due_s = now_s + target.settings.interval_s
            usage = format_bytes(usage_bytes)
            self._tell(self._message(target, gauge, gauge.wait_s, usage, usage_bytes))

    def _follow_one_of_several(self, target: Target, gauge: Gauge, result: LookResult, now_s: float) -> None:
        if isinstance(result, Step):
            if self._overview.note_far(target):
                self._told_of_several = self._far_message
                self._notifier.tell(self._far_message)
        elif self._overview.note_reading(target, gauge) and now_s >= self._due_s:
            self._is_outdated = True

    def _tell(self, message: bytes) -> None:
        # What was to be told is older than this.
        self._log.news = None
        self._is_outdated = False
        self._notifier.tell(message)

    def _tell_of_several(self) -> None:
        counts, nearest = self._overview.sentence()
        self.is_watchful = self._overview.is_watchful
        requests = self._requests(self._settings.target)
        message = status_message(f"{counts}{nearest}; {requests}")
        self._far_message = status_message(f"{counts}; {requests}") if nearest else message
        if message != self._told_of_several:
            self._told_of_several = message
            self._notifier.tell(message)

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
            f" ({percent(usage_bytes, threshold_bytes)}%), polled every {format_seconds(wait_s)};"
            f" {self._counted(target)}"
        )

    def _counted(self, target: Target) -> str:
        requests = self._requests(target.settings)
        unreadable = target.unreadable
        if not unreadable:
            return requests
        return f"{requests}, {unreadable} failed reading{'' if unreadable == 1 else 's'}"

    def _requests(self, settings: TargetSettings) -> str:
        what = settings.action.value
        plural = "" if self.requests == 1 else "s"
        would = ""
        if settings.dry_run:
            sent = settings.action is Action.SIGNAL
            would = f"dry run: would have {'sent' if sent else 'asked for'} "
        return f"{would}{self.requests or 'no'} {what}{plural} since {self._since}{self._pauses.text}"

    def _prefix(self, target: Target) -> str:
        """Nothing where the name is in the first line of `systemctl status` anyway."""
        name = target.name
        named = self._settings.names in ((name,), (name.removesuffix(".service"),))
        return "" if named else f"{name}: "
