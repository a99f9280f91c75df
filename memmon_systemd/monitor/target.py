"""What the loop looks after: the targets, and the one place where it waits."""

from __future__ import annotations

import select
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Protocol

from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.policy import State

NEVER: Final = float("inf")
EARLY: Final = 0.125
"""So much of its wait a target may be looked at too early: the last eighth."""
NO_DESCRIPTOR: Final = -1
LONGEST_WAIT_S: Final = 3600.0
"""poll(2) takes milliseconds in an int: 24 days at most."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of asking a target to go."""

    done: bool
    what: str
    """The sentence's end: "sent SIGTERM to the main process by KillUnit", or why that failed."""


class Target(ABC):
    """One unit or process. Times are seconds of the monotonic clock."""

    __slots__ = (
        "due_s",
        "ended",
        "failure",
        "gauge",
        "name",
        "next",
        "repeat_s",
        "since_s",
        "soon_s",
        "state",
        "unit",
        "unreadable",
    )

    def __init__(self, name: str, unit: str | None, repeat_s: float) -> None:
        """A target that is waited for; `unit` is the systemd unit that log lines belong to."""
        self.name = name
        self.unit = unit
        self.repeat_s = repeat_s
        self.state = State.WAITING
        self.since_s = 0.0
        """When the state began; in SIGNALLED, when the last signal was sent."""
        self.due_s = NEVER
        """When it is looked at next at the latest; `look_in` and `look_at` set it."""
        self.soon_s = NEVER
        """From then on it is looked at when the loop is awake anyway: one wake-up for many targets."""
        self.gauge: Gauge | None = None
        self.ended = False
        """Set when the loop shall let go of it."""
        self.failure = ""
        """Why the last try to act failed; said again only when it changes."""
        self.unreadable = 0
        """How many readings have failed since it began."""
        self.next: Target | None = None

    @abstractmethod
    def is_same(self) -> bool:
        """Whether it is still the invocation or the process that was measured; asked before acting."""

    @abstractmethod
    def act(self, now_s: float) -> Outcome:
        """Ask it to go: the signal or the restart, by the first way that works. Raises nothing."""

    @abstractmethod
    def lost(self, now_s: float) -> None:
        """What was measured is no more: wait for it, or set `ended`."""

    def begin(self, gauge: Gauge, now_s: float) -> None:
        """Measure a new invocation or process, from `ok`; the gauge has its first reading."""
        self.gauge = gauge
        self.failure = ""
        self.unreadable = 1 if gauge.trouble else 0
        self.enter(State.OK, now_s)
        self.look_at(now_s)

    def look_at(self, due_s: float) -> None:
        """Be looked at by then, or never."""
        self.due_s = self.soon_s = due_s

    def look_in(self, wait_s: float, now_s: float) -> None:
        """Be looked at after this wait at the latest, or a little earlier along with others."""
        self.due_s = now_s + wait_s
        self.soon_s = self.due_s - wait_s * EARLY

    def enter(self, state: State, now_s: float) -> None:
        """Change the state."""
        self.state = state
        self.since_s = now_s


class Wakeable(Protocol):
    """Who a descriptor belongs to."""

    def wake(self, now_s: float) -> None:
        """The descriptor has something."""


class Roster:
    """All targets, as a linked list: walking it makes no iterator, so it calls no allocator."""

    __slots__ = ("first", "has_changed")

    def __init__(self) -> None:
        """Nobody yet."""
        self.first: Target | None = None
        self.has_changed = True
        """Whether a target came, or may have ended, since the last sweep."""

    def add(self, target: Target) -> None:
        """Put a target in front."""
        self.has_changed = True
        target.next = self.first
        self.first = target

    def sweep(self) -> None:
        """Let go of every target that has ended."""
        self.has_changed = False
        kept: Target | None = None
        target, self.first = self.first, None
        while target is not None:
            following = target.next
            if not target.ended:
                if kept is None:
                    self.first = target
                else:
                    kept.next = target
                target.next = None
                kept = target
            target = following


class Waiter:
    """The one place where the monitor waits: a poll(2) for all descriptors, with a time-out."""

    __slots__ = ("_owners", "_poll", "ended")

    def __init__(self) -> None:
        """Nothing to wait for yet."""
        self._poll = select.poll()
        self._owners: dict[int, Wakeable] = {}
        self.ended = False
        """Set when the monitor is told to end: whoever works through a long list leaves the rest undone."""

    def watch(self, descriptor: int, owner: Wakeable, *, urgent: bool = False) -> None:
        """Wake `owner` when there is something to read, or `urgent`: at an exceptional condition."""
        self._owners[descriptor] = owner
        self._poll.register(descriptor, select.POLLPRI if urgent else select.POLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Forget a descriptor; one that isn't watched is no error."""
        if self._owners.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def wait(self, longest_s: float, clock: Clock) -> bool:
        """Wait for a descriptor or the time-out, whichever is first; whether it was a descriptor."""
        ready = self._poll.poll((longest_s if longest_s < LONGEST_WAIT_S else LONGEST_WAIT_S) * 1000.0)
        if not ready:
            return False
        now_s = clock()
        for descriptor, _ in ready:
            self._owners[descriptor].wake(now_s)
        return True


class Clock(Protocol):
    """Seconds that only go forward."""

    def __call__(self) -> float:
        """Now."""
