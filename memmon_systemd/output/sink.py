"""Where a line goes: to the journal with its fields, or to stderr as plain text.

A reader that stopped reading never blocks the monitor. What can't be written at once is dropped and
counted, and the next line that can be written comes behind one that tells how many are missing.
"""

from __future__ import annotations

import os
import re
import select
import socket
import stat
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

from memmon_systemd.formatting import one_line

JOURNAL_SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "memory-monitor"
WARNING = 4  # as in syslog(3)
# A pseudo-terminal has room in steps of 256 bytes (the kernel's tty_buffer.c) and asks again before
# a newline: such pieces fit wherever poll() says that something does. A whole line of 87 bytes
# blocked when the terminal was nearly full (measured on Linux 6.18).
_TERMINAL_PIECES = re.compile(rb"\n|[^\n]{1,128}")
_ONE_PIECE = re.compile(rb".+", re.DOTALL)
_CUT = b"..."


class Sink(Protocol):
    """Takes the lines for the user; dropped is the number of lines that were lost so far."""

    dropped: int

    def write(self, message: str, priority: int, fields: Sequence[tuple[str, str]]) -> None:
        """One line of syslog(3)'s priority, with journal fields; never blocks, never raises."""

    def rehearse(self, message: str, priority: int, fields: Sequence[tuple[str, str]]) -> None:
        """Go the whole way of a line, but write nothing."""


def guard_standard_descriptors() -> None:
    """Opens /dev/null on each of descriptors 0, 1 and 2 that is closed (as after `2>&-`).

    Otherwise the next file to be opened would get that number, and the log lines with it. To be
    called before anything else is opened. OSError if there is no /dev/null.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one


def open_sink(environ: Mapping[str, str], stderr_fd: int = 2, journal_socket: str = JOURNAL_SOCKET) -> Sink:
    """The journal where stderr is the journal (JOURNAL_STREAM, systemd.exec(5)), else stderr.

    Where stderr is the journal but its socket can't be reached, lines go to stderr with their
    priority as in sd-daemon(3), after one that says so.
    """
    if not _is_journal(environ.get("JOURNAL_STREAM", ""), stderr_fd):
        return StreamSink(stderr_fd)
    try:
        return JournalSink(journal_socket)
    except OSError as error:
        sink = StreamSink(stderr_fd, with_priority=True)
        why = f"{journal_socket} can't be reached: {error.strerror or error}"
        sink.write(f"{why}; the lines go to the journal without their fields", WARNING, ())
        return sink


def _is_journal(journal_stream: str, descriptor: int) -> bool:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return journal_stream == f"{status.st_dev}:{status.st_ino}"


class _DroppingSink(ABC):
    """Counts what could not be written, and tells it before the next line that can be."""

    def __init__(self) -> None:
        self.dropped = 0
        self._untold = 0

    def write(self, message: str, priority: int, fields: Sequence[tuple[str, str]]) -> None:
        """Writes the line at once or drops it; never blocks, never raises."""
        if self._untold and self._put(_dropped_line(self._untold), WARNING, ()):
            self._untold = 0
        if self._untold or not self._put(message, priority, fields):
            self.dropped += 1
            self._untold += 1

    @abstractmethod
    def rehearse(self, message: str, priority: int, fields: Sequence[tuple[str, str]]) -> None:
        """Goes the whole way of a line, but writes nothing."""

    @abstractmethod
    def _put(self, message: str, priority: int, fields: Sequence[tuple[str, str]], /) -> bool:
        """Whether the whole line could be written at once."""


def _dropped_line(count: int) -> str:
    lines = "1 line was" if count == 1 else f"{count} lines were"
    return f"{lines} dropped because nobody read {'it' if count == 1 else 'them'}"


class JournalSink(_DroppingSink):
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
            _journal_field("MESSAGE", message),
            _journal_field("PRIORITY", str(priority)),
            _journal_field("SYSLOG_IDENTIFIER", IDENTIFIER),
            *(_journal_field(name, value) for name, value in fields),
        )
    )


def _journal_field(name: str, value: str) -> bytes:
    data = _cut(value.encode(errors="backslashreplace"), select.PIPE_BUF)
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode(), data)
    return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)


class StreamSink(_DroppingSink):
    r"""Writes lines of text to a descriptor: terminal, pipe, socket or file.

    A line is cut to PIPE_BUF bytes, so that a pipe takes all of it or nothing. Where a terminal
    took only the beginning of a line, the line counts as dropped and the next one begins with a
    newline: to keep the rest would take memory and show it later as if it were new.
    """

    def __init__(self, descriptor: int, *, with_priority: bool = False) -> None:
        """Writes to what the descriptor is open on, with "<4>" before each line if asked."""
        super().__init__()
        self._write = _writer(descriptor)
        self._with_priority = with_priority
        self._is_torn = False

    def rehearse(self, message: str, priority: int, fields: Sequence[tuple[str, str]]) -> None:
        """Writes no byte, which is nothing for whatever reads."""
        del fields
        self._line(message, priority)
        with suppress(OSError):
            self._write(b"")

    def _line(self, message: str, priority: int) -> bytes:
        head = b"<%d>" % priority if self._with_priority else b""
        if self._is_torn:
            head = b"\n" + head
        text = _cut(one_line(message).encode(), select.PIPE_BUF - len(head) - 1)
        return head + text + b"\n"

    def _put(self, message: str, priority: int, _: Sequence[tuple[str, str]], /) -> bool:
        line = self._line(message, priority)
        try:
            written = self._write(line)
        except OSError:  # EAGAIN, EPIPE, ENOSPC, EIO, EBADF and their like: the line is lost
            return False
        if not written:
            return False
        self._is_torn = written < len(line)
        return written >= len(line) - 1  # the next line begins with the newline that is missing


def _cut(data: bytes, most_bytes: int) -> bytes:
    if len(data) <= most_bytes:
        return data
    return data[: most_bytes - len(_CUT)].decode(errors="ignore").encode() + _CUT


def _writer(descriptor: int) -> Callable[[bytes], int]:
    """What writes to the descriptor at once or raises OSError, and gives the bytes written.

    O_NONBLOCK belongs to the open file, which the user's shell and others share: it must not be set
    on the descriptor that we were given.
    """
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return _write_nothing  # closed, and what is opened under this number later isn't ours
    if stat.S_ISSOCK(mode):
        return partial(_send_at_once, socket.socket(fileno=os.dup(descriptor)))
    is_terminal = os.isatty(descriptor)
    if is_terminal or stat.S_ISFIFO(mode):
        for path in _paths_to_open_again(descriptor, is_terminal):
            try:
                own = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            except OSError:  # another user's, or a pipe that nobody reads any more
                continue
            return partial(os.write, own)
    pieces = _TERMINAL_PIECES if is_terminal else _ONE_PIECE
    return partial(_write_when_ready, _poller(descriptor), descriptor, pieces)


def _paths_to_open_again(descriptor: int, is_terminal: bool) -> Iterator[str]:
    if sys.platform == "linux":
        yield f"/proc/self/fd/{descriptor}"  # elsewhere /dev/fd/N gives the same open file again
    if is_terminal and _is_our_terminal(descriptor):
        yield os.ctermid()
    elif is_terminal and sys.platform != "linux":
        yield os.ttyname(descriptor)


def _is_our_terminal(descriptor: int) -> bool:
    try:
        os.tcgetpgrp(descriptor)  # ENOTTY for any terminal but the controlling one
    except OSError:
        return False
    return True


def _write_nothing(_: bytes) -> int:
    return 0


def _send_at_once(connected: socket.socket, line: bytes) -> int:
    return connected.send(line, socket.MSG_DONTWAIT)


def _poller(descriptor: int) -> select.poll:
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    return poller


def _write_when_ready(poller: select.poll, descriptor: int, pieces: re.Pattern[bytes], line: bytes) -> int:
    """Writes while poll() says that there is room: the next best where O_NONBLOCK can't be had."""
    written = 0
    for piece in pieces.findall(line):
        if not poller.poll(0):
            break
        written += os.write(descriptor, piece)
    return written
