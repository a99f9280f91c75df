"""Small text files that somebody else writes: read without waiting, and only if they are what they seem."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

LARGEST_FILE_BYTES: Final = 256 * 1024
"""More would hold up the monitor, and take memory that it doesn't have in reserve.

systemd has no limit for a file, but one of 1 MiB for a line (LONG_LINE_MAX).
"""

_OPEN_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def text_of(path: str) -> bytes:
    """What a regular file holds, and nothing of a masked one; OSError and ValueError."""
    for _ in range(2):
        content = _text_at_once(path)
        if content is not None:
            return content
    raise OSError(errno.EAGAIN, "changes while it is read")


def _text_at_once(path: str) -> bytes | None:
    """None where it changes while it is read."""
    # Not opened to find out: that does something to a device, and lets the writer of a FIFO go on.
    if not _has_content(os.stat(path)):
        return b""
    descriptor = os.open(path, _OPEN_FLAGS)
    try:
        before = os.fstat(descriptor)
        if not _has_content(before):
            return b""
        content = os.read(descriptor, before.st_size + 1)
        while len(content) < before.st_size and (more := os.read(descriptor, before.st_size)):
            content += more
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if len(content) != before.st_size or _version(before) != _version(after):
        return None
    if b"\0" in content:
        raise OSError(errno.EBADMSG, "is not read: it has a NUL, so it is no text")
    return content


def _has_content(status: os.stat_result) -> bool:
    """Whether there is something to read; OSError for what is no file to read."""
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3):
        return False  # A link to /dev/null masks.
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is not read: it is no regular file")
    if status.st_size > LARGEST_FILE_BYTES:
        most = f"at most {LARGEST_FILE_BYTES} bytes are read"
        raise OSError(errno.EFBIG, f"is not read: {most}, and it has {status.st_size}")
    return status.st_size > 0


def _version(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
