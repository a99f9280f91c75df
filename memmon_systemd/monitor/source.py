"""Where targets come from, and what every source is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from memmon_systemd.monitor.keeper import Keeper, NothingKept
from memmon_systemd.monitor.pauses import Pauses
from memmon_systemd.monitor.poller import Poller
from memmon_systemd.monitor.report import Report
from memmon_systemd.monitor.room import Room
from memmon_systemd.monitor.target import TargetList


def _nobody() -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the sources and the loop share."""

    targets: TargetList
    poller: Poller
    report: Report
    keeper: Keeper = field(default_factory=NothingKept)
    pauses: Pauses = field(default_factory=Pauses)
    room: Room = field(default_factory=Room)
    still_starting: Callable[[], None] = _nobody
    """To be called now and then before READY, where that can take long."""


class Source(ABC):
    """Where targets come from: a name that stands for processes, or the units of a manager."""

    def __init__(self) -> None:
        self.due_s = 0.0
        """When to refresh it next."""
        self.early_s = 0.0
        """So much earlier it may be, with a look for which the loop wakes up anyway."""
        self.is_stale = True
        """Whether what it knows may be wrong: the next refresh lists everything again."""

    def invalidate(self) -> None:
        """List everything again, within an interval."""
        self.is_stale = True

    @abstractmethod
    def refresh(self, now_s: float) -> None:
        """Find what came and went; sets the next `due_s` and clears `is_stale`. Raises nothing."""

    @abstractmethod
    def is_finished(self) -> bool:
        """Whether everything it stands for has stopped for good (`--until-stopped`)."""

    @abstractmethod
    def has_targets(self) -> bool:
        """Whether anything that it stands for is there now."""


class Reader(Source):
    """What is read again while the monitor runs: refreshed like a source, and has no targets of its own."""

    def is_finished(self) -> bool:
        """It doesn't keep a monitor from ending (`--until-stopped`)."""
        return True

    def has_targets(self) -> bool:
        """None of its targets is missing."""
        return True
