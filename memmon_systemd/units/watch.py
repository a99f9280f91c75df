"""The units of one manager that were named: found by the cgroups that come and go in their slices."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from memmon_systemd.linux import cgroup
from memmon_systemd.monitor.poller import NO_DESCRIPTOR
from memmon_systemd.monitor.target import NEVER
from memmon_systemd.settings import TargetSettings
from memmon_systemd.units import oom_kills
from memmon_systemd.units.choice import Choice
from memmon_systemd.units.measured import UnitContext
from memmon_systemd.units.members import Members
from memmon_systemd.units.slice_watch import SliceWatch
from memmon_systemd.units.stop import Stop
from memmon_systemd.units.target import UnitTarget

if TYPE_CHECKING:
    from memmon_systemd.units.configured import Configured

_STOP_PAUSE_S: Final = 1.0
_BEGUN_AT_ONCE: Final = 4
"""Each is four questions to systemd, of up to a second: then the watchdog and other units have their turn."""


class UnitWatch(Members):
    """A source of units: finds them by their cgroups, and follows what changes."""

    def __init__(
        self,
        context: UnitContext,
        settings: TargetSettings,
        watch: SliceWatch,
        untouchable: Collection[str],
        *,
        until_stopped: bool = False,
        configured: Configured | None = None,
    ) -> None:
        """A watch without names on the units that `watch` finds, but for `untouchable`."""
        super().__init__(context, Choice(settings, context.rolls.globs, configured))
        self._interval_s = settings.interval_s
        self._watch = watch
        self._untouchable = untouchable
        self._stop = Stop(context, untouchable) if until_stopped else None
        self._some_have_run = self._has_looked = self._has_stopped = False
        self._listed_in_vain = self._limits_are_old = False
        self._follow_up_s = NEVER
        """When to ask what became of a request."""
        self._why_none: str | None = None
        """What was said of it that no unit is configured."""
        self._polled = NO_DESCRIPTOR
        self._more: Mapping[str, cgroup.Found] = {}
        """Units that were found and aren't measured yet."""
        self._poll_inotify()
        if configured is not None and configured.descriptor != NO_DESCRIPTOR:
            context.shared.poller.watch(configured.descriptor, self)

    def has_targets(self) -> bool:
        """Whether any of the units has a cgroup now, and each of those that were named exactly."""
        running = {name for name, target in self._targets.items() if target.found is not None}
        return bool(running) and self._choice.exact.keys() <= running

    def is_finished(self) -> bool:
        """Whether units were running and all of them have stopped for good."""
        return self._has_stopped

    def rehearse(self) -> None:
        """Go the way of an inotify event, and that of the direct signal."""
        self._watch.rehearse()
        if self._choice.configured is not None:
            self._choice.configured.rehearse()
        own_group = cgroup.control_group_of("self") or ""
        directory = self._context.hierarchy.directory(own_group)
        self._context.signaller.rehearse(directory)
        oom_kills.read_below(directory)

    def refresh(self, now_s: float) -> None:
        """Find the units that came and went, and the limits that changed."""
        news = self._watch.news(self._choice.may_be_wanted)
        self._read_unit_files(now_s)
        awaits_files = any(target.files_pause_s < NEVER for target in self._targets.values())
        if self.is_stale or news.units or awaits_files:
            self.is_stale = not self._rescan(now_s)
        elif self._more:
            self._watch_limits(self._begin(self._more, now_s), now_s)
        if not self._has_looked:
            self._begin_to_look()
        if news.limits or self._limits_are_old:
            self._limits_are_old = False
            self._follow_limits(self._targets.values(), now_s)
        for target in list(self._targets.values()):
            if target.events is not None and target.muted_until_s <= now_s:
                target.events.listen(now_s)
        self._follow_up_s = min(
            self._context.aftermath.follow(now_s, self._interval_s),
            self._context.hooks.follow(now_s, self._interval_s),
        )
        if self._stop is not None and self._is_asked_for_stop():
            self._has_stopped = self._stop.has_come(self._choice.names())
        if self._watch.problem:
            self._context.shared.report.warn.no_inotify(self._watch.problem)
            self._watch.problem = None
        self.due_s = self._next_refresh_s(now_s)

    def _begin_to_look(self) -> None:
        self._has_looked = True
        for name, why_waiting in self._choice.exact.items():
            if self._targets[name].found is None:
                self._context.shared.report.waiting(name, name, why_waiting)

    def _rescan(self, now_s: float) -> bool:
        """Find what came and went; False where that couldn't be listed, and what is known holds."""
        had_all = self._watch.has_all
        try:
            seen: Mapping[str, cgroup.Found] = self._watch.scan(self._choice.may_be_wanted)
        except OSError as error:
            if not self._listed_in_vain:
                self._context.shared.report.warn.units_unlisted(str(error))
            self._listed_in_vain = True
            return False
        self._listed_in_vain = False
        self._poll_inotify()
        if self._choice.configured is not None:
            self._choice.configured.note(seen, now_s)
            self._read_unit_files(now_s)
            seen = self._choice.configured.chosen(seen)
        has_changed = self._end_gone(seen, now_s)
        begun = self._begin(seen, now_s)
        if has_changed or begun or not had_all:
            self._watch_limits(begun, now_s)
        return True

    def _read_unit_files(self, now_s: float) -> None:
        """See whether systemd has reloaded, and read what is due."""
        configured = self._choice.configured
        if configured is None:
            return
        changes = configured.changes(now_s, self._interval_s, all_at_once=not self._has_looked)
        count = configured.new_count()
        if count is not None:
            self._expect(count)
        for name, change in changes.items():
            target = self._targets.get(name)
            if target is None:
                self.is_stale = True
            elif change.settings is None:
                self._give_up(name, "its unit file no longer says so", now_s)
            else:
                target.adopt(change.settings, now_s)
                self._context.shared.report.settings_changed(target, change.said)
        if count is not None:
            self._say_none(None if count else configured.why_none)

    def _say_none(self, why: str | None) -> None:
        """No unit is configured, or None; said once."""
        if why is not None and why != self._why_none:
            self._context.shared.report.waiting("memory-monitor", None, why)
        self._why_none = why

    def _expect(self, count: int) -> None:
        """So many units are configured now."""
        shared = self._context.shared
        if (problem := shared.keeper.expect(count)) is not None:
            shared.report.warn.state_too_small(problem)
        shared.targets.has_changed = True  # Those that had no room are to be noted, too.

    def _end_gone(self, seen: Mapping[str, cgroup.Found], now_s: float) -> bool:
        """End the units whose cgroup was removed, or is another one; whether there were such."""
        has_changed = False
        for name, target in list(self._targets.items()):
            if target.found is not None and seen.get(name) != target.found:
                if self._choice.is_left(name):
                    self._give_up(name, None, now_s)
                else:
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
            settings = self._choice.settings_of(name)
            if settings is None:
                continue
            target = self._targets.get(name) or self._add(name, settings)
            self._some_have_run = True
            if target.found is not None:
                continue
            if not self._has_looked:
                self._context.shared.still_starting()
            # At start-up all of them: their memory is to be asked for before READY.
            if len(begun) == _BEGUN_AT_ONCE and self._has_looked:
                more[name] = found
            elif target.try_begin(found, now_s):
                begun.append(target)
        self._more = more
        return begun

    def _watch_limits(self, begun: Iterable[UnitTarget], now_s: float) -> None:
        followed = [target.found for target in self._targets.values() if target.settings.follows_limit]
        self._watch.watch_limits(found.path for found in followed if found is not None)
        # systemd sets MemoryMax= after it made the cgroup: before the watch, that wakes nobody.
        self._follow_limits(begun, now_s)

    def _follow_limits(self, targets: Iterable[UnitTarget], now_s: float) -> None:
        for target in targets:
            if target.settings.follows_limit and not target.follow_limit(now_s):
                self._limits_are_old = True

    def _is_asked_for_stop(self) -> bool:
        """Whether everything was running, and nothing has a cgroup any more."""
        return (
            self._some_have_run
            and not any(target.found is not None for target in self._targets.values())
            and all(self._targets[name].has_run for name in self._choice.exact)
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
            due_s = min(due_s, now_s + self._interval_s)
        if self._stop is not None and self._is_asked_for_stop():
            due_s = min(due_s, now_s + _STOP_PAUSE_S)
        if self._choice.configured is not None:
            due_s = min(due_s, self._choice.configured.due_s)
        for target in self._targets.values():
            due_s = min(due_s, target.muted_until_s, now_s + target.files_pause_s)
        return due_s
