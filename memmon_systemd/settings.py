"""What a user asked for, as frozen values."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, TypeAlias

from memmon_systemd.formatting import format_bytes


class Metric(StrEnum):
    """Which number is compared with the threshold, as written on the command line."""

    UNRECLAIMABLE = "unreclaimable"
    CURRENT = "current"
    WORKING_SET = "working-set"
    ANON = "anon"
    RSS = "rss"
    PSS = "pss"


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


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """How one target is monitored, and what is asked of it; None stands for what depends on the target."""

    threshold: Threshold
    interval_s: float = 2.0
    signal_number: int = int(signal.SIGTERM)
    metric: Metric | None = None
    swap: bool = False
    growth_bytes_per_s: int | None = None
    for_s: float = 0.0
    repeat_s: float | None = None
    kill_whom: KillWhom | None = None
    restart: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the command line asked for."""

    names: tuple[str, ...]
    target: TargetSettings
    """Of every target that the names stand for."""
    name_kind: NameKind = NameKind.AUTO
    user: bool = False
    once: bool = False
    until_stopped: bool = False
    check: bool = False
    json: bool = False
    verbosity: int = 0  # -1 quiet, 1 verbose
