"""sd_notify(3) client: ready, status, watchdog, stopping.

Nothing here blocks or raises once the Notifier is made: a service manager that doesn't read must not stop the
monitor. What it doesn't take is kept, to be sent again.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping

from memmon_systemd.formatting import one_line

_READY = b"READY=1"
_WATCHDOG = b"WATCHDOG=1"
_STARTING_S = 60
"""For so long starting may take from each message on, where that is past TimeoutStartSec=."""
_STARTING = b"EXTEND_TIMEOUT_USEC=%d" % (_STARTING_S * 1_000_000)
_STARTING_PAUSE_S = 5.0
# systemd ignores a longer message as a whole (NOTIFY_BUFFER_MAX in its sources).
_LONGEST_MESSAGE_BYTES = 4096
_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Tells the service manager how the monitor is; without a service manager it does nothing.

    Attributes:
        watchdog_s: the service manager wants to hear watchdog() at least this often, in seconds;
            None if it doesn't.
        problem: one line on what in the environment could not be used; None if all is well.
        before_sending: is called before each message: what a message takes is charged to this process.
        trouble: why the last message that wasn't taken wasn't, in the system's words.
    """

    __slots__ = (
        "_address",
        "_owes_ping",
        "_owes_ready",
        "_owes_status",
        "_socket",
        "_starting_due_s",
        "_status",
        "before_sending",
        "problem",
        "trouble",
        "watchdog_s",
    )

    def __init__(
        self,
        connected: socket.socket | None,
        watchdog_s: float | None,
        problem: str | None,
        address: str = "",
    ) -> None:
        """Sends to a connected non-blocking datagram socket, or to nobody."""
        self._socket = connected
        self._address = address
        self._status = b""
        self._starting_due_s = 0.0
        self._owes_ready = self._owes_status = self._owes_ping = False
        self.before_sending: Callable[[], None] = _nothing
        self.watchdog_s = watchdog_s
        self.problem = problem
        self.trouble = ""

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Notifier:
        """The notifier that NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID ask for.

        Takes these variables out of environ, so that no process started later inherits them.
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
            return cls(connected, None, None, address)
        watchdog_s, problem = _watchdog_s(watchdog_usec)
        return cls(connected, watchdog_s, problem, address)

    @property
    def is_behind(self) -> bool:
        """Whether something wasn't taken, as where the service manager's queue is full: see `catch_up`."""
        return self._owes_status or self._owes_ping or self._owes_ready

    @property
    def shortfall(self) -> str:
        """What wasn't taken and why, for a reader."""
        owed = {"READY=1": self._owes_ready, "WATCHDOG=1": self._owes_ping, "STATUS=": self._owes_status}
        messages = ", ".join(name for name, is_owed in owed.items() if is_owed)
        return f"NOTIFY_SOCKET '{one_line(self._address)}' doesn't take {messages} ({self.trouble})"

    def starting(self) -> None:
        """Start-up goes on: it isn't to be taken for one that hangs. Thousands of units take their time."""
        now_s = time.monotonic()
        if now_s >= self._starting_due_s:
            self._starting_due_s = now_s + _STARTING_PAUSE_S
            self._send(_STARTING)

    def ready(self) -> None:
        """Start-up is over."""
        self._owes_ready = not self._send(_READY)

    def status(self, sentence: str) -> None:
        """What systemctl status shows."""
        self.tell(status_message(sentence))

    def tell(self, message: bytes) -> None:
        """A status that was made before. Calls no allocator unless it isn't taken."""
        self._status = message
        self._owes_status = not self._send(message)

    def watchdog(self) -> None:
        """Still at work. Calls no allocator unless it isn't taken (counted with PYTHONMALLOC=malloc)."""
        self._owes_ping = not self._send(_WATCHDOG)

    def stopping(self, status: str) -> None:
        """The monitor is about to end; where that isn't taken, its end says it."""
        self._send(status_message(status, b"STOPPING=1\n"))

    def catch_up(self) -> None:
        """Send again what wasn't taken: READY=1, a ping, and the last status of all."""
        if self._owes_ready:
            self.ready()
        if self._owes_ping:
            self.watchdog()
        if self._owes_status:
            self.tell(self._status)

    def _send(self, message: bytes) -> bool:
        if self._socket is None:
            return True
        self.before_sending()
        try:
            self._socket.send(message)
        except OSError as error:
            self.trouble = error.strerror or str(error)
            return False
        return True


def _nothing() -> None:
    """Nothing has to be done before."""


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
