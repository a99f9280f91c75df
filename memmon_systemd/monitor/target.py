"""What the monitor measures: one unit or process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final

from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.policy import State
from memmon_systemd.settings import TargetSettings

NEVER: Final = float("inf")
EARLY: Final = 0.125
"""The fraction of its wait by which a look may be early, to share a wake-up: the last eighth."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request."""

    is_done: bool
    sentence: str
    """The end of the log line: "sent SIGTERM to the main process (KillUnit)", or why that failed."""
    is_under_way: bool = False
    """What would be asked for happens already: nothing was asked, and nothing is said."""


class Target(ABC):
    """One unit or process, and the settings that it is monitored by. Times are of the monotonic clock."""

    __slots__ = (
        "due_s",
        "failure",
        "gauge",
        "has_ended",
        "name",
        "next",
        "repeat_s",
        "settings",
        "since_s",
        "soon_s",
        "state",
        "unit",
        "unreadable",
    )

    noun: ClassVar = "target"
    """What a sentence on several of them calls one."""

    def __init__(self, name: str, unit: str | None, settings: TargetSettings, repeat_s: float) -> None:
        """A target that is waited for; `unit` is the systemd unit that log lines belong to."""
        self.name = name
        self.unit = unit
        self.settings = settings
        self.repeat_s = repeat_s
        self.state = State.WAITING
        self.since_s = 0.0
        """When the state began; in SIGNALLED, when the last signal was sent."""
        self.due_s = NEVER
        """When it is looked at next at the latest; `look_in` and `look_at` set it."""
        self.soon_s = NEVER
        """From then on it is looked at when the loop is awake anyway: one wake-up for many targets."""
        self.gauge: Gauge | None = None
        self.has_ended = False
        """Set when the loop shall forget it."""
        self.failure: str | None = None
        """Why the last request failed; said again only when it changes."""
        self.unreadable = 0
        """How many readings have failed since it began."""
        self.next: Target | None = None

    @abstractmethod
    def is_same(self) -> bool:
        """Whether it is still the invocation or the process that was measured; asked before a request.

        OSError where that can't be read.
        """

    @abstractmethod
    def request(self, now_s: float) -> Outcome:
        """Send the signal, or ask for the restart, by the first way that works. Raises nothing."""

    @abstractmethod
    def lost(self, now_s: float) -> None:
        """What was measured is no more: wait for it, or set `has_ended`."""

    def is_minor_trouble(self) -> bool:
        """Whether a first failed reading of it is said with -v only."""
        return False

    def begin(self, gauge: Gauge, now_s: float) -> None:
        """Measure a new invocation or process, from `ok`; the gauge has its first reading."""
        self.gauge = gauge
        self.failure = None
        self.unreadable = 0 if gauge.trouble is None else 1
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


class TargetList:
    """All targets, as a linked list: walking it makes no iterator, so it calls no allocator."""

    __slots__ = ("first", "has_changed")

    def __init__(self) -> None:
        self.first: Target | None = None
        self.has_changed = True
        """Whether a target came, or may have ended, since the last sweep."""

    def add(self, target: Target) -> None:
        """Put a target in front."""
        self.has_changed = True
        target.next = self.first
        self.first = target

    def sweep(self) -> None:
        """Forget every target that has ended."""
        self.has_changed = False
        kept: Target | None = None
        target, self.first = self.first, None
        while target is not None:
            following = target.next
            if not target.has_ended:
                if kept is None:
                    self.first = target
                else:
                    kept.next = target
                target.next = None
                kept = target
            target = following
