"""The service's status while the one target is `ok`: what `systemctl status` shows, kept up to date.

While memory.current alone settles the look, nobody knows the metric, and no sentence may be made: it would
take memory. So there is one for each rung of the ladder, made when the target begins. Nearer to the limit
the status has the reading itself, when that has moved by a hundredth of the limit, once in an interval.
Several targets: the last change of any is shown.
"""

from __future__ import annotations

import time
from typing import Final

from memmon_systemd.formatting import format_bytes, format_seconds
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.schedule import NEARER, Ladder, Rung
from memmon_systemd.monitor.target import Roster, Target
from memmon_systemd.output.notify import Notifier, status_message
from memmon_systemd.settings import Settings

_NOTHING: Final = -(2**63)
"""No reading is near it."""


class Status:
    """Keeps STATUS= up to date; `rung` is what it speaks of now, of `target`."""

    __slots__ = (
        "_due_s",
        "_is_blind",
        "_ladder",
        "_notifier",
        "_of_rung",
        "_settings",
        "_since",
        "_told_bytes",
        "rung",
        "signals",
        "target",
    )

    def __init__(self, settings: Settings, notifier: Notifier) -> None:
        """A status of nobody yet; signals are counted from now."""
        self._settings = settings
        self._notifier = notifier
        self._since = time.strftime("%Y-%m-%d %H:%M")
        self._ladder: Ladder | None = None
        self._of_rung: dict[Rung, bytes] = {}
        self._due_s = 0.0
        self._is_blind = False
        self._told_bytes = _NOTHING
        self.signals = 0
        """How many were sent, or restarts asked for."""
        self.target: Target | None = None
        self.rung: Rung | None = None

    def choose(self, roster: Roster) -> None:
        """Speak of the only target there is, or of none."""
        target = roster.first
        if target is not None and (target.next is not None or target.gauge is None):
            target = None
        if target is not self.target:
            self.target = target
            self.outdate()

    def outdate(self) -> None:
        """Something else was said, or another signal was sent: begin anew."""
        self._ladder = self.rung = None
        self._due_s = 0.0
        self._told_bytes = _NOTHING

    def follow(self, gauge: Gauge, rung: Rung, now_s: float) -> None:
        """The target is on another rung; calls no allocator while that is a cheap one."""
        self._is_blind = False
        if gauge.ladder is not self._ladder:
            self._prepare(gauge)
        message = self._of_rung.get(rung)
        if message is not None:
            self.rung = rung
            self._told_bytes = _NOTHING
            self._notifier.tell(message)
            return
        self.rung = None
        usage_bytes = gauge.usage_bytes
        moved = 100 * abs(usage_bytes - self._told_bytes) >= gauge.ladder.limit_bytes
        if moved and now_s >= self._due_s:
            self._told_bytes = usage_bytes
            self._due_s = now_s + self._settings.interval_s
            self._notifier.tell(self._message(gauge, rung, format_bytes(usage_bytes), usage_bytes))

    def blind(self, target: Target, gauge: Gauge) -> None:
        """A target's memory can't be read: said at the first of several such looks."""
        self.outdate()
        if target is self.target and not self._is_blind:
            self._is_blind = True
            self._notifier.tell(
                status_message(f"{self._name()}its memory can't be read ({gauge.trouble}); {self._counted()}")
            )

    def _prepare(self, gauge: Gauge) -> None:
        self._ladder = gauge.ladder
        self._of_rung.clear()
        rung = gauge.ladder.first
        while rung is not NEARER:
            most = f"at most {format_bytes(rung.highest_bytes)}"
            self._of_rung[rung] = self._message(gauge, rung, most, rung.highest_bytes)
            rung = rung.next

    def _message(self, gauge: Gauge, rung: Rung, usage: str, usage_bytes: int) -> bytes:
        limit_bytes = gauge.ladder.limit_bytes
        return status_message(
            f"{self._name()}ok: {usage} of {format_bytes(limit_bytes)} {gauge.metric.value}"
            f" ({100 * usage_bytes // limit_bytes}%), looks every {format_seconds(rung.wait_s)};"
            f" {self._counted()}"
        )

    def _counted(self) -> str:
        what = "restart" if self._settings.restart else "signal"
        counted = f"{self.signals or 'no'} {what}{'' if self.signals == 1 else 's'} since {self._since}"
        unreadable = self.target.unreadable if self.target is not None else 0
        if not unreadable:
            return counted
        return f"{counted}, {unreadable} failed reading{'' if unreadable == 1 else 's'}"

    def _name(self) -> str:
        """Nothing where the name is in the first line of `systemctl status` anyway."""
        name = self.target.name if self.target is not None else ""
        return "" if self._settings.names in ((name,), (name.removesuffix(".service"),)) else f"{name}: "
