"""The loop: read, decide, act, wait.

While a target is `ok` and far from its threshold, one turn is `look`, two comparisons and `wait`, and calls
no allocator: the targets are a linked list (a `for` would make an iterator), times are floats from CPython's
free list, and what a look answers are objects made at start-up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from memmon_systemd.monitor.decider import Decider
from memmon_systemd.monitor.episode import Episode
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.heartbeat import Heartbeat
from memmon_systemd.monitor.keeper import Recorder
from memmon_systemd.monitor.policy import State
from memmon_systemd.monitor.poller import Clock
from memmon_systemd.monitor.requester import Requester
from memmon_systemd.monitor.schedule import GONE, OVER, UNREADABLE, LookResult, Step
from memmon_systemd.monitor.source import Context, Source
from memmon_systemd.monitor.status import Status
from memmon_systemd.monitor.target import EARLY, NEVER, Target
from memmon_systemd.output.notify import Notifier
from memmon_systemd.settings import Settings

_OK: Final = State.OK
"""State.OK looks a descriptor up, which is an allocation in Python 3.11; this name isn't."""

_LONGEST_PAUSE_S: Final = 1.0
"""A signal that ends the monitor doesn't wake this pause."""


@dataclass(frozen=True, slots=True)
class OnceResult:
    """What `--once` saw."""

    over: bool
    failed: bool
    """A sample could not be read, or a request failed."""
    missing: bool
    """A NAME matches nothing that runs."""


class Monitor:
    """Monitors the targets of some sources until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        sources: Sequence[Source],
        context: Context,
        notifier: Notifier,
        clock: Clock = time.monotonic,
    ) -> None:
        """A monitor of what `sources` put into `context`."""
        self._sources = sources
        self._targets = context.targets
        self._poller = context.poller
        self._report = context.report
        self._recorder = Recorder(context.keeper, context.pauses, context.targets)
        self._status = Status(settings, context.targets, context.report.log, notifier, context.pauses)
        self._heartbeat = Heartbeat(notifier, context.report.warn)
        self._requester = Requester(context.poller, context.report, self._status, context.pauses)
        self._decider = Decider(self._requester, context.report, self._status)
        self._room = context.room
        self._clock = clock
        self._interval_s = settings.target.interval_s
        self._sources_due_s = self._sources_soon_s = 0.0
        for source in sources:
            source.early_s = max(source.early_s, self._interval_s * EARLY)
        self._verbose = settings.verbosity > 0
        self._until_stopped = settings.until_stopped
        self.stopping = False
        self.why_stopped = ""

    def run(self) -> None:
        """Work until `stop` is called or every source has finished."""
        while not self.stopping:
            try:
                self.turn()
            except Exception as error:  # Whatever it is: a monitor that ended would be worse.
                self._report.warn.bug(error)
                self._pause()
                self._sources_soon_s = 0.0

    def _pause(self) -> None:
        """Wait an interval, so as not to spin; poll(2) itself may be what fails."""
        try:
            self._poller.wait(self._interval_s, self._clock)
        except Exception as error:  # Whatever it is, again: from here it would end the monitor.
            self._report.warn.bug(error)
            time.sleep(min(self._interval_s, _LONGEST_PAUSE_S))

    def stop(self, why: str) -> None:
        """End `run` at its next turn."""
        self.why_stopped = why
        self.stopping = self._poller.is_interrupted = True

    def refresh_all(self) -> None:
        """Have every source list what there is, whether something changed or not."""
        for source in self._sources:
            source.invalidate()
        self._refresh_sources(self._clock())

    def turn(self) -> None:
        """One look at whatever is due, then a wait for what is due next."""
        due_s = self.look_around()
        if self.stopping:
            return
        wait_s = due_s - self._clock()
        if self._poller.wait(wait_s if wait_s > 0.0 else 0.0, self._clock):
            self._sources_soon_s = 0.0

    def look_around(self) -> float:
        """One look at whatever is due, the status and the heartbeat; when the loop has to wake up next."""
        now_s = self._clock()
        if now_s >= self._sources_soon_s:
            self._refresh_sources(now_s)
            now_s = self._clock()  # It may have waited for a slow systemd.
        if self._targets.has_changed or self._report.log.news is not None:
            self._recorder.note_all()
        if self._targets.has_changed:
            self._sweep()
        due_s = NEVER
        target = self._targets.first
        while target is not None and not self.stopping:
            if target.soon_s <= now_s:
                try:
                    self._attend(target, now_s)
                except Exception as error:  # Whatever it is: the others are looked at all the same.
                    target.look_at(now_s + target.settings.interval_s)
                    self._report.warn.bug(error)
            if target.due_s < due_s:
                due_s = target.due_s
            target = target.next
        if self._targets.has_changed:
            self._sweep()
        self._status.update(now_s)
        beat_due_s = self._heartbeat.beat(now_s)
        if self._sources_due_s < due_s:
            due_s = self._sources_due_s
        return due_s if due_s < beat_due_s else beat_due_s

    def look_once(self) -> OnceResult:
        """Look at every target once and act on those that are over, without waiting for anything."""
        now_s = self._clock()
        self._refresh_sources(now_s)
        over = failed = False
        target = self._targets.first
        while target is not None:
            if target.gauge is not None:
                result = target.gauge.look_closer()
                if self._verbose:
                    self._report.reading(target)
                if result is OVER:
                    over = True
                    self._requester.request(target, target.gauge, Episode(now_s), now_s)
                failed = failed or result is UNREADABLE or target.failure is not None
            target = target.next
        missing = not all(source.has_targets() for source in self._sources)
        return OnceResult(over=over, failed=failed, missing=missing)

    def _refresh_sources(self, now_s: float) -> None:
        self._room.make()
        due_s = soon_s = NEVER
        for source in self._sources:
            if source.is_stale or source.due_s - source.early_s <= now_s:
                try:
                    source.refresh(now_s)
                except Exception as error:  # Whatever it is: what is known is looked at all the same.
                    source.invalidate()  # What it had been told is lost.
                    self._report.warn.bug(error)
            # One that became stale at its own refresh would be refreshed without a pause.
            source_due_s = now_s + self._interval_s if source.is_stale else source.due_s
            due_s = min(due_s, source_due_s)
            soon_s = min(soon_s, source_due_s - source.early_s)
        self._sources_due_s, self._sources_soon_s = due_s, soon_s
        if self._until_stopped and all(source.is_finished() for source in self._sources):
            self.stop("every unit has stopped")

    def _sweep(self) -> None:
        self._targets.sweep()
        self._status.choose()

    def _attend(self, target: Target, now_s: float) -> None:
        gauge = target.gauge
        if gauge is None:
            target.look_at(NEVER)
            return
        result = gauge.look_closer() if self._verbose else gauge.look()
        if result.is_within and target.state is _OK and not self._verbose:
            status = self._status
            if isinstance(result, Step):
                wait_s = result.wait_s
                is_news = status.is_watchful or (target is status.target and result is not status.result)
            else:
                wait_s = gauge.wait_s
                is_news = True
            target.due_s = now_s + wait_s
            target.soon_s = target.due_s - wait_s * EARLY
            if is_news:
                status.follow(target, gauge, result, now_s)
            return
        self._consider(target, gauge, result, now_s)

    def _consider(self, target: Target, gauge: Gauge, result: LookResult, now_s: float) -> None:
        self._room.make()
        if result is GONE:
            target.look_in(target.settings.interval_s, now_s)
            self._lost(target, now_s)
        else:
            if self._verbose and result is not UNREADABLE:
                self._report.reading(target)
            if self._decider.consider(target, gauge, result, now_s):
                self._targets.has_changed = True
            for source in self._sources:
                if source.due_s <= now_s:  # What systemd said of the target is news for it.
                    self._sources_due_s = self._sources_soon_s = now_s
            self._recorder.note(target)
        # Of many targets each may have waited for a slow systemd, all before the turn is over.
        self._heartbeat.beat(self._clock())

    def _lost(self, target: Target, now_s: float) -> None:
        target.lost(now_s)
        self._recorder.note(target)
        self._targets.has_changed = True
        # What said so may have been wrong.
        self._sources_due_s = min(self._sources_due_s, now_s + self._interval_s)
        self._sources_soon_s = 0.0
