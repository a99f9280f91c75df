"""Lines to the journal, with their fields."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Sequence
from typing import Final

from memmon_systemd.formatting import one_line
from memmon_systemd.output.sink import DroppingSink, cut

JOURNAL_SOCKET: Final = "/run/systemd/journal/socket"
IDENTIFIER: Final = "memory-monitor"


def is_journal(journal_stream: str, descriptor: int) -> bool:
    """Whether a descriptor is the one to the journal that JOURNAL_STREAM names (systemd.exec(5))."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return journal_stream == f"{status.st_dev}:{status.st_ino}"


class JournalSink(DroppingSink):
    """Sends datagrams to journald: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        """Connects to journald's socket; OSError if it can't be reached."""
        super().__init__()
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def rehearse(self, message: str, priority: int, fields: Sequence[tuple[str, str]]) -> None:
        """Sends an empty datagram, which journald drops unread (systemd's journald-server.c)."""
        _datagram(message, priority, fields)
        self._send(b"")

    def _put(self, message: str, priority: int, fields: Sequence[tuple[str, str]], /) -> bool:
        datagram = _datagram(message, priority, fields)
        return self._send(datagram) or (self._connect_again() and self._send(datagram))

    def _send(self, datagram: bytes) -> bool:
        try:
            return self._socket.send(datagram, socket.MSG_DONTWAIT) == len(datagram)
        except OSError:
            return False

    def _connect_again(self) -> bool:
        # A restart of systemd-journald.socket puts a new socket at the path.
        try:
            self._socket.connect(self._path)
        except OSError:
            return False
        return True


def _datagram(message: str, priority: int, fields: Sequence[tuple[str, str]]) -> bytes:
    return b"".join(
        (
            _journal_field("MESSAGE", one_line(message)),
            _journal_field("PRIORITY", str(priority)),
            _journal_field("SYSLOG_IDENTIFIER", IDENTIFIER),
            *(_journal_field(name, value) for name, value in fields),
        )
    )


def _journal_field(name: str, value: str) -> bytes:
    data = cut(value.encode(errors="backslashreplace"), select.PIPE_BUF)
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode(), data)
    return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
