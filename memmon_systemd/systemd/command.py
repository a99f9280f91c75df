"""What a service runs, and with which variables (systemd.exec(5))."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memmon_systemd.systemd.bus import Bus
from memmon_systemd.systemd.unit import Unit


@dataclass(frozen=True, slots=True)
class Command:
    """As the unit's files have it: variables of the words aren't expanded, files aren't read."""

    words: Sequence[str]
    """Of the first ExecStart=; none where there is none."""
    environment: Mapping[str, str]
    """Environment=, which the files override."""
    files: Sequence[tuple[str, bool]]
    """Of EnvironmentFile=, each with whether it may be absent."""

    @classmethod
    def of(cls, commands: Sequence[Any], environment: Sequence[bytes], files: Sequence[Any]) -> Command:
        """From the properties as the bus has them; Any: structs are tuples."""
        words = [os.fsdecode(word) for word in commands[0][1]] if commands else []
        variables = dict(os.fsdecode(line).split("=", 1) for line in environment)
        return cls(words, variables, [(os.fsdecode(path), bool(is_optional)) for path, is_optional in files])


def path_read(written: str) -> str:
    """The file that systemd reads for one of EnvironmentFile=.

    It expands what is written by glob(3), which takes each backslash away (252 and 257).
    """
    return written.replace("\\", "")


def read_command(bus: Bus, service: Unit) -> Command:
    """In three answers: all properties of a service at once would be too much for a monitor that runs."""
    return Command.of(
        bus.property(service.typed, b"ExecStart", b"a(sasbttttuii)"),
        bus.property(service.typed, b"Environment", b"as"),
        bus.property(service.typed, b"EnvironmentFiles", b"a(sb)"),
    )
