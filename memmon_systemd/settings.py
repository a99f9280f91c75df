"""What a user asked for, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final, TypeAlias

from memmon_systemd.formatting import format_bytes, format_seconds


class Metric(StrEnum):
    """Which number is compared with the threshold, as written on the command line."""

    UNRECLAIMABLE = "unreclaimable"
    CURRENT = "current"
    WORKING_SET = "working-set"
    ANON = "anon"
    RSS = "rss"
    PSS = "pss"


PROCESS_METRICS: Final = (Metric.RSS, Metric.PSS)
"""Those of processes; all others are of units."""


class NameKind(StrEnum):
    """What a NAME on the command line stands for."""

    AUTO = "auto"
    UNIT = "unit"
    PROCESS = "process"
    OWNER = "owner"


class KillWhom(StrEnum):
    """Which processes of a unit get the signal: the words of systemctl(1) --kill-whom=."""

    MAIN = "main"
    CONTROL = "control"
    ALL = "all"


class Action(StrEnum):
    """What a unit is asked by, as in a unit file."""

    SIGNAL = "signal"
    RESTART = "restart"
    RELOAD = "reload"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in a time; None: any number."""

    count: int | None
    window_s: float

    def __str__(self) -> str:
        """The rate as a user writes it: "10/1h"."""
        if self.count is None:
            return "infinity"
        return f"{self.count}/{format_seconds(self.window_s).replace(' ', '')}"


@dataclass(frozen=True, slots=True)
class Size:
    """A threshold of so many bytes."""

    follows_limit: ClassVar = False
    size_bytes: int

    def threshold_bytes(self, limit_bytes: int) -> int:
        """The threshold in bytes, whatever the limit is."""
        return self.size_bytes

    def __str__(self) -> str:
        """The size as a log line shows it: "500 MiB"."""
        return format_bytes(self.size_bytes)


@dataclass(frozen=True, slots=True)
class Share:
    """A threshold of so many percent of the limit that applies to the target."""

    follows_limit: ClassVar = True
    percent: float

    def threshold_bytes(self, limit_bytes: int) -> int:
        """The threshold in bytes for a limit in bytes, to the nearest byte."""
        # In integers: as floats, 100 % of 2^63 - 1 would be more than the whole.
        numerator, denominator = self.percent.as_integer_ratio()
        return (limit_bytes * numerator + denominator * 50) // (denominator * 100)

    def __str__(self) -> str:
        """The share as a user writes it: "80%"."""
        return f"{self.percent!r}%".replace(".0%", "%")


Threshold: TypeAlias = Size | Share
UNIT_BUDGET: Final = Rate(10, 3600.0)
UNBOUNDED: Final = Rate(None, 0.0)


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """How one target is monitored, and what is asked of it; None stands for what depends on the target."""

    threshold: Threshold
    hard_threshold: Threshold | None = None
    """Above it only the budget holds a request back."""
    interval_s: float = 2.0
    action: Action = Action.SIGNAL
    signal_number: int | None = None
    """None: of a unit the one that systemd would restart it with, of a process SIGTERM."""
    metric: Metric | None = None
    swap: bool = False
    growth_bytes_per_s: int | None = None
    for_s: float = 0.0
    min_age_s: float = 0.0
    budget: Rate | None = None
    """None: of a unit `UNIT_BUDGET`, of a process any number."""
    at_most: int | None = None
    """How many of a NAME or a template may be down at a time; None: all."""
    repeat_s: float | None = None
    """Infinite: once in an invocation; None: a unit's TimeoutStopSec=, a process's interval."""
    then_restart_s: float | None = None
    condition_unit: str | None = None
    """The unit whose success permits a request; it may have specifiers."""
    condition_timeout_s: float = 30.0
    on_request: str | None = None
    """The unit that is started at each request; it may have specifiers."""
    kill_whom: KillWhom | None = None
    dry_run: bool = False

    @property
    def follows_limit(self) -> bool:
        """Whether one of the thresholds is a share of the limit."""
        hard = self.hard_threshold
        return self.threshold.follows_limit or (hard is not None and hard.follows_limit)

    @property
    def has_hooks(self) -> bool:
        """Whether a unit is to be started before a request, or at it."""
        return self.condition_unit is not None or self.on_request is not None


UNSET: Final = TargetSettings(Share(100.0))
"""What stands where nothing was asked for a target."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the command line asked for."""

    names: tuple[str, ...]
    target: TargetSettings
    """Of every target that the names stand for."""
    name_kind: NameKind = NameKind.AUTO
    configured: bool = False
    """Every unit that says so in its own files, in place of names."""
    user: bool = False
    once: bool = False
    until_stopped: bool = False
    check: bool = False
    by_monitors_settings: bool = False
    """With `check`: not `target` counts, but what the monitor of each name is configured with."""
    check_config: str | None = None
    """A settings file that is checked, and nothing else."""
    json: bool = False
    verbosity: int = 0  # -1 quiet, 1 verbose

    @property
    def is_report(self) -> bool:
        """Whether it says something and exits, and monitors nothing."""
        return self.check or self.check_config is not None
