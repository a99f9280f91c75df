"""What the bus, or systemd on it, fails with."""

from __future__ import annotations

import errno
from typing import Final

_NO_ANSWER: Final = frozenset(
    (
        *(errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EBADF),  # no connection
        *(errno.ECONNREFUSED, errno.ENOTSOCK, errno.EIO, errno.EAGAIN, errno.EINTR, errno.EPROTO),
        *(errno.EHOSTUNREACH, errno.ENXIO),  # ServiceUnknown, NameHasNoOwner: systemd isn't on the bus
        *(errno.ENOMEM, errno.ENOBUFS, errno.EMFILE, errno.ENFILE),  # nobody could go on to an answer
    )
)
"""The errors of a call by which nothing is known of what systemd would say (sd-bus-errors(3))."""


class BusError(Exception):
    """The bus, or who answers on it, refused or could not be asked: one line, and the errno."""

    def __init__(self, number: int, text: str, *, was_called: bool = False) -> None:
        """`number` is a positive errno; a call that was made and failed has leaked memory in libsystemd."""
        super().__init__(text)
        self.errno = number
        self.was_called = was_called

    @property
    def is_answer(self) -> bool:
        """Whether systemd, or the bus on its behalf, has answered, and said no."""
        return self.was_called and self.errno not in _NO_ANSWER
