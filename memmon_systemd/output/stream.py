"""Lines of text to a descriptor."""

from __future__ import annotations

import os
import re
import select
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from memmon_systemd.formatting import one_line
from memmon_systemd.output.sink import DroppingSink, cut

# A pseudo-terminal has room in steps of 256 bytes (the kernel's tty_buffer.c) and asks again before
# a newline: such pieces fit wherever poll() says that something does. A whole line of 87 bytes
# blocked when the terminal was nearly full (measured on Linux 6.18).
_TERMINAL_PIECES: Final = re.compile(rb"\n|[^\n]{1,128}")
_ONE_PIECE: Final = re.compile(rb".+", re.DOTALL)


class StreamSink(DroppingSink):
    r"""Writes lines of text to a descriptor: terminal, pipe, socket or file.

    A line is cut to PIPE_BUF bytes, so that a pipe takes all of it or nothing. Where a terminal
    took only the beginning of a line, the line counts as dropped and the next one begins with a
    newline: to keep the rest would take memory and show it later as if it were new.
    """

    def __init__(self, descriptor: int, *, with_priority: bool = False) -> None:
        """Writes to what the descriptor is open on, with "<4>" before each line if asked."""
        super().__init__()
        self._write = writer(descriptor)
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
        text = cut(one_line(message).encode(), select.PIPE_BUF - len(head) - 1)
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


def writer(descriptor: int) -> Callable[[bytes], int]:
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
            except OSError:  # another user's, or a pipe without a reader
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
