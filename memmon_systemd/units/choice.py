"""Which units are monitored, and by which settings: named ones, and those that say so themselves."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from memmon_systemd.settings import TargetSettings

if TYPE_CHECKING:
    from memmon_systemd.units.configured import Configured


class Choice:
    """Names, globs and owners share one value of settings; a configured unit has its own."""

    __slots__ = ("_globs", "_owners", "configured", "exact", "settings")

    def __init__(
        self, settings: TargetSettings, globs: list[str], configured: Configured | None = None
    ) -> None:
        """Nothing is named yet; `globs` is shared with those who need to know them."""
        self.settings = settings
        """Of those that were named."""
        self._globs = globs
        self._owners: set[tuple[str, str]] = set()
        self.exact: dict[str, str] = {}
        """By full name: why the unit is waited for while it has no cgroup."""
        self.configured = configured

    def add_glob(self, pattern: str) -> None:
        """Every unit that matches, while it has a cgroup."""
        self._globs.append(pattern)

    def add_owner(self, name: str, prefix: str) -> bool:
        """A unit, while it owns processes of that name; whether that is new."""
        is_new = (name, prefix) not in self._owners
        self._owners.add((name, prefix))
        return is_new

    def remove_owner(self, name: str, prefix: str) -> None:
        """Not for that name any more."""
        self._owners.discard((name, prefix))

    def names(self) -> tuple[str, ...]:
        """The names and globs that were given."""
        return (*self.exact, *self._globs)

    def is_named(self, name: str) -> bool:
        """Whether a unit was named, in one of the three ways."""
        if name in self.exact or any(name == owner for owner, _ in self._owners):
            return True
        return any(fnmatchcase(name, pattern) for pattern in self._globs)

    def may_be_wanted(self, name: str) -> bool:
        """Whether a unit is monitored, or may say so in its files."""
        return self.is_named(name) or (self.configured is not None and self.configured.may_be(name))

    def settings_of(self, name: str) -> TargetSettings | None:
        """How a unit is monitored; None: it isn't."""
        if self.is_named(name):
            return self.settings
        return None if self.configured is None else self.configured.settings_of(name)

    def is_left(self, name: str) -> bool:
        """Whether a unit is left to a monitor of its own."""
        return self.configured is not None and self.configured.others.have(name)
