"""How the command fails: the errors that end it, and its exit statuses."""

from __future__ import annotations

from typing import Final

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_FOUND: Final = 3
"""Above the threshold (`--once`), or errors or warnings were found (`--check`)."""
EXIT_NO_MONITOR: Final = 3
"""No monitor is running (memmonctl)."""
EXIT_NOT_FOUND: Final = 4
"""A NAME matches nothing (`--once`, `--check`, memmonctl)."""
EXIT_HUNG_UP: Final = 129
"""Ended by SIGHUP: 128 and its number, as shells have it.

A death by the signal itself would be a clean end for systemd (systemd.service(5), SuccessExitStatus=), after
which Restart=on-failure starts nothing again: the service would be monitored no more, and nothing failed.
"""


class UsageError(Exception):
    """One line for the user: what was wrong with which value, and what works."""


class StartError(Exception):
    """The monitor can't start: one line that says why, and what would help."""
