"""A D-Bus connection by pystemd, with a deadline on everything: the only importer of pystemd.

What the library does not do for us: a deadline for connecting (a bus that accepts and says nothing held
it for 90 s), coming back after the bus was restarted (ENOTCONN for ever), and freeing the reply of a call
that failed (7 allocations, 1.2 kB; a property 0.26 kB). So the bus is asked for a greeting before each
connection, a lost connection is replaced, and callers don't repeat what fails: `Backoff`.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from memmon_systemd.imports import import_without
from memmon_systemd.systemd.backoff import Backoff
from memmon_systemd.systemd.errors import BusError

CALL_DEADLINE_S: Final = 1
_BUSY_DEADLINE_S: Final = 10
"""Before READY, once a call wasn't answered: while it starts 1,000 units, systemd is busy for seconds."""
PATIENT_DEADLINE_S: Final = 20
"""For `--check`: its question about a right starts polkit, which took 7.5 s on an emulated machine."""
_START_DEADLINE_S: Final = 5
"""For the first connection: at boot, or where the machine is busy, a bus can be slow; nothing is lost yet."""
ABSENT: Final = (errno.ENOENT, errno.ECONNREFUSED)
"""What a bus that isn't there answers with."""

_GREETING_PAUSE_S: Final = 30.0
"""The longest pause where not even the greeting worked: to try that costs no memory, and at most 1 s."""
_CALL_PAUSE_S: Final = 300.0
"""The longest where a call was lost: each leaks 1.2 kB, some 350 kB a day while nobody answers."""

_LOST: Final = (errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EBADF)


class Bus:
    """The system's bus, or the user's."""

    def __init__(
        self,
        user: bool,
        environ: Mapping[str, str],
        call_deadline_s: int = CALL_DEADLINE_S,
        on_busy: Callable[[BusError, int], None] | None = None,
    ) -> None:
        """Connect; BusError where there is no bus, or none that answers.

        With `on_busy` the first call that isn't answered in time is made again, with a longer deadline
        (seconds): that is told so, and the deadline holds until `hasten`.
        """
        self._user = user
        self._call_deadline_s = call_deadline_s
        self._on_busy = on_busy
        self._address = _socket_address(user, environ)
        self._library = _import_dbuslib()
        self._errors: type[Exception] = import_module("pystemd.dbusexc").DBusBaseError
        # Any: pystemd is Cython without types for mypy (no py.typed).
        self._connection: Any = None
        self.losses = 0
        """How many connections are gone, and with them what systemd kept for this process."""
        self._reconnect = Backoff()
        self._connect(_START_DEADLINE_S)

    def call(self, where: tuple[bytes, bytes, bytes], method: bytes, signature: bytes, *values: Any) -> Any:
        """The body of the reply to a method of `where` (destination, path, interface); BusError."""
        connection = self._connection or self._connect()
        try:
            arguments = self._library.apply_signature(signature, list(values))
            body = connection.call_method(*where, method, arguments).body
        except self._errors as error:
            failure = self._failure(error, method)
            if not self._waits_on(failure):
                raise failure from None
            return self.call(where, method, signature, *values)
        self._reconnect.worked()
        return body

    def property(self, where: tuple[bytes, bytes, bytes], name: bytes, signature: bytes) -> Any:
        """A property of `where`; BusError."""
        connection = self._connection or self._connect()
        try:
            value = connection.get_property(*where, name, signature)
        except self._errors as error:
            failure = self._failure(error, name)
            if not self._waits_on(failure):
                raise failure from None
            return self.property(where, name, signature)
        self._reconnect.worked()
        return value

    def encode_path(self, prefix: bytes, name: str) -> bytes:
        """The object path of a name below a prefix (sd_bus_path_encode(3))."""
        path: bytes = self._library.path_encode(prefix, os.fsencode(name))
        return path

    def rehearse(self) -> None:
        """Make another connection and close it; and ask a bus that says nothing. BusError.

        The one there is stays, for hooks may run already, of which it keeps how they end.
        """
        used, self._connection = self._connection, None
        losses = self.losses
        try:
            self._connect()
            self.close()
        finally:
            self._connection, self.losses = used, losses
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
            silent.bind("")  # Linux gives it an abstract name (unix(7)).
            silent.listen(1)
            with suppress(BusError):
                _await_greeting("\0" + silent.getsockname()[1:].decode(), 0.001)

    def hasten(self) -> None:
        """Wait no longer than usual from now on."""
        self._on_busy = None
        if self._call_deadline_s != CALL_DEADLINE_S:
            self._call_deadline_s = CALL_DEADLINE_S
            self.close()

    def close(self) -> None:
        """Close the connection. Only once for each: closing twice aborts the process."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self.losses += 1
            connection.close()

    def _connect(self, greeting_deadline_s: float = CALL_DEADLINE_S) -> Any:
        if self._reconnect.failure is not None and not self._reconnect.is_due(time.monotonic()):
            # Nothing is called this time: who pauses after a call that failed need not pause for longer.
            raise BusError(self._reconnect.failure.errno, str(self._reconnect.failure))
        try:
            if self._address is not None:
                _await_greeting(self._address, greeting_deadline_s)
        except BusError as error:
            self._give_up(error)
            raise
        # libsystemd reads it when a connection is made; there is no other way to set it.
        os.environ["SYSTEMD_BUS_TIMEOUT"] = f"{self._call_deadline_s}s"
        connection = self._library.DBus(user_mode=self._user)
        try:
            connection.open()
        except self._errors as error:
            raise self._failure(error, b"connecting") from None
        self._connection = connection
        return connection

    def _failure(self, error: Exception, what: bytes) -> BusError:
        # Every error of pystemd has errno, negative, and err_message; the interrupted one has None.
        number = abs(getattr(error, "errno", None) or errno.EINTR)
        message = os.fsdecode(getattr(error, "err_message", "") or os.strerror(number))
        if number == errno.ETIMEDOUT:
            message = f"no answer within {self._call_deadline_s} s"
        is_lost = number in _LOST
        failure = BusError(number, f"{what.decode()}: {message}", was_called=True)
        if is_lost:
            self.close()
            self._give_up(failure)
        return failure

    def _waits_on(self, failure: BusError) -> bool:
        """Whether to ask once more what wasn't answered in time."""
        if self._on_busy is None or failure.errno != errno.ETIMEDOUT:
            return False
        on_busy, self._on_busy = self._on_busy, None
        on_busy(failure, _BUSY_DEADLINE_S)
        self._call_deadline_s = _BUSY_DEADLINE_S
        self._reconnect.worked()
        return True

    def _give_up(self, failure: BusError) -> None:
        """Leave the bus alone for a while: meanwhile every call fails at once, with the same failure."""
        longest_s = _CALL_PAUSE_S if failure.was_called else _GREETING_PAUSE_S
        self._reconnect.failed(time.monotonic(), failure, longest_s)


def _socket_address(user: bool, environ: Mapping[str, str]) -> str | None:
    """The socket of the bus as connect() takes it; None where it's none that can be tried beforehand."""
    if user:
        fallback = environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}") + "/bus"
        address = environ.get("DBUS_SESSION_BUS_ADDRESS", f"unix:path={fallback}")
    else:
        address = environ.get("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/dbus/system_bus_socket")
    kind, _, rest = address.partition(";")[0].partition(":")
    keys = dict(pair.split("=", 1) for pair in rest.split(",") if "=" in pair)
    if kind != "unix":
        return None
    return keys.get("path") or ("\0" + keys["abstract"] if "abstract" in keys else None)


def _await_greeting(address: str, deadline_s: float) -> None:
    """Begin the handshake of the D-Bus specification and leave again; BusError unless the bus answers."""
    shown = address.replace("\0", "@")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(deadline_s)
        try:
            probe.connect(address)
            probe.sendall(b"\0AUTH EXTERNAL %s\r\n" % str(os.geteuid()).encode().hex().encode())
            answer = probe.recv(64)
        except TimeoutError:
            raise BusError(errno.ETIMEDOUT, f"{shown}: no answer within {deadline_s} s") from None
        except OSError as error:
            text = "no bus there" if error.errno in ABSENT else error.strerror
            raise BusError(error.errno or errno.EIO, f"{shown}: {text}") from None
    if not answer:
        raise BusError(errno.ECONNRESET, f"{shown}: the bus hung up")
    if not answer.startswith(b"OK"):
        raise BusError(errno.EACCES, f"{shown}: the bus refuses user {os.geteuid()}")


class _NoPath:
    """Stands for pathlib.Path: pystemd takes paths as arguments, and is given none here."""


_NOT_NEEDED: Final[Mapping[str, Mapping[str, object]]] = {
    "pathlib": {"Path": _NoPath},
    "pprint": {"pformat": repr},
    "shlex": {},
    "uuid": {},
}
"""What pystemd imports and doesn't use for what is done here, with the names that it takes from there."""


def _import_dbuslib() -> Any:
    """pystemd.dbuslib without the package's own __init__, which loads lxml for introspection.

    That saves 6.6 MB of RSS and 60 % of the time, and what it imports but isn't needed 0.5 MB. A package
    object with the right __path__ is all that the import of a submodule needs; where that fails, the plain
    import is tried.
    """
    spec = find_spec("pystemd") if "pystemd" not in sys.modules else None
    if spec is not None and spec.submodule_search_locations:
        package = types.ModuleType("pystemd")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["pystemd"] = package
        try:
            return import_without(_NOT_NEEDED, "pystemd.dbuslib")
        except ImportError:
            del sys.modules["pystemd"]
    try:
        return import_module("pystemd.dbuslib")
    except ImportError as error:
        raise BusError(
            errno.ENOENT, f"pystemd can't be imported ({error}): install it with pip or apt"
        ) from None
