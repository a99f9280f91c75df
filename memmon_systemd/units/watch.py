"""The units of one manager that were named: found by the cgroups that come and go in their slices."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from memmon_systemd.linux import cgroup
from memmon_systemd.monitor.poller import NO_DESCRIPTOR
from memmon_systemd.monitor.source import Source
from memmon_systemd.monitor.target import NEVER
from memmon_systemd.settings import TargetSettings
from memmon_systemd.units.measured import UnitContext
from memmon_systemd.units.slice_watch import SliceWatch
from memmon_systemd.units.stop import Stop
from memmon_systemd.units.target import UnitTarget
from memmon_systemd.units.untouchable import UNTOUCHABLE

_STOP_PAUSE_S: Final = 1.0
_BEGUN_AT_ONCE: Final = 4
"""Each is four questions to systemd, of up to a second: then the watchdog and other units have their turn."""


class UnitWatch(Source):
    """A source of units: named exactly, by globs, or by a process that they own."""

    def __init__(
        self,
        context: UnitContext,
        settings: TargetSettings,
        watch: SliceWatch,
        untouchable: Collection[str],
        *,
        until_stopped: bool = False,
    ) -> None:
        """A watch without names on the units that `watch` finds, but for `untouchable`."""
        super().__init__()
        self._context = context
        self._settings = settings
        self._watch = watch
        self._untouchable = untouchable
        self._stop = Stop(context, untouchable) if until_stopped else None
        # Once for all: each `self._unit_gone` is another object, of 64 bytes for each unit.
        self._callbacks = (self._unit_gone, self.wake)
        self._targets: dict[str, UnitTarget] = {}
        self._exact: dict[str, str] = {}
        self._globs = context.rolls.globs
        self._owners: set[tuple[str, str]] = set()
        self._skipped: set[str] = set()
        self._some_have_run = self._has_looked = self._has_stopped = False
        self._listed_in_vain = self._limits_are_old = False
        self._follow_up_s = NEVER
        """When to ask what became of a request."""
        self._polled = NO_DESCRIPTOR
        self._more: Mapping[str, cgroup.Found] = {}
        """Units that were found and aren't measured yet."""
        self._poll_inotify()

    def add_name(self, name: str, why_waiting: str) -> None:
        """Watch a unit by its full name; while it has no cgroup, `why_waiting` is said."""
        if name not in self._exact:
            self._exact[name] = why_waiting
            self._add(name)

    def add_glob(self, pattern: str) -> None:
        """Watch every unit that matches, while it has a cgroup."""
        self._globs.append(pattern)

    def add_owner(self, name: str, prefix: str) -> None:
        """Watch a unit, while it has a cgroup and owns processes of that name."""
        if (name, prefix) not in self._owners:
            self._owners.add((name, prefix))
            self.invalidate()

    def remove_owner(self, name: str, prefix: str, now_s: float) -> None:
        """Watch a unit for that name no more."""
        self._owners.discard((name, prefix))
        target = self._targets.get(name)
        if target is not None and not self._is_wanted(name):
            target.release(now_s)
            self._context.shared.report.no_longer_monitored(target, f"it is no owner of {prefix} any more")
            self._forget(target)

    def names(self) -> list[str]:
        """The units that are waited for or measured now."""
        return list(self._targets)

    def has_targets(self) -> bool:
        """Whether any of the units has a cgroup now, and each of those that were named exactly."""
        running = {name for name, target in self._targets.items() if target.found is not None}
        return bool(running) and self._exact.keys() <= running

    def is_finished(self) -> bool:
        """Whether units were running and all of them have stopped for good."""
        return self._has_stopped

    def rehearse(self) -> None:
        """Go the way of an inotify event, and that of the direct signal."""
        self._watch.rehearse()
        own_group = cgroup.control_group_of("self") or ""
        self._context.signaller.rehearse(self._context.hierarchy.directory(own_group))

    def wake(self, now_s: float) -> None:
        """The slices have news, or a unit is to be muted for a while."""
        self.due_s = min(self.due_s, now_s)

    def refresh(self, now_s: float) -> None:
        """Find the units that came and went, and the limits that changed."""
        news = self._watch.news(self._is_wanted)
        awaits_files = any(target.files_pause_s < NEVER for target in self._targets.values())
        if self.is_stale or news.units or awaits_files:
            self.is_stale = not self._rescan(now_s)
        elif self._more:
            self._watch_limits(self._begin(self._more, now_s), now_s)
        if not self._has_looked:
            self._begin_to_look()
        if (news.limits or self._limits_are_old) and self._settings.follows_limit:
            self._limits_are_old = False
            self._follow_limits(self._targets.values(), now_s)
        for target in list(self._targets.values()):
            if target.events is not None and target.muted_until_s <= now_s:
                target.events.listen(now_s)
        self._follow_up_s = self._context.aftermath.follow(now_s, self._settings.interval_s)
        if self._stop is not None and self._is_asked_for_stop():
            self._has_stopped = self._stop.has_come((*self._exact, *self._globs))
        if self._watch.problem:
            self._context.shared.report.warn.no_inotify(self._watch.problem)
            self._watch.problem = None
        self.due_s = self._next_refresh_s(now_s)

    def _begin_to_look(self) -> None:
        self._has_looked = True
        for name, why_waiting in self._exact.items():
            if self._targets[name].found is None:
                self._context.shared.report.waiting(name, name, why_waiting)

    def _rescan(self, now_s: float) -> bool:
        """Find what came and went; False where that couldn't be listed, and what is known holds."""
        had_all = self._watch.has_all
        try:
            seen = self._watch.scan(self._is_wanted)
        except OSError as error:
            if not self._listed_in_vain:
                self._context.shared.report.warn.units_unlisted(str(error))
            self._listed_in_vain = True
            return False
        self._listed_in_vain = False
        self._poll_inotify()
        has_changed = self._end_gone(seen, now_s)
        begun = self._begin(seen, now_s)
        if has_changed or begun or not had_all:
            self._watch_limits(begun, now_s)
        return True

    def _end_gone(self, seen: Mapping[str, cgroup.Found], now_s: float) -> bool:
        """End the units whose cgroup was removed, or is another one; whether there were such."""
        has_changed = False
        for name, target in list(self._targets.items()):
            if target.found is not None and seen.get(name) != target.found:
                target.lost(now_s)
                has_changed = True
            elif target.found is None and name not in seen:
                target.forget_tries()
                self._forget(target)
        return has_changed

    def _begin(self, seen: Mapping[str, cgroup.Found], now_s: float) -> Sequence[UnitTarget]:
        """Measure the units that are there and weren't measured: these."""
        begun: list[UnitTarget] = []
        more: dict[str, cgroup.Found] = {}
        for name, found in seen.items():
            if name in self._untouchable:
                self._skip(name)
                continue
            target = self._targets.get(name) or self._add(name)
            self._some_have_run = True
            if target.found is not None:
                continue
            # At start-up all of them: their memory is to be asked for before READY.
            if len(begun) == _BEGUN_AT_ONCE and self._has_looked:
                more[name] = found
            elif target.try_begin(found, now_s):
                begun.append(target)
        self._more = more
        return begun

    def _watch_limits(self, begun: Iterable[UnitTarget], now_s: float) -> None:
        if self._settings.follows_limit:
            groups = (target.found for target in self._targets.values() if target.found is not None)
            self._watch.watch_limits(group.path for group in groups)
            # systemd sets MemoryMax= after it made the cgroup: before the watch, that wakes nobody.
            self._follow_limits(begun, now_s)

    def _follow_limits(self, targets: Iterable[UnitTarget], now_s: float) -> None:
        for target in targets:
            if not target.follow_limit(now_s):
                self._limits_are_old = True

    def _is_wanted(self, name: str) -> bool:
        if name in self._exact or any(name == owner for owner, _ in self._owners):
            return True
        return any(fnmatchcase(name, pattern) for pattern in self._globs)

    def _add(self, name: str) -> UnitTarget:
        target = self._targets[name] = UnitTarget(self._context, name, self._settings, *self._callbacks)
        self._context.shared.targets.add(target)
        return target

    def _unit_gone(self, target: UnitTarget, now_s: float) -> None:
        self._forget(target)
        self.invalidate()  # What said that it is gone may have been wrong.

    def _forget(self, target: UnitTarget) -> None:
        """Forget a unit that only a pattern named; the next of that name is a new target."""
        if target.name not in self._exact:
            target.has_ended = self._context.shared.targets.has_changed = True
            del self._targets[target.name]

    def _skip(self, name: str) -> None:
        if name not in self._skipped:
            self._skipped.add(name)
            self._context.shared.report.warn.unit_skipped(name, UNTOUCHABLE)

    def _is_asked_for_stop(self) -> bool:
        """Whether everything was running, and nothing has a cgroup any more."""
        return (
            self._some_have_run
            and not any(target.found is not None for target in self._targets.values())
            and all(self._targets[name].has_run for name in self._exact)
        )

    def _poll_inotify(self) -> None:
        if self._watch.descriptor != self._polled:
            self._polled = self._watch.descriptor
            self._context.shared.poller.watch(self._polled, self)

    def _next_refresh_s(self, now_s: float) -> float:
        if self._more:
            return now_s
        due_s = self._follow_up_s
        if self._limits_are_old or not self._watch.has_all:
            due_s = min(due_s, now_s + self._settings.interval_s)
        if self._stop is not None and self._is_asked_for_stop():
            due_s = min(due_s, now_s + _STOP_PAUSE_S)
        for target in self._targets.values():
            due_s = min(due_s, target.muted_until_s, now_s + target.files_pause_s)
        return due_s
