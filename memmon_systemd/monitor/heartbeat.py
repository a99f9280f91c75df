"""What the service manager has to hear in time: pings of its watchdog, and what it didn't take at first."""

from __future__ import annotations

from typing import Final

from memmon_systemd.monitor.target import NEVER
from memmon_systemd.monitor.warnings import Warnings
from memmon_systemd.output.notify import Notifier

FIRST_PAUSE_S: Final = 0.05
"""The service manager's queue can be full for a moment, at boot above all."""
LONGEST_PAUSE_S: Final = 1.0


class Heartbeat:
    """Pings the watchdog, and sends READY=1 and the like again until the service manager takes them."""

    __slots__ = (
        "_has_warned",
        "_notifier",
        "_pause_s",
        "_ping_due_s",
        "_ping_every_s",
        "_retry_due_s",
        "_warn",
    )

    def __init__(self, notifier: Notifier, warn: Warnings) -> None:
        self._notifier = notifier
        self._warn = warn
        self._ping_every_s = notifier.watchdog_s / 2 if notifier.watchdog_s else NEVER
        self._ping_due_s = 0.0 if notifier.watchdog_s else NEVER
        self._pause_s = FIRST_PAUSE_S
        self._retry_due_s = NEVER
        self._has_warned = False

    def beat(self, now_s: float) -> float:
        """Send what is due; when the next is. Calls no allocator where the service manager takes it."""
        if now_s >= self._ping_due_s:
            self._notifier.watchdog()
            self._ping_due_s = now_s + self._ping_every_s
        if self._notifier.is_behind:
            self._try_again(now_s)
        elif self._retry_due_s is not NEVER:
            self._retry_due_s = NEVER
        return self._ping_due_s if self._ping_due_s < self._retry_due_s else self._retry_due_s

    def _try_again(self, now_s: float) -> None:
        """At once would be in vain: after a pause, which doubles up to a second."""
        if self._retry_due_s is NEVER:
            self._pause_s = FIRST_PAUSE_S
        elif now_s < self._retry_due_s:
            return
        else:
            self._notifier.catch_up()
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._retry_due_s = now_s + self._pause_s if self._notifier.is_behind else NEVER
        if self._pause_s == LONGEST_PAUSE_S and self._notifier.is_behind and not self._has_warned:
            self._has_warned = True
            self._warn.not_notifying(f"{self._notifier.shortfall}; monitoring anyway, retrying every second")
