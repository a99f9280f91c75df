"""The talk with the service manager, as in sd_notify(3): ready, status, watchdog, stopping.

Nothing here blocks or raises once the Notifier is made: a service manager that doesn't listen must
not stop the monitor. What could not be sent is counted.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from memmon_systemd.formatting import one_line

_WATCHDOG = b"WATCHDOG=1"
# systemd ignores a longer message as a whole (NOTIFY_BUFFER_MAX in its sources).
_LONGEST_MESSAGE_BYTES = 4096
_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Tells the service manager how the monitor is; without a service manager it does nothing.

    Each of its messages gives False if it could not be sent now, and True otherwise.

    Attributes:
        watchdog_s: the service manager wants to hear watchdog() at least this often, in seconds;
            None if it doesn't.
        problem: one line on what in the environment could not be used; None if all is well.
        failures: how many messages could not be sent.
    """

    __slots__ = ("_socket", "failures", "problem", "watchdog_s")

    def __init__(
        self, connected: socket.socket | None, watchdog_s: float | None, problem: str | None
    ) -> None:
        """Sends to a connected non-blocking datagram socket, or to nobody."""
        self._socket = connected
        self.watchdog_s = watchdog_s
        self.problem = problem
        self.failures = 0

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Notifier:
        """The notifier that NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID ask for.

        Takes these variables out of environ, so that nothing started later speaks in our name.
        Raises nothing: what is wrong with them is in the attribute `problem`.
        """
        address, watchdog_usec, watchdog_pid = (environ.pop(name, "") for name in _VARIABLES)
        if not address:
            return cls(None, None, None)
        try:
            connected = _connected(address)
        except (OSError, ValueError) as error:
            why = one_line(getattr(error, "strerror", None) or str(error))
            return cls(None, None, f"NOTIFY_SOCKET '{one_line(address)}' can't be used: {why}")
        if watchdog_pid not in ("", str(os.getpid())):
            return cls(connected, None, None)
        watchdog_s, problem = _watchdog_s(watchdog_usec)
        return cls(connected, watchdog_s, problem)

    def ready(self, status: str) -> bool:
        """Start-up is over."""
        return self.tell(status_message(status, b"READY=1\n"))

    def status(self, sentence: str) -> bool:
        """What systemctl status shows."""
        return self.tell(status_message(sentence))

    def stopping(self, status: str) -> bool:
        """The monitor is about to end."""
        return self.tell(status_message(status, b"STOPPING=1\n"))

    def watchdog(self) -> bool:
        """Still at work. Calls no allocator unless it fails (counted with PYTHONMALLOC=malloc)."""
        return self.tell(_WATCHDOG)

    def tell(self, message: bytes) -> bool:
        """A message that was made before. Calls no allocator unless it fails."""
        if self._socket is None:
            return True
        try:
            self._socket.send(message)
        except OSError:
            self.failures += 1
            return False
        return True


def _connected(address: str) -> socket.socket:
    if address[0] not in "/@":
        raise ValueError("use a path or an abstract address (@name) of a Unix datagram socket")
    path = os.fsencode(address)
    if path.startswith(b"@"):
        path = b"\0" + path[1:]
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        connected.setblocking(False)
        connected.connect(path)
    except OSError:
        connected.close()
        raise
    return connected


def _watchdog_s(watchdog_usec: str) -> tuple[float | None, str | None]:
    """The time in seconds, and what is wrong with it, as sd_watchdog_enabled(3) judges it."""
    if not watchdog_usec:
        return None, None
    number = watchdog_usec if len(watchdog_usec) <= 20 and watchdog_usec.isdecimal() else "0"
    if not 0 < int(number) < (1 << 64) - 1:
        value = one_line(watchdog_usec)
        return None, f"WATCHDOG_USEC '{value}' can't be used: use a whole number of microseconds"
    return int(number) / 1_000_000, None


def status_message(sentence: str, head: bytes = b"") -> bytes:
    """The message that says a sentence, behind other lines."""
    # A newline would begin another assignment. The service manager takes one backslash of each pair away, and
    # single ones: x\x2dy.service would be shown as xx2dy.service (systemd 252).
    line = head + b"STATUS=" + one_line(sentence).replace("\\", 2 * "\\").encode()
    if len(line) <= _LONGEST_MESSAGE_BYTES:
        return line
    # The service manager ignores a status that is not UTF-8, or ends in half a pair: none at the end.
    return line[:_LONGEST_MESSAGE_BYTES].decode(errors="ignore").encode().rstrip(b"\\")
