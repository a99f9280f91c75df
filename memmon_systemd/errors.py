"""How the command fails: the errors that end it, and its exit statuses."""

from __future__ import annotations

from typing import Final

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_FOUND: Final = 3
"""Above the threshold (`--once`), or errors or warnings were found (`--check`)."""
EXIT_NOT_FOUND: Final = 4
"""A NAME matches nothing (`--once`, `--check`)."""


class UsageError(Exception):
    """One line for the user: what was wrong with which value, and what works."""


class StartError(Exception):
    """The monitor can't start: one line that says why, and what would help."""
