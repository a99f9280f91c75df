"""Notices what somebody has paused, by inotify on the directory where that is written."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from memmon_systemd.linux.libc import IN_CLOSE_WRITE, IN_DELETE, IN_MOVED_TO, Libc
from memmon_systemd.monitor.episode import Episode
from memmon_systemd.monitor.pauses import Pause
from memmon_systemd.monitor.policy import Hold, State
from memmon_systemd.monitor.poller import NO_DESCRIPTOR
from memmon_systemd.monitor.source import Context, Reader
from memmon_systemd.monitor.target import Target
from memmon_systemd.output import pause_file

_READ_BYTES = 4096
_DAY_S = 86400.0
_RESUMED = "resumed"


class SharedInotify(Protocol):
    """Whoever reads the events of an inotify descriptor: a user has 128 (fs.inotify.max_user_instances)."""

    descriptor: int
    on_other: Callable[[], None] | None
    """Told when an event is for somebody else."""


class PauseWatch(Reader):
    """A source of no targets, which has its turn when the file of pauses was written, or one of them ends."""

    def __init__(
        self,
        path: str,
        libc: Libc | None,
        context: Context,
        interval_s: float,
        shared: SharedInotify | None = None,
    ) -> None:
        """Watch the directory of `path`; without inotify, read the file once in an interval."""
        super().__init__()
        self._shared = shared
        self._is_told = False
        self._path = path
        self._context = context
        self._wanted: Sequence[Pause] = ()
        self._trouble: str | None = None
        self._look_again_s = math.inf
        self._inotify = NO_DESCRIPTOR
        if libc is None or not self._watch(libc):
            self._look_again_s = interval_s
        elif self._inotify != NO_DESCRIPTOR:
            context.poller.watch(self._inotify, self)

    def wake(self, now_s: float) -> None:
        """Something was written in the directory."""
        self.due_s = now_s

    def refresh(self, now_s: float) -> None:
        """Read the file where it may have changed, and end what is over."""
        if self._has_news() or self.is_stale or self._look_again_s < math.inf:
            self._read()
        self.is_stale = False
        in_force = tuple(pause for pause in self._wanted if pause.until_s > now_s)
        if in_force != tuple(self._context.pauses.in_force):
            self._change(in_force, now_s)
        self.due_s = min(self._context.pauses.next_end_s, now_s + self._look_again_s)

    def rehearse(self, now_s: float) -> None:
        """Pause everything and let it go again, as by a file."""
        lines = pause_file.parse(pause_file.render({"*": now_s + 1.0, "rehearsal.service": math.inf}))
        self._change(tuple(Pause(*line) for line in lines.items()), now_s)
        self._change((), now_s)
        self._read()

    def _watch(self, libc: Libc) -> bool:
        """Have inotify tell of the directory; False where it has no watch or descriptor left."""
        shared = self._shared
        is_shared = shared is not None and shared.descriptor != NO_DESCRIPTOR
        descriptor = NO_DESCRIPTOR
        try:
            descriptor = shared.descriptor if shared is not None and is_shared else libc.inotify()
            libc.watch(descriptor, os.path.dirname(self._path), IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_TO)
        except OSError:
            if descriptor != NO_DESCRIPTOR and not is_shared:
                os.close(descriptor)
            return False
        if shared is not None and is_shared:
            shared.on_other = self._tell
        else:
            self._inotify = descriptor
        return True

    def _tell(self) -> None:
        self._is_told = True
        self.due_s = 0.0

    def _has_news(self) -> bool:
        has_news, self._is_told = self._is_told, False
        while self._inotify != NO_DESCRIPTOR:
            try:
                os.read(self._inotify, _READ_BYTES)
            except BlockingIOError:
                break
            has_news = True
        return has_news

    def _read(self) -> None:
        trouble = None
        try:
            self._wanted = tuple(Pause(*line) for line in pause_file.read(self._path).items())
        except (OSError, ValueError) as error:
            trouble = getattr(error, "strerror", None) or str(error)
            self._wanted = ()
        if trouble is not None and trouble != self._trouble:
            self._context.report.warn.pause_unreadable(self._path, trouble)
        self._trouble = trouble

    def _change(self, in_force: Sequence[Pause], now_s: float) -> None:
        """Say what is paused from now on, and what no longer is; those are asked at their next look."""
        pauses, report = self._context.pauses, self._context.report
        before = pauses.in_force
        pauses.in_force = in_force
        pauses.text = f"; paused {_until(in_force, now_s)}" if in_force else ""
        for pause in in_force:
            if pause not in before:
                report.paused(pause.pattern, self._unit(pause), _until((pause,), now_s))
        patterns = {pause.pattern for pause in in_force}
        ended = [pause for pause in before if pause.pattern not in patterns]
        released = self._release(ended, now_s)
        for pause in ended:
            if pause.pattern not in released:
                report.resumed(pause.pattern, self._unit(pause), _why(pause, now_s))
        self._context.targets.has_changed = True

    def _release(self, ended: Sequence[Pause], now_s: float) -> Collection[str]:
        """Let those go that were held back by a pause, and by none that is in force; their names."""
        released: set[str] = set()
        target = self._context.targets.first
        while target is not None:
            episode = target.episode
            if episode is not None and episode.hold is Hold.PAUSED:
                until_s = self._context.pauses.until_s(target.name)
                if until_s is None:
                    released.add(target.name)
                    why = next((_why(pause, now_s) for pause in ended if pause.covers(target.name)), _RESUMED)
                    self._let_go(target, episode, why, now_s)
                else:
                    episode.not_before_s = until_s
            target = target.next
        return released

    def _let_go(self, target: Target, episode: Episode, why: str, now_s: float) -> None:
        episode.hold = None
        episode.not_before_s = 0.0
        target.state = State.OVER if episode.asked_s is None else State.SIGNALLED
        # Not at once: whoever reads the log is told before it is asked.
        target.look_in(target.settings.interval_s, now_s)
        self._context.report.resumed_above(target, why)

    def _unit(self, pause: Pause) -> str | None:
        """The unit whose journal is to show it: of a glob there is none."""
        target = self._context.targets.first
        while target is not None:
            if target.name == pause.pattern:
                return target.unit
            target = target.next
        return None


def _why(pause: Pause, now_s: float) -> str:
    return "the pause has ended" if pause.until_s <= now_s else _RESUMED


def _until(pauses: Sequence[Pause], now_s: float) -> str:
    """Until when the last of them ends: "until 14:05"."""
    rest_s = max(pause.until_s for pause in pauses) - now_s
    if rest_s == math.inf:
        return "until it is resumed"
    form = "%H:%M:%S" if rest_s < _DAY_S else "%Y-%m-%d %H:%M"
    return "until " + time.strftime(form, time.localtime(time.time() + rest_s))
