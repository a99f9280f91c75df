"""memory.events of one unit: the kernel says when it meets its limits, and that wakes the monitor."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from memmon_systemd.monitor.gauge import GONE_ERRNOS
from memmon_systemd.monitor.poller import NO_DESCRIPTOR
from memmon_systemd.monitor.source import Context
from memmon_systemd.monitor.target import NEVER, Target
from memmon_systemd.units import oom_kills

_SHORTEST_PAUSE_S: Final = 0.1


class MemoryEvents:
    """Has a target looked at when its memory.events changes (cgroup-v2.rst), once in an interval at most."""

    __slots__ = (
        "_context",
        "_descriptor",
        "_is_deaf",
        "_on_event",
        "_pause_s",
        "_target",
        "muted_until_s",
        "oom_kills",
    )

    def __init__(
        self, target: Target, path: str, context: Context, on_event: Callable[[float], None]
    ) -> None:
        """Listen to the cgroup at `path`; `on_event` is told of each event."""
        self._target = target
        self._context = context
        self._on_event = on_event
        self._is_deaf = False
        self._descriptor = NO_DESCRIPTOR
        self.muted_until_s = NEVER
        """When to listen again; never, if it is listened to now."""
        self._pause_s = 0.0
        self.oom_kills: int | None = None
        """How many processes the OOM killer has killed, as last read; None: unknown."""
        try:
            self._descriptor = os.open(f"{path}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self._count_deaf(error)

    def wake(self, now_s: float) -> None:
        """Look now; then leave it alone for an interval.

        A throttled unit raises 85 events in 0.1 s. One that was asked is listened to sooner, at first: what
        the OOM killer kills of it can only be read while its cgroup is there.
        """
        self._target.look_at(now_s)
        self._context.poller.unwatch(self._descriptor)
        self.muted_until_s = now_s + self._next_pause_s()
        self._on_event(now_s)

    def listen(self, now_s: float) -> None:
        """Wake at the next change; reading the file ends the last one (kernfs poll).

        If it can't be read, that is tried again an interval later.
        """
        self.muted_until_s = NEVER
        if self._descriptor == NO_DESCRIPTOR:
            return
        try:
            self._read()
        except OSError as error:
            self.muted_until_s = now_s + self._target.settings.interval_s
            self._count_deaf(error)
            return
        self._context.poller.watch(self._descriptor, self, urgent=True)

    def read_again(self) -> None:
        """Take the count of this moment, where the cgroup is there."""
        if self._descriptor == NO_DESCRIPTOR:
            return
        try:
            self._read()
        except OSError as error:
            self._count_deaf(error)

    def close(self) -> None:
        """Stop listening, and give the descriptor back."""
        if self._descriptor != NO_DESCRIPTOR:
            self._context.poller.unwatch(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = NO_DESCRIPTOR
        self.muted_until_s = NEVER

    def _read(self) -> None:
        count = oom_kills.read(self._descriptor)
        if count is not None:
            self.oom_kills = count

    def _next_pause_s(self) -> float:
        interval_s, episode = self._target.settings.interval_s, self._target.episode
        if episode is None or episode.asked_s is None:
            self._pause_s = 0.0
            return interval_s
        self.read_again()
        self._pause_s = min(max(2 * self._pause_s, _SHORTEST_PAUSE_S), interval_s)
        return self._pause_s

    def _count_deaf(self, error: OSError) -> None:
        """Count a reading that failed, and say the first; that the cgroup is gone a look finds."""
        if error.errno in GONE_ERRNOS:
            return
        self._target.unreadable += 1
        if not self._is_deaf:
            self._is_deaf = True
            self._context.report.warn.events_unreadable(self._target.name, error.strerror or str(error))
