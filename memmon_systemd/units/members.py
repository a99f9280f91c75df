"""The units of one manager that are targets: those that were named, and those that say so themselves."""

from __future__ import annotations

from memmon_systemd.monitor.source import Source
from memmon_systemd.settings import Action, TargetSettings
from memmon_systemd.units.choice import Choice
from memmon_systemd.units.measured import UnitContext
from memmon_systemd.units.target import UnitTarget
from memmon_systemd.units.untouchable import UNTOUCHABLE


class Members(Source):
    """Who comes in and who goes out; how they are found is another matter."""

    def __init__(self, context: UnitContext, choice: Choice) -> None:
        super().__init__()
        self._context = context
        self._choice = choice
        # Once for all: each `self._unit_gone` is another object, of 64 bytes for each unit.
        self._callbacks = (self._unit_gone, self.wake)
        self._targets: dict[str, UnitTarget] = {}
        self._skipped: set[str] = set()

    def add_name(self, name: str, why_waiting: str) -> None:
        """Watch a unit by its full name; while it has no cgroup, `why_waiting` is said."""
        if name not in self._choice.exact:
            self._choice.exact[name] = why_waiting
            self._add(name, self._choice.settings)

    def add_glob(self, pattern: str) -> None:
        """Watch every unit that matches, while it has a cgroup."""
        self._choice.add_glob(pattern)

    def add_owner(self, name: str, prefix: str) -> None:
        """Watch a unit, while it has a cgroup and owns processes of that name."""
        if self._choice.add_owner(name, prefix):
            self.invalidate()

    def remove_owner(self, name: str, prefix: str, now_s: float) -> None:
        """Watch a unit for that name no more."""
        self._choice.remove_owner(name, prefix)
        if not self._choice.may_be_wanted(name):
            self._give_up(name, f"it is no owner of {prefix} any more", now_s)

    def names(self) -> list[str]:
        """The units that are waited for or measured now."""
        return list(self._targets)

    def asked_by_signal(self) -> dict[str, int | None]:
        """The units that get a signal, by name; None: the unit's own."""
        return {
            name: target.settings.signal_number
            for name, target in self._targets.items()
            if target.settings.action is Action.SIGNAL
        }

    def settings_of_all(self) -> dict[str, TargetSettings]:
        """The settings of each unit that is waited for or measured now."""
        return {name: target.settings for name, target in self._targets.items()}

    def reload(self) -> None:
        """Read the files of configured units again, at the next refresh; for a signal handler."""
        if self._choice.configured is not None:
            self._choice.configured.is_outdated = True
            self.due_s = 0.0

    def adopt(self, settings: TargetSettings, now_s: float) -> None:
        """Go on by other settings of what was named, whether it runs or not."""
        self._choice.settings = settings
        for target in self._targets.values():
            target.adopt(settings, now_s)

    @property
    def count(self) -> int:
        """How many units are targets."""
        return len(self._targets)

    def wake(self, now_s: float) -> None:
        """The slices have news, or a unit is to be muted for a while."""
        self.due_s = min(self.due_s, now_s)

    def _add(self, name: str, settings: TargetSettings) -> UnitTarget:
        target = self._targets[name] = UnitTarget(self._context, name, settings, *self._callbacks)
        self._context.shared.targets.add(target)
        return target

    def _give_up(self, name: str, why: str | None, now_s: float) -> None:
        """A unit that runs isn't monitored any more; None: that was said already."""
        target = self._targets.get(name)
        if target is not None:
            target.release(now_s)
            if why is not None:
                self._context.shared.report.no_longer_monitored(target, why)
            self._forget(target)

    def _unit_gone(self, target: UnitTarget, now_s: float) -> None:
        self._forget(target)
        self.invalidate()  # What said that it is gone may have been wrong.

    def _forget(self, target: UnitTarget) -> None:
        """Forget a unit that only a pattern named; the next of that name is a new target."""
        if target.name not in self._choice.exact:
            target.has_ended = self._context.shared.targets.has_changed = True
            del self._targets[target.name]

    def _skip(self, name: str) -> None:
        if name not in self._skipped:
            self._skipped.add(name)
            self._context.shared.report.warn.unit_skipped(name, UNTOUCHABLE)
