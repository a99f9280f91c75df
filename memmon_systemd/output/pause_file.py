"""The file that says what is paused: a line for each name or glob, beside the state file of its monitor.

Who may write there may pause: root, and the user that the monitor runs as.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from memmon_systemd.output import whole_file

SUFFIX: Final = ".pause"
_HEAD: Final = "# memory-monitor: paused until (seconds of the monotonic clock), name or glob"
_LARGEST_BYTES: Final = 65536


def read(path: str) -> dict[str, float]:
    """Names and globs, and until when each is paused; nothing where there is no file. OSError, ValueError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return {}
    try:
        data = os.read(descriptor, _LARGEST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > _LARGEST_BYTES:
        raise ValueError(f"it has more than {_LARGEST_BYTES} bytes")
    return parse(data.decode(errors="surrogateescape"))


def parse(text: str) -> dict[str, float]:
    """What `render` has written; ValueError, which names the line."""
    found: dict[str, float] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        until, _, pattern = line.partition(" ")
        try:
            until_s = float(until)
        except ValueError:
            until_s = math.nan
        if not pattern or not until_s >= 0.0:
            raise ValueError(f"line {number} isn't a time and a name")
        found[pattern] = until_s
    return found


def render(pauses: Mapping[str, float]) -> str:
    """The text of the file."""
    return "\n".join([_HEAD, *(f"{until_s!r} {pattern}" for pattern, until_s in pauses.items())]) + "\n"


def write(path: str, pauses: Mapping[str, float], suffix: str) -> None:
    """Replace the file at once, or remove it where nothing is paused any more; OSError.

    `suffix` keeps two writers apart.
    """
    if not pauses:
        with suppress(FileNotFoundError):
            os.unlink(path)
        return
    whole_file.replace(path, render(pauses).encode(errors="surrogateescape"), suffix)
