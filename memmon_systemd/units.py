"""Units as targets: found by the cgroups that come and go in their slices, measured by their files."""

from __future__ import annotations

import io
from fnmatch import fnmatchcase
from typing import Final

from memmon_systemd import cgroup
from memmon_systemd.act import UnitActor
from memmon_systemd.bus import Backoff, BusError
from memmon_systemd.cgroup import Found, Hierarchy
from memmon_systemd.gauge import Gauge
from memmon_systemd.policy import State
from memmon_systemd.settings import Settings
from memmon_systemd.slicewatch import SliceWatch
from memmon_systemd.source import Loop
from memmon_systemd.systemd import Invocation, Manager
from memmon_systemd.target import NEVER, NO_DESCRIPTOR, Outcome, Target
from memmon_systemd.unitgauge import UnitGauge, open_sum_gauge, open_unit_gauge

DEFAULT_REPEAT_S: Final = 90.0
"""Where the unit has no TimeoutStopSec= or an unlimited one: systemd's own default for it."""
_FILE_TRIES: Final = 10
_FILE_PAUSE_S: Final = 0.1
"""systemd makes the cgroup first and enables the memory controller in it a moment later."""
_STOP_PAUSE_S: Final = 1.0
"""While a stopped unit may yet start again: only its manager knows, and no cgroup comes or goes then."""


class UnitTarget(Target):
    """One unit, over all its invocations."""

    __slots__ = ("_source", "backoff", "bus_unit", "events", "found", "invocation", "tries")

    def __init__(self, source: UnitWatch, name: str) -> None:
        """A unit that is waited for."""
        super().__init__(name, name, DEFAULT_REPEAT_S)
        self._source = source
        self.bus_unit = source.manager.unit(name)
        self.backoff = Backoff()
        self.found: Found | None = None
        self.events: io.FileIO | None = None
        self.invocation = Invocation()
        self.tries = 0
        """How often memory.current was looked for in this cgroup and was not there."""

    def is_same(self) -> bool:
        """Whether systemd still has the invocation that was measured; taken so if it can't say."""
        known = self.invocation.identity
        try:
            self.invocation = self._source.manager.invocation(self.bus_unit)
        except BusError:
            return True  # Why systemd doesn't answer is said with the signal that goes without it.
        return known in (b"", self.invocation.identity)

    def act(self, now_s: float) -> Outcome:
        """KillUnit or TryRestartUnit, else the signal by pidfd."""
        if self.found is None:
            return Outcome(done=False, what="its cgroup is gone")
        directory = self.found.directory
        return self._source.actor.ask(self.bus_unit, self.invocation, directory, self.backoff, now_s)

    def lost(self, now_s: float) -> None:
        """The cgroup is gone."""
        self._source.unit_gone(self, now_s)

    def wake(self, now_s: float) -> None:
        """memory.events changed: look now, then leave events alone for an interval."""
        self.due_s = now_s
        self._source.mute(self, now_s)

    def release(self) -> None:
        """Close everything that belongs to the invocation that is gone."""
        for held in (self.gauge, self.events):
            if held is not None:
                held.close()
        self.gauge = self.events = self.found = None
        self.due_s = NEVER
        self.tries = 0


class UnitWatch:
    """The units of one manager that were named: exactly, by globs, or by a process that they own."""

    def __init__(
        self,
        settings: Settings,
        manager: Manager,
        hierarchy: Hierarchy,
        watch: SliceWatch,
        actor: UnitActor,
        loop: Loop,
        top_group: str,
    ) -> None:
        """A watch without names on the units below the control group `top_group`."""
        self.manager = manager
        self.actor = actor
        self.due_s = 0.0
        self._settings = settings
        self._hierarchy = hierarchy
        self._watch = watch
        self._loop = loop
        self._top_group = top_group
        self._own_units = cgroup.units_of(cgroup.control_group_of("self") or "", top_group)
        self._targets: dict[str, UnitTarget] = {}
        self._exact: set[str] = set()
        self._globs: list[str] = []
        self._owners: set[str] = set()
        self._left_out: set[str] = set()
        self._muted: dict[UnitTarget, float] = {}
        self._have_run = False
        self._stopped: set[str] = set()
        if watch.descriptor != NO_DESCRIPTOR:
            loop.waiter.watch(watch.descriptor, self)

    def add_name(self, name: str) -> None:
        """Watch a unit by its full name, whether it runs or not."""
        self._exact.add(name)
        self._add(name)

    def add_glob(self, pattern: str) -> None:
        """Watch every unit that matches, while it has a cgroup."""
        self._globs.append(pattern)

    def add_owner_of(self, pid: int) -> bool:
        """Watch the unit that a process belongs to, while it has a cgroup; False where there is none."""
        units = cgroup.units_of(cgroup.control_group_of(pid) or "", self._top_group)
        if not units or units[-1].endswith(".slice"):
            return False
        if units[-1] not in self._owners:
            self._owners.add(units[-1])
            self.due_s = 0.0
        return True

    def contains_monitor(self, name: str) -> bool:
        """Whether this very process runs in the unit: signalling it would be signalling itself."""
        return name in self._own_units

    def has_targets(self) -> bool:
        """Whether any of the units has a cgroup now, and each of those that were named exactly."""
        running = {name for name, target in self._targets.items() if target.found is not None}
        return bool(running) and self._exact <= running

    def is_finished(self) -> bool:
        """Whether units were running and all of them have stopped for good."""
        running = any(target.found is not None for target in self._targets.values())
        return self._have_run and not running and self._exact <= self._stopped

    def wake(self, now_s: float) -> None:
        """Inotify has something to read."""
        self.due_s = now_s

    def refresh(self, now_s: float) -> None:
        """Find the units that came and went."""
        if self._watch.has_news(self._is_wanted) or self.due_s == 0.0 or self._is_file_awaited():
            self._rescan(now_s)
        if self._watch.problem:
            self._loop.report.warn(f"{self._watch.problem}; until then units are listed at every look")
            self._watch.problem = ""
        for target in [target for target, until_s in self._muted.items() if until_s <= now_s]:
            self._listen(target)
        if self._settings.until_stopped:
            self._note_stops()
        self.due_s = self._next_refresh_s(now_s)

    def mute(self, target: UnitTarget, now_s: float) -> None:
        """Leave memory.events alone for an interval: a throttled unit raises 85 of them in 0.1 s."""
        self._unlisten(target)
        self._muted[target] = now_s + self._settings.interval_s
        self.due_s = now_s

    def unit_gone(self, target: UnitTarget, now_s: float) -> None:
        """A cgroup was removed: wait for the unit, or let go of one that only a pattern named."""
        self._unlisten(target)
        self._muted.pop(target, None)
        target.release()
        target.enter(State.WAITING, now_s)
        self._loop.report.waiting(target.name, target.name, "it stopped")
        if target.name not in self._exact:
            target.ended = True
            self._targets.pop(target.name, None)
            self._owners.discard(target.name)
        self.due_s = now_s

    def _is_wanted(self, name: str) -> bool:
        return (
            name in self._exact
            or name in self._owners
            or any(fnmatchcase(name, pattern) for pattern in self._globs)
        )

    def _add(self, name: str) -> UnitTarget:
        target = self._targets[name] = UnitTarget(self, name)
        self._loop.roster.add(target)
        return target

    def _rescan(self, now_s: float) -> None:
        seen = self._watch.scan(self._is_wanted)
        for name, target in list(self._targets.items()):
            if name not in seen:
                target.tries = 0
            if target.found is not None and seen.get(name) != target.found:
                self.unit_gone(target, now_s)
        for name, found in seen.items():
            if self.contains_monitor(name):
                self._leave_out(name)
                continue
            target = self._targets.get(name) or self._add(name)
            if target.found is None:
                self._begin(target, found, now_s)

    def _begin(self, target: UnitTarget, found: Found, now_s: float) -> None:
        gauge = self._open_gauge(target, found)
        if gauge is None:
            target.tries += 1
            return
        target.found = found
        try:
            target.invocation = self.manager.invocation(target.bus_unit)
        except BusError as error:
            target.invocation = Invocation()
            self._loop.report.warn(f"{target.name}: {error}; it is measured all the same", target.name)
        target.repeat_s = self._settings.repeat_s or target.invocation.timeout_stop_s or DEFAULT_REPEAT_S
        target.begin(gauge, now_s)
        self._have_run = True
        self._stopped.discard(target.name)
        if isinstance(gauge, UnitGauge):
            target.events = io.FileIO(found.directory / "memory.events")
            self._listen(target)
        gauge.look_closer()
        self._loop.report.began(target)

    def _open_gauge(self, target: UnitTarget, found: Found) -> Gauge | None:
        """A gauge by the unit's files; by its processes where these don't come; None: not yet."""
        try:
            return open_unit_gauge(found.directory, self._hierarchy, self._settings)
        except OSError as error:
            if self._hierarchy.memory and target.tries < _FILE_TRIES:
                return None
            why = f"{error.filename}: {error.strerror}" if self._hierarchy.memory else "cgroup v1"
        metric = self._settings.metric
        instead = f" instead of {metric.value}" if metric is not None else ""
        self._loop.report.warn(
            f"{target.name}: no memory controller ({why}): RSS summed over its processes is counted{instead}",
            target.name,
        )
        return open_sum_gauge(found.directory, self._hierarchy, self._settings)

    def _leave_out(self, name: str) -> None:
        if name not in self._left_out:
            self._left_out.add(name)
            self._loop.report.warn(f"{name} is left out: memory-monitor itself runs in it", name)

    def _listen(self, target: UnitTarget) -> None:
        """Wake at the next change of memory.events; reading it ends the last one (kernfs poll)."""
        self._muted.pop(target, None)
        if target.events is None:
            return
        try:
            target.events.seek(0)
            target.events.read(256)
        except OSError:
            return  # The cgroup is gone; the next look says so.
        self._loop.waiter.watch(target.events.fileno(), target, urgent=True)

    def _unlisten(self, target: UnitTarget) -> None:
        if target.events is not None:
            self._loop.waiter.unwatch(target.events.fileno())

    def _note_stops(self) -> None:
        for name in self._exact - self._stopped:
            target = self._targets[name]
            if target.found is None and self._have_run:
                try:
                    if self.manager.has_stopped(target.bus_unit):
                        self._stopped.add(name)
                except BusError as error:
                    self._loop.report.warn(f"{name}: {error}", name)

    def _is_file_awaited(self) -> bool:
        return any(target.tries and target.found is None for target in self._targets.values())

    def _next_refresh_s(self, now_s: float) -> float:
        due_s = min(self._muted.values(), default=NEVER)
        if self._watch.descriptor == NO_DESCRIPTOR:
            due_s = min(due_s, now_s + self._settings.interval_s)
        if self._is_file_awaited():
            due_s = min(due_s, now_s + _FILE_PAUSE_S)
        if self._settings.until_stopped and self._have_run and not self._exact <= self._stopped:
            running = all(self._targets[name].found is not None for name in self._exact)
            due_s = due_s if running else min(due_s, now_s + _STOP_PAUSE_S)
        return due_s
