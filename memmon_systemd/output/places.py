"""Where state files are: a directory for the system's monitors, and one for each user's.

A service has a directory of its own below it (RuntimeDirectory=, systemd.exec(5)), which belongs to the user
of the service and stays over its restarts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SYSTEM: Final = "/run/memory-monitor"
_NAME: Final = "memory-monitor"
_OF_ONE_PROCESS: Final = re.compile(rf"{_NAME}-\d+-\d+\.state")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a monitor has its files."""

    directory: str
    name: str
    """The name of the monitor, and of its files."""
    is_lasting: bool
    """Whether the next monitor of this service has the same."""

    def file(self, suffix: str) -> str:
        """One of its files."""
        return f"{self.directory}/{self.name}{suffix}"


def users_directory(environ: Mapping[str, str]) -> str | None:
    """That of the user whose session this is; None: there is none (pam_systemd(8))."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    return f"{runtime}/{_NAME}" if runtime.startswith("/") else None


def own_place(
    environ: Mapping[str, str], instance: str | None, pid: int, start_ticks: int, *, is_users: bool
) -> Place | None:
    """The place of a monitor that starts here; None where there is none for it.

    `instance` is the one unit that it monitors, if it is one. The template's instances share a directory:
    systemd 257 can't start a service whose RuntimeDirectory= has a backslash, as escaped names have.
    """
    given = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if given.startswith("/"):
        name = os.path.basename(given)
        if name == _NAME and instance is not None:
            name = f"{_NAME}@{instance.removesuffix('.service')}"
        return Place(given, name, is_lasting=True)
    directory = SYSTEM if os.geteuid() == 0 and not is_users else users_directory(environ)
    if directory is None:
        return None
    return Place(directory, own_name(pid, start_ticks), is_lasting=False)


def own_name(pid: int, start_ticks: int) -> str:
    """The name of a monitor that is no service."""
    return f"{_NAME}-{pid}-{start_ticks}"


def is_of_one_process(file_name: str) -> bool:
    """Whether a file is the state of such a monitor: no other goes on with it."""
    return _OF_ONE_PROCESS.fullmatch(file_name) is not None
