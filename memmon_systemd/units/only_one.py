"""At most one monitor of the configured units on a machine, or of one user."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Final

from memmon_systemd.errors import StartError

_FILE: Final = "configured.lock"


def take_place(directory: str) -> int:
    """Take the place of the only one; the descriptor that holds it. StartError where another one has it."""
    path = f"{directory}/{_FILE}"
    try:
        os.makedirs(directory, 0o755, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise StartError(
            f"--configured: {error.filename}: {error.strerror}: it takes root, or --user"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise StartError(f"--configured: {path}: {error.strerror}") from None
        raise StartError(
            f"--configured: process {holder} monitors these units already: use that one"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
