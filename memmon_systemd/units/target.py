"""One unit as a target, over all its invocations: what is open for it, and the way to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from memmon_systemd.linux.cgroup import Found, Hierarchy
from memmon_systemd.monitor.gauge import GONE_ERRNOS, Gauge
from memmon_systemd.monitor.policy import State
from memmon_systemd.monitor.source import Loop
from memmon_systemd.monitor.target import NEVER, NO_DESCRIPTOR, Outcome, Target
from memmon_systemd.settings import Settings, Share
from memmon_systemd.systemd.bus import Backoff, BusError
from memmon_systemd.systemd.manager import Invocation, Manager, Unit
from memmon_systemd.units.gauge import UnitGauge, open_sum_gauge, open_unit_gauge, unit_ladder
from memmon_systemd.units.signaller import UnitActor

DEFAULT_REPEAT_S: Final = 90.0
"""Where the unit has no TimeoutStopSec= or an unlimited one: systemd's own default for it."""
_FILE_TRIES: Final = 10
_EVENTS_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class UnitContext:
    """What all units of one manager share."""

    settings: Settings
    manager: Manager
    hierarchy: Hierarchy
    actor: UnitActor
    loop: Loop


class UnitTarget(Target):
    """One unit. It is `waiting` while it has no cgroup."""

    __slots__ = (
        "_asked_in_vain",
        "_backoff",
        "_context",
        "_events",
        "_invocation",
        "_is_deaf",
        "_on_event",
        "_on_gone",
        "_says_sum",
        "_tries",
        "found",
        "has_run",
        "has_stopped",
        "muted_until_s",
    )

    def __init__(
        self,
        context: UnitContext,
        name: str,
        on_gone: Callable[[UnitTarget, float], None],
        on_event: Callable[[float], None],
    ) -> None:
        """A unit that is waited for; `on_gone` is told when its cgroup goes, `on_event` of an event in it."""
        super().__init__(name, name, DEFAULT_REPEAT_S)
        self._context = context
        self._on_gone = on_gone
        self._on_event = on_event
        self._backoff = Backoff()
        self._invocation = Invocation()
        self._events = NO_DESCRIPTOR
        self._tries = 0
        self._asked_in_vain = False
        self._is_deaf = False
        self._says_sum = True
        self.found: Found | None = None
        """The cgroup that is measured."""
        self.has_run = False
        self.has_stopped = False
        """Whether it ran and has stopped for good, as far as anybody asked: `note_stop`."""
        self.muted_until_s = NEVER
        """When to listen to memory.events again; never, if it is listened to now."""

    @property
    def awaits_files(self) -> bool:
        """Whether its cgroup is there and memory.current isn't, yet."""
        return self.found is None and self._tries > 0

    @property
    def _bus_unit(self) -> Unit:
        """It on the bus: made when it is asked for, which is 160 bytes less to keep."""
        return self._context.manager.unit(self.name)

    def try_begin(self, found: Found, now_s: float) -> None:
        """Measure the invocation whose cgroup was found; without its files yet, try again later.

        systemd makes a cgroup first and enables the memory controller in it a moment later.
        """
        gauge = self._open_gauge(found)
        if gauge is None:
            self._tries += 1
            return
        self.found = found
        self.has_run, self.has_stopped = True, False
        self._ask_for_invocation()
        settings = self._context.settings
        self.repeat_s = settings.repeat_s or self._invocation.timeout_stop_s or DEFAULT_REPEAT_S
        gauge.look_closer()
        self.begin(gauge, now_s)
        if isinstance(gauge, UnitGauge):
            self._open_events(found)
            self.listen(now_s)
        self._context.loop.report.began(self)

    def is_same(self) -> bool:
        """Whether systemd still has the invocation that was measured; taken so if it can't say."""
        known = self._invocation.identity
        try:
            self._invocation = self._context.manager.invocation(self._bus_unit)
        except BusError:
            return True  # Why systemd doesn't answer is said with the signal that goes without it.
        return known in (b"", self._invocation.identity)

    def act(self, now_s: float) -> Outcome:
        """KillUnit or TryRestartUnit, else the signal by pidfd."""
        if self.found is None:
            return Outcome(done=False, what="its cgroup is gone")
        actor, directory = self._context.actor, self.found.directory
        return actor.ask(self._bus_unit, self._invocation, directory, self._backoff, now_s)

    def lost(self, now_s: float) -> None:
        """The cgroup is gone: close what belongs to it, and wait for the next."""
        self._unlisten()
        if self.gauge is not None:
            self.gauge.close()
        if self._events != NO_DESCRIPTOR:
            os.close(self._events)
        self._events = NO_DESCRIPTOR
        self.gauge = self.found = None
        self._is_deaf = False
        self.look_at(NEVER)
        self.muted_until_s = NEVER
        self.enter(State.WAITING, now_s)
        self._context.loop.report.waiting(self.name, self.name, "it stopped")
        self._on_gone(self, now_s)

    def forget_tries(self) -> None:
        """There is no cgroup (any more) that could get its files later."""
        self._tries = 0

    def note_stop(self) -> None:
        """Ask whether it has stopped for good; only its manager knows, no cgroup comes or goes then."""
        try:
            self.has_stopped = self._context.manager.has_stopped(self._bus_unit)
        except BusError as error:
            # It is asked once a second.
            if not self._asked_in_vain:
                sentence = f"can't say whether {self.name} has stopped for good: {error}; it is asked again"
                self._context.loop.report.warn(f"systemd {sentence}", self.name)
            self._asked_in_vain = True
        else:
            self._asked_in_vain = False

    def follow_limit(self, now_s: float) -> None:
        """Take the limit that is in force now, where the threshold is a share of it."""
        context, gauge = self._context, self.gauge
        if gauge is None or self.found is None or not isinstance(context.settings.max_memory, Share):
            return
        ladder = unit_ladder(self.found.directory, context.hierarchy, context.settings)
        if ladder != gauge.ladder:
            gauge.climb(ladder)
            gauge.look_closer()
            self.look_at(now_s)
            context.loop.report.limit_changed(self)

    def wake(self, now_s: float) -> None:
        """Look now, for memory.events changed; then leave it alone for an interval.

        A throttled unit raises 85 events in 0.1 s.
        """
        self.look_at(now_s)
        self._unlisten()
        self.muted_until_s = now_s + self._context.settings.interval_s
        self._on_event(now_s)

    def listen(self, now_s: float) -> None:
        """Wake at the next change of memory.events; reading it ends the last one (kernfs poll).

        What it holds isn't needed, only that it can be read; if not, it is tried again an interval later.
        """
        self.muted_until_s = NEVER
        if self._events == NO_DESCRIPTOR:
            return
        try:
            os.pread(self._events, _EVENTS_BYTES, 0)
        except OSError as error:
            self.muted_until_s = now_s + self._context.settings.interval_s
            self._count_deaf(error)
            return
        self._context.loop.waiter.watch(self._events, self, urgent=True)

    def _unlisten(self) -> None:
        if self._events != NO_DESCRIPTOR:
            self._context.loop.waiter.unwatch(self._events)

    def _open_events(self, found: Found) -> None:
        try:
            self._events = os.open(f"{found.path}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self._count_deaf(error)

    def _count_deaf(self, error: OSError) -> None:
        """Count a failed reading of memory.events, and say the first; that it is gone a look finds."""
        if error.errno in GONE_ERRNOS:
            return
        self.unreadable += 1
        if not self._is_deaf:
            self._is_deaf = True
            sentence = f"memory.events can't be read ({error.strerror}): it is looked at by the clock alone"
            self._context.loop.report.warn(f"{self.name}: {sentence}", self.name)

    def _ask_for_invocation(self) -> None:
        try:
            self._invocation = self._context.manager.invocation(self._bus_unit)
        except BusError as error:
            self._invocation = Invocation()
            self._context.loop.report.warn(f"{self.name}: {error}; it is measured all the same", self.name)

    def _open_gauge(self, found: Found) -> Gauge | None:
        """A gauge by the unit's files; by its processes where these don't come; None: not yet."""
        context = self._context
        try:
            return open_unit_gauge(found.directory, context.hierarchy, context.settings)
        except OSError as error:
            if context.hierarchy.memory and self._tries < _FILE_TRIES:
                return None
            why = f"{error.filename}: {error.strerror}" if context.hierarchy.memory else "cgroup v1"
        if self._says_sum:
            self._says_sum = False
            metric = context.settings.metric
            instead = f" instead of {metric.value}" if metric is not None else ""
            sentence = f"no memory controller ({why}): the RSS of its processes is added up{instead}"
            context.loop.report.warn(f"{self.name}: {sentence}", self.name)
        return open_sum_gauge(found.directory, context.hierarchy, context.settings)
