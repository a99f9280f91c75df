"""The sockets that systemd has opened for this process (sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping
from typing import Final

from memmon_systemd.errors import StartError

_FIRST: Final = 3
"""SD_LISTEN_FDS_START."""
_WAYS: Final = (
    "systemctl enable --now memory-monitor-exporter.socket; by hand: "
    "systemd-socket-activate -l 127.0.0.1:10893 memory-monitor-exporter"
)


def passed_sockets(environ: Mapping[str, str], pid: int) -> list[socket.socket]:
    """Those of this process; StartError where there are none, or one isn't listening."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(pid) or not count.isdecimal() or int(count) == 0:
        given = f"LISTEN_FDS={count!r}" if count else "LISTEN_FDS isn't set"
        raise StartError(f"no socket was passed to it ({given}): {_WAYS}")
    return [_listening(_FIRST + number) for number in range(int(count))]


def _listening(descriptor: int) -> socket.socket:
    try:
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            found = socket.socket(fileno=descriptor)
            if found.type == socket.SOCK_STREAM and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.set_inheritable(False)
                found.setblocking(False)
                return found
            found.detach()
    except OSError as error:
        raise StartError(f"descriptor {descriptor} of LISTEN_FDS: {error.strerror}: {_WAYS}") from None
    raise StartError(
        f"descriptor {descriptor} of LISTEN_FDS is not a listening stream socket: "
        "use a socket unit with ListenStream= and without Accept=yes"
    )
