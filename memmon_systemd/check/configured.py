"""Of what `--check` has found out: the settings that a unit, or the monitor of it, is configured with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from memmon_systemd.conf_file import Problem

ABSENT: Final = "not-found"
"""In place of the ActiveState of a monitor: there is no such unit."""


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A line of a settings file that isn't taken as it was meant."""

    path: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong in the section of a unit's files."""

    words: str
    """With path and line."""
    is_refused: bool
    """Whether the section doesn't hold because of it."""


@dataclass(frozen=True, slots=True)
class Rival:
    """Where else there are settings for the same unit: its section, or a monitor of its own."""

    name: str
    """As a sentence goes on."""
    is_in_force: bool
    """Whether it is this one that counts now."""
    is_alike: bool
    """Whether it makes no difference."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The unit of a monitor, and the settings that it has, or takes from a unit's section."""

    unit: str
    options: tuple[str, ...]
    files: tuple[str, ...]
    """The files that were read."""
    problems: tuple[FileProblem, ...] = ()
    """Of settings files."""
    active_state: str = "active"
    """Of the monitor."""
    mistakes: tuple[Mistake, ...] = ()
    """In the unit's section."""
    is_valid: bool = True
    """Whether the section makes settings; where it doesn't, there is nothing else to judge."""
    rival: Rival | None = None
