"""What the monitor measures: one unit or process."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from memmon_systemd.monitor.episode import Episode
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.policy import Activity, Hold, State
from memmon_systemd.settings import Rate, TargetSettings

NEVER: Final = float("inf")
EARLY: Final = 0.125
"""The fraction of its wait by which a look may be early, to share a wake-up: the last eighth."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request."""

    is_done: bool
    sentence: str
    """The end of the log line: "sent SIGTERM to the main process (KillUnit)", or why that failed."""


@dataclass(frozen=True, slots=True)
class Presence:
    """What a target is at this moment."""

    activity: Activity
    age_s: float | None
    """Since the start of its invocation; None: unknown."""
    leaves_memory: bool = False
    """Whether a request would end its main process only, and leave those that use the memory."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the requests of one target's past invocations leave."""

    made: int
    """First requests within the window."""
    count: int | None
    """So many are allowed; None: any number."""
    window_s: float
    free_at_s: float
    """When the oldest one leaves the window."""

    @property
    def has_room(self) -> bool:
        """Whether another one is allowed now."""
        return self.count is None or self.made < self.count


UNBOUNDED: Final = Allowance(made=0, count=None, window_s=0.0, free_at_s=0.0)


class Target(ABC):
    """One unit or process, and the settings that it is monitored by. Times are of the monotonic clock."""

    __slots__ = (
        "begun_bytes",
        "begun_s",
        "due_s",
        "episode",
        "failed_requests",
        "failure",
        "gauge",
        "has_ended",
        "last_request_s",
        "name",
        "next",
        "repeat_s",
        "requests",
        "settings",
        "signal_number",
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
        self.signal_number: int = settings.signal_number or signal.SIGTERM
        """What a request sends."""
        self.state = State.WAITING
        self.episode: Episode | None = None
        """What happened above the threshold in this invocation, if anything did."""
        self.begun_s = 0.0
        """When this invocation was first measured."""
        self.begun_bytes = 0
        """What it used then."""
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
        self.requests = 0
        """How many were made, over all its invocations."""
        self.failed_requests = 0
        self.last_request_s: float | None = None
        """When the last one was made, in seconds since 1970."""
        self.next: Target | None = None

    @property
    def directory(self) -> str:
        """The cgroup that is measured; empty: none."""
        return ""

    @property
    def pid(self) -> int:
        """The process that is measured; 0: it is no process."""
        return 0

    @property
    def invocation_id(self) -> bytes:
        """The invocation that is measured; empty: unknown, or it has none."""
        return b""

    @property
    def budget(self) -> Rate | None:
        """How many requests it may get; None: any number."""
        return self.settings.budget

    def budget_times(self) -> Sequence[float]:
        """When those were made that count for its budget."""
        return ()

    @abstractmethod
    def presence(self, now_s: float) -> Presence:
        """What it is now, asked just before a request; OSError where that can't be read."""

    @abstractmethod
    def request(self, now_s: float) -> Outcome:
        """Send the signal, or ask for the restart, by the first way that works. Raises nothing."""

    def escalate(self, now_s: float) -> Outcome:
        """Have it restarted, for it hasn't followed (`--then-restart`). Raises nothing."""
        raise NotImplementedError(now_s)

    def allowance(self, now_s: float) -> Allowance:
        """What `--budget` leaves."""
        del now_s
        return UNBOUNDED

    def is_its_turn(self, now_s: float) -> bool:
        """Whether `--at-most` leaves room for it; raises nothing."""
        del now_s
        return True

    @property
    def condition_name(self) -> str:
        """The unit that permits requests; "" where there is none."""
        return ""

    def follow_condition(self, since_s: float, now_s: float) -> None:  # noqa: B027 - not every target has one
        """Learn what became of the unit that permits requests, if it was started at `since_s` or later."""

    def is_permitted(self, now_s: float) -> bool:
        """Whether that unit has succeeded, for one request; else it is started. Raises nothing."""
        del now_s
        return True

    def forgo_permission(self) -> None:  # noqa: B027
        """What was permitted isn't done now: it is to be permitted again."""

    def condition_due_s(self, now_s: float) -> float:
        """When to see again whether it is permitted."""
        return now_s

    def call_hook(self, now_s: float) -> None:  # noqa: B027
        """Start the unit that is to know of a request (`--on-request`). Raises nothing."""

    def is_news(self, reason: Hold) -> bool:
        """Whether it is worth a line that this holds it back; asked once in an invocation."""
        del reason
        return True

    def note_request(self, now_s: float) -> None:  # noqa: B027 - not every target counts them
        """The first request of this invocation was made."""

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
        self.begun_s = now_s
        self.begun_bytes = gauge.usage_bytes
        self.start_afresh(now_s)

    def start_afresh(self, now_s: float) -> None:
        """Another invocation begins: from `ok`, with nothing asked of it yet."""
        self.state = State.OK
        self.episode = None
        self.look_at(now_s)

    def look_at(self, due_s: float) -> None:
        """Be looked at by then, or never."""
        self.due_s = self.soon_s = due_s

    def look_in(self, wait_s: float, now_s: float) -> None:
        """Be looked at after this wait at the latest, or a little earlier along with others."""
        self.due_s = now_s + wait_s
        self.soon_s = self.due_s - wait_s * EARLY


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
