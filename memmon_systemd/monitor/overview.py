"""Several targets in one sentence: "12 units: 10 ok, 1 over, 1 signalled; nearest myapp.service 92%"."""

from __future__ import annotations

from collections import Counter
from typing import Final

from memmon_systemd.formatting import percent
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.policy import State
from memmon_systemd.monitor.target import Target, TargetList

_NEAR_PERCENT: Final = 75
"""Below that, memory.current alone usually settles a look, and what the target uses isn't known."""
_ORDER: Final = (*(state for state in State if state is not State.WAITING), State.WAITING)


class Overview:
    """Counts the targets of a list, and knows which are near their thresholds and which can't be read."""

    __slots__ = ("_blind", "_near", "_nearest", "_targets")

    def __init__(self, targets: TargetList) -> None:
        self._targets = targets
        self._near: set[Target] = set()
        self._blind: set[Target] = set()
        self._nearest: Target | None = None
        """The one that the last sentence named."""

    @property
    def is_watchful(self) -> bool:
        """Whether what the next look of any target says may change the sentence."""
        return bool(self._near or self._blind)

    def note_unreadable(self, target: Target) -> bool:
        """A target couldn't be read; whether that is new."""
        is_new = target not in self._blind
        self._blind.add(target)
        return is_new

    def note_readable(self, target: Target) -> bool:
        """A target was read; whether that is new."""
        if target not in self._blind:
            return False
        self._blind.remove(target)
        return True

    def note_reading(self, target: Target, gauge: Gauge) -> bool:
        """A target that is `ok` was measured; whether it is near, or was: the sentence may be another one."""
        was_near = target in self._near
        if percent(gauge.usage_bytes, gauge.schedule.threshold_bytes) >= _NEAR_PERCENT:
            self._near.add(target)
            return True
        self._near.discard(target)
        return was_near

    def note_far(self, target: Target) -> bool:
        """memory.current alone settled the look; whether the sentence named this target as the nearest."""
        self._near.discard(target)
        if target is not self._nearest:
            return False
        self._nearest = None
        return True

    def forget(self) -> None:
        """All that was noted."""
        self._near.clear()
        self._blind.clear()
        self._nearest = None

    def sentence(self) -> tuple[str, str]:
        """The sentence, and what to add for the nearest target; forgets those that are gone."""
        states: Counter[State] = Counter()
        nouns: set[str] = set()
        near: dict[Target, int] = {}
        blind: set[Target] = set()
        target = self._targets.first
        while target is not None:
            states[target.state] += 1
            nouns.add(target.noun)
            if target in self._blind:
                blind.add(target)
            if target in self._near and target.state is State.OK and target.gauge is not None:
                gauge = target.gauge
                near[target] = percent(gauge.usage_bytes, gauge.schedule.threshold_bytes)
            target = target.next
        self._near = set(near)
        self._blind = blind
        self._nearest = max(near, key=near.__getitem__) if near else None
        nearest = f"; nearest {self._nearest.name} {near[self._nearest]}%" if self._nearest else ""
        return _counted(states, nouns, len(blind)), nearest


def _counted(states: Counter[State], nouns: set[str], unreadable: int) -> str:
    count = states.total()
    noun = nouns.pop() if len(nouns) == 1 else "target"
    plural = "" if count == 1 else "es" if noun.endswith("s") else "s"
    counts = ", ".join(f"{states[state]} {state.value}" for state in _ORDER if states[state])
    suffix = f" ({unreadable} can't be read)" if unreadable else ""
    return f"{count} {noun}{plural}: {counts}{suffix}"
