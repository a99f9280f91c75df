"""HTTP for Prometheus, on sockets that somebody else has opened.

Each connection has a thread, and a deadline: one that sends or reads slowly holds up no other. There are at
most `MOST_CONNECTIONS` of them; the next ones wait in the queue of the socket.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from threading import Lock, Thread
from typing import Final
from urllib.parse import urlsplit

from memory_monitor_exporter.collector import Page

PATH: Final = "/metrics"
MOST_CONNECTIONS: Final = 8
LONGEST_S: Final = 30.0
"""From accept to close. Prometheus gives up after 10 s, unless scrape_timeout says otherwise."""
_TURN_S: Final = 1.0
_INDEX: Final = Page("text/plain; charset=utf-8", b"memory-monitor-exporter: the metrics are in /metrics\n")


class Server:
    """Answers until it has been idle for long enough."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        metrics: Callable[[str], Page],
        warn: Callable[[str], None],
        longest_s: float = LONGEST_S,
    ) -> None:
        """`metrics` makes the page for a value of the header Accept; `warn` is told what went wrong."""
        self._sockets = sockets
        self.metrics = metrics
        self.warn = warn
        self._longest_s = longest_s
        self._connections: dict[socket.socket, float] = {}
        """With the time by which each is to be over."""
        self._lock = Lock()
        self._wake, self._woken_by = os.pipe()
        os.set_blocking(self._woken_by, False)
        os.set_blocking(self._wake, False)

    def run(self, idle_s: float | None) -> None:
        """Answer until there was no connection for so long; None: for ever."""
        idle_since_s = time.monotonic()
        while True:
            self._end_what_is_overdue()
            now_s = time.monotonic()
            busy = len(self._connections)
            if busy:
                idle_since_s = now_s
            elif idle_s is not None and now_s - idle_since_s >= idle_s:
                return
            left_s = _TURN_S if busy or idle_s is None else min(_TURN_S, idle_s - (now_s - idle_since_s))
            for listening in self._ready(left_s, is_full=busy >= MOST_CONNECTIONS):
                self._accept(listening)

    def _ready(self, longest_s: float, *, is_full: bool) -> list[socket.socket]:
        """The sockets at which somebody waits; none where all connections are taken."""
        by_descriptor = {} if is_full else {one.fileno(): one for one in self._sockets}
        poll = select.poll()
        for descriptor in (*by_descriptor, self._wake):
            poll.register(descriptor, select.POLLIN)
        found = {descriptor for descriptor, _ in poll.poll(longest_s * 1000)}
        if self._wake in found:
            os.read(self._wake, 4096)
        return [by_descriptor[descriptor] for descriptor in found - {self._wake}]

    def _accept(self, listening: socket.socket) -> None:
        if len(self._connections) >= MOST_CONNECTIONS:
            return
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, ConnectionError):
            return  # It has gone again.
        except OSError as error:
            self.warn(f"a connection can't be accepted: {error.strerror}")
            time.sleep(_TURN_S)  # Whatever ran out: the next try would fail alike.
            return
        with self._lock:
            self._connections[connection] = time.monotonic() + self._longest_s
        try:
            Thread(target=self._answer, args=(connection,), daemon=True).start()
        except RuntimeError as error:
            self._close(connection)
            self.warn(f"a connection can't be answered: {error}")

    def _answer(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(self._longest_s)
            _Handler(connection, self)
        except (ConnectionError, TimeoutError):
            pass  # Whoever asked has gone, or was too slow: Prometheus says so itself.
        finally:
            self._close(connection)
            with suppress(BlockingIOError):  # Then it is awake.
                os.write(self._woken_by, b".")

    def _close(self, connection: socket.socket) -> None:
        with self._lock:
            del self._connections[connection]
        connection.close()

    def _end_what_is_overdue(self) -> None:
        now_s = time.monotonic()
        with self._lock:
            for connection, until_s in self._connections.items():
                if now_s > until_s:
                    with suppress(OSError):  # Then it has ended already.
                        connection.shutdown(socket.SHUT_RDWR)  # Its thread sees the end.


class _Handler(BaseHTTPRequestHandler):
    """One request on one connection (HTTP/1.0)."""

    server_version = "memory-monitor-exporter"
    sys_version = ""

    def __init__(self, connection: socket.socket, server: Server) -> None:
        self._server = server
        super().__init__(connection, ("", 0), None)  # type: ignore[arg-type]  # it only keeps the server

    def do_GET(self) -> None:
        """Answer a request."""
        path = urlsplit(self.path).path
        if path == "/":
            self._send(HTTPStatus.OK, _INDEX)
        elif path == PATH:
            self._send(*self._metrics())
        else:
            self._send(HTTPStatus.NOT_FOUND, _INDEX)

    def do_HEAD(self) -> None:
        """The same without the page."""
        self.do_GET()

    def _metrics(self) -> tuple[HTTPStatus, Page]:
        try:
            return HTTPStatus.OK, self._server.metrics(self.headers.get("Accept", ""))
        except Exception as error:  # What isn't foreseen: the scrape fails, and says why; the next may not.
            said = f"the metrics can't be told: {type(error).__name__}: {error}"
            self._server.warn(said)
            return HTTPStatus.INTERNAL_SERVER_ERROR, Page(_INDEX.content_type, f"{said}\n".encode())

    def _send(self, status: HTTPStatus, page: Page) -> None:
        self.send_response(status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.content)

    def log_message(self, format: str, *args: object) -> None:
        """No line for each scrape."""
