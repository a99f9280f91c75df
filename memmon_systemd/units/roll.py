"""Not all at once: how many units of a NAME or a template may be down at a time (`--at-most`)."""

from __future__ import annotations

from fnmatch import fnmatchcase

from memmon_systemd.monitor.policy import Hold
from memmon_systemd.monitor.target import NEVER, Target, TargetList
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.units.ledger import Ledger


class Rolls:
    """The queues of units that wait for their turn.

    Slots are held by units, not by time: one that was asked holds its slot until its new invocation is
    active, and so does one that systemd says is starting, stopping or failed, whoever made it so. One that
    was stopped for good gives its slot back. Who that is comes in one answer, at most once in an interval for
    each group.
    """

    def __init__(self, manager: Manager, targets: TargetList, ledger: Ledger, interval_s: float) -> None:
        self.globs: list[str] = []
        """The NAMEs that are globs."""
        self._manager = manager
        self._targets = targets
        self._ledger = ledger
        self._interval_s = interval_s
        self._down: dict[str, tuple[float, frozenset[str] | None]] = {}
        """By group: when systemd was asked, and who was down by its answer; None: it didn't answer."""

    def is_its_turn(self, target: Target, at_most: int, now_s: float) -> bool:
        """Whether there is a free slot, and fewer of its queue are nearer than there are slots."""
        group = self._group_of(target.name)
        if group is None:
            return True
        taken = {name for name in self._taken(group, now_s) if name != target.name}
        room = at_most - len(taken)
        if target.name in self._ledger.deciding:
            return room > 0  # It had its turn when its condition was started.
        return room > 0 and self._nearer(target, group, room) < room

    def _taken(self, group: str, now_s: float) -> frozenset[str]:
        read_s, down = self._down.get(group, (NEVER, None))
        if not read_s <= now_s < read_s + self._interval_s:
            read_s, down = self._down[group] = (now_s, self._down_now(group))
        deciding = frozenset(name for name in self._ledger.deciding if self._group_of(name) == group)
        # One that was said not to be back is failed or late: systemd knows if it still is.
        asked = frozenset(
            name
            for name, entry in self._ledger.all_pending()
            if self._group_of(name) == group
            and (down is None or entry.said_s is None or entry.said_s > read_s)
        )
        return (asked if down is None else asked | down) | deciding

    def _down_now(self, group: str) -> frozenset[str] | None:
        try:
            return self._manager.down_or_on_the_way(group)
        except BusError:
            return None

    def _nearer(self, target: Target, group: str, enough: int) -> int:
        """How many that wait in the same queue are nearer to their thresholds, counted up to `enough`."""
        share, found = _share(target), 0
        other = self._targets.first
        while other is not None and found < enough:
            if (
                other is not target
                and _waits(other)
                and _share(other) > share
                and self._group_of(other.name) == group
            ):
                found += 1
            other = other.next
        return found

    def _group_of(self, name: str) -> str | None:
        """The glob that names a unit, or that of its template; None for one by itself."""
        for glob in self.globs:
            if fnmatchcase(name, glob):
                return glob
        prefix, at, instance = name.partition("@")
        return f"{prefix}@*.{instance.rpartition('.')[2]}" if at else None


def _waits(target: Target) -> bool:
    """Whether a unit is in a queue, or will be at the look that it is due for: at the start, and no later."""
    if target.episode is not None:
        return target.episode.hold is Hold.AT_MOST
    gauge = target.gauge
    is_above = gauge is not None and gauge.usage_bytes > gauge.schedule.threshold_bytes
    return is_above and not target.settings.for_s


def _share(target: Target) -> float:
    gauge = target.gauge
    return 0.0 if gauge is None else gauge.usage_bytes / max(gauge.schedule.threshold_bytes, 1)
