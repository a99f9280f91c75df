"""Where targets come from, and what every source is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from memmon_systemd.monitor.report import Report
from memmon_systemd.monitor.target import Roster, Waiter


@dataclass(frozen=True, slots=True)
class Loop:
    """What the sources and the monitor share."""

    roster: Roster
    """Where targets go."""
    waiter: Waiter
    """Where descriptors that wake the loop go."""
    report: Report


class Source(Protocol):
    """Where targets come from: a name that stands for processes, or the units of a manager."""

    due_s: float
    slack_s: float
    """So much later than due it may be refreshed, with a look for which the loop wakes up anyway."""

    def refresh(self, now_s: float) -> None:
        """Find what came and went; sets the next `due_s`. Raises nothing."""

    def is_finished(self) -> bool:
        """Whether everything it stands for has stopped for good (`--until-stopped`)."""

    def has_targets(self) -> bool:
        """Whether anything that it stands for is there now."""
