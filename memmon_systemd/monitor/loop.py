"""The loop: read, decide, act, wait.

While a target is `ok` and far from its limit, one turn is `look`, two comparisons and `wait`, and calls no
allocator: the targets are a linked list (a `for` would make an iterator), times are floats from CPython's
free list, and what a look answers are objects made at start-up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from memmon_systemd.formatting import signal_name
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.policy import State, Step, decide
from memmon_systemd.monitor.schedule import GONE, OVER, UNREADABLE, Rung
from memmon_systemd.monitor.source import Loop, Source
from memmon_systemd.monitor.status import Status
from memmon_systemd.monitor.target import EARLY, NEVER, Clock, Outcome, Target
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
    """A sample could not be read, or a signal not be sent."""
    missing: bool
    """A name stands for nothing that runs."""


class Monitor:
    """Looks after the targets of some sources until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        sources: Sequence[Source],
        loop: Loop,
        notifier: Notifier,
        clock: Clock = time.monotonic,
    ) -> None:
        """A monitor of what `sources` put into `loop`."""
        self._settings = settings
        self._sources = sources
        self._roster = loop.roster
        self._waiter = loop.waiter
        self._report = loop.report
        self._notifier = notifier
        self._status = Status(settings, notifier)
        self._clock = clock
        self._ping_every_s = notifier.watchdog_s / 2 if notifier.watchdog_s else NEVER
        self._ping_due_s = 0.0 if notifier.watchdog_s else NEVER
        self._sources_due_s = self._sources_soon_s = 0.0
        self._sources_early_s = settings.interval_s * EARLY
        self._verbose = settings.verbosity > 0
        self.stopping = False
        self.why_stopped = ""

    def run(self) -> None:
        """Look, until `stop` is called or every source has finished."""
        self._status.outdate()  # READY=1 came with another sentence.
        while not self.stopping:
            try:
                self.turn()
            except Exception as error:  # Whatever it is: a monitor that ended would be worse.
                self._report.bug(error)
                self._pause()
                self._sources_soon_s = 0.0

    def _pause(self) -> None:
        """Wait an interval, so as not to spin; poll(2) itself may be what fails."""
        try:
            self._waiter.wait(self._settings.interval_s, self._clock)
        except Exception as error:  # Whatever it is, again: from here it would end the monitor.
            self._report.bug(error)
            time.sleep(min(self._settings.interval_s, _LONGEST_PAUSE_S))

    def stop(self, why: str) -> None:
        """End `run` at its next turn."""
        self.why_stopped = why
        self.stopping = self._waiter.ended = True

    def refresh_all(self) -> None:
        """Have every source list what there is, whether something changed or not."""
        now_s = self._clock()
        for source in self._sources:
            source.due_s = 0.0
        self._refresh_sources(now_s)

    def wake(self, now_s: float) -> None:
        """A signal came; what it means, its handler has noted."""
        del now_s

    def turn(self) -> None:
        """One look at whatever is due, then a wait for what is due next."""
        due_s = self.look_around()
        if self.stopping:
            return
        wait_s = due_s - self._clock()
        if self._waiter.wait(wait_s if wait_s > 0.0 else 0.0, self._clock):
            self._sources_soon_s = 0.0

    def look_around(self) -> float:
        """One look at whatever is due, and a ping for the watchdog; when the loop has to wake up next."""
        now_s = self._clock()
        if now_s >= self._sources_soon_s:
            self._refresh_sources(now_s)
        if self._roster.has_changed:
            self._sweep()
        due_s = NEVER
        target = self._roster.first
        while target is not None and not self.stopping:
            if target.soon_s <= now_s:
                try:
                    self._attend(target, now_s)
                except Exception as error:  # Whatever it is: the others are looked at all the same.
                    target.look_at(now_s + self._settings.interval_s)
                    self._report.bug(error)
            if target.due_s < due_s:
                due_s = target.due_s
            target = target.next
        if self._roster.has_changed:
            self._sweep()
        if now_s >= self._ping_due_s:
            self._notifier.watchdog()
            self._ping_due_s = now_s + self._ping_every_s
        if self._sources_due_s < due_s:
            due_s = self._sources_due_s
        return due_s if due_s < self._ping_due_s else self._ping_due_s

    def look_once(self) -> OnceResult:
        """Look at every target once and act on those that are over, without waiting for anything."""
        now_s = self._clock()
        self._refresh_sources(now_s)
        over = failed = False
        target = self._roster.first
        while target is not None:
            if target.gauge is not None:
                rung = target.gauge.look_closer()
                self._report.reading(target)
                if rung is OVER:
                    over = True
                    self._act(target, target.gauge, now_s)
                failed = failed or rung is UNREADABLE or bool(target.failure)
            target = target.next
        missing = not all(source.has_targets() for source in self._sources)
        return OnceResult(over=over, failed=failed, missing=missing)

    def _refresh_sources(self, now_s: float) -> None:
        soon_s = now_s + self._sources_early_s
        due_s = latest_s = NEVER
        for source in self._sources:
            if source.due_s <= soon_s:
                try:
                    source.refresh(now_s)
                except Exception as error:  # Whatever it is: what is known is looked at all the same.
                    source.due_s = 0.0  # Anew: what it had been told is lost.
                    self._report.bug(error)
            source_due_s = source.due_s or now_s + self._settings.interval_s
            due_s = min(due_s, source_due_s)
            latest_s = min(latest_s, source_due_s + source.slack_s)
        self._sources_due_s = latest_s
        self._sources_soon_s = due_s - self._sources_early_s
        if self._settings.until_stopped and all(source.is_finished() for source in self._sources):
            self.stop("every unit has stopped")

    def _sweep(self) -> None:
        self._roster.sweep()
        self._status.choose(self._roster)

    def _attend(self, target: Target, now_s: float) -> None:
        gauge = target.gauge
        if gauge is None:
            target.look_at(NEVER)
            return
        rung = gauge.look_closer() if self._verbose else gauge.look()
        wait_s = rung.wait_s
        if wait_s and target.state is _OK and not self._verbose:
            target.due_s = now_s + wait_s
            target.soon_s = target.due_s - wait_s * EARLY
            if target is self._status.target and rung is not self._status.rung:
                self._status.follow(gauge, rung, now_s)
            return
        self._consider(target, gauge, rung, now_s)

    def _consider(self, target: Target, gauge: Gauge, rung: Rung, now_s: float) -> None:
        target.look_in(self._settings.interval_s, now_s)
        if rung is GONE:
            target.lost(now_s)
            self._roster.has_changed = True
            # What said so may have been wrong.
            self._sources_due_s = min(self._sources_due_s, now_s + self._settings.interval_s)
            self._sources_soon_s = 0.0
            return
        if rung is UNREADABLE:
            self._count_unreadable(target, gauge)
            return
        if self._verbose:
            self._report.reading(target)
        step = decide(
            target.state, rung is OVER, target.since_s, now_s, self._settings.for_s, target.repeat_s
        )
        if step is Step.ACT:
            self._act(target, gauge, now_s)
        elif step is Step.RISE:
            target.enter(State.OVER, now_s)
            self._report.over(target)
        elif step is Step.FALL:
            self._look_closer(target, gauge)  # A cheap look leaves no number to be said.
            target.enter(State.OK, now_s)
            self._report.fell(target)
        elif target.state is State.SIGNALLED and not target.is_same():
            # Another invocation in the same cgroup, which processes of the last one kept (KillMode=process).
            target.enter(State.OK, now_s)
            self._roster.has_changed = True
        self._status.outdate()
        if target.state is State.OK:
            target.look_in(rung.wait_s, now_s)
            return
        period_s = self._settings.for_s if target.state is State.OVER else target.repeat_s
        if now_s < target.since_s + period_s < target.due_s:
            target.look_at(target.since_s + period_s)

    def _look_closer(self, target: Target, gauge: Gauge) -> Rung:
        rung = gauge.look_closer()
        if rung is UNREADABLE:
            self._count_unreadable(target, gauge)
        return rung

    def _count_unreadable(self, target: Target, gauge: Gauge) -> None:
        target.unreadable += 1
        if target.unreadable == 1:
            self._report.unreadable(target)
        self._status.blind(target, gauge)

    def _act(self, target: Target, gauge: Gauge, now_s: float) -> None:
        """Ask the target to go, unless it is another one by now or a second reading is within."""
        if not target.is_same():
            target.enter(State.OK, now_s)
            self._roster.has_changed = True
            return
        # The question can take a second, and be cut short by the signal that ends the monitor.
        if self.stopping or self._look_closer(target, gauge) is not OVER:
            return
        outcome = self._would() if self._settings.dry_run else target.act(now_s)
        if target.ended:
            self._roster.has_changed = True
        elif outcome.done:
            target.failure = ""
            target.enter(State.SIGNALLED, now_s)
            self._status.signals += 1
            self._report.acted(target, outcome)
        else:
            if outcome.what != target.failure:
                self._report.failed(target, outcome)
            target.failure = outcome.what
            target.enter(State.OVER, now_s - self._settings.for_s)

    def _would(self) -> Outcome:
        if self._settings.restart:
            return Outcome(done=True, what="would restart it (dry run)")
        return Outcome(done=True, what=f"would send {signal_name(self._settings.signal_number)} (dry run)")
