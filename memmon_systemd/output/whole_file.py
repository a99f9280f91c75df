"""A small file that is replaced as a whole: a reader sees all of the old one or all of the new."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

_MODE: Final = 0o644
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
"""Made anew: in another user's directory, root must write to no file that this user has put there."""


def replace(path: str, content: bytes, suffix: str) -> None:
    """Put a file with this content at the path, readable for everybody whatever the umask is; OSError.

    Until it is whole it has `suffix` behind its name, which keeps two writers apart.
    """
    unfinished = f"{path}.{suffix}"
    with suppress(FileNotFoundError):
        os.unlink(unfinished)
    try:
        with open(os.open(unfinished, _WRITE, _MODE), "wb") as file:
            os.fchmod(file.fileno(), _MODE)
            file.write(content)
        os.rename(unfinished, path)
    except OSError:
        with suppress(OSError):  # What has failed is said; this is only what it has left.
            os.unlink(unfinished)
        raise
