"""A service manager on a bus of its own, for monitors on a machine without one, or for one that fails.

It speaks D-Bus (https://dbus.freedesktop.org/doc/dbus-specification.html) on a Unix socket, itself both bus
and org.freedesktop.systemd1. Its units are the directories below `top`, which may be plain ones: a unit
runs while its directory is there, each new directory is a new invocation, and the process in its
cgroup.procs is the main process. How it answers KillUnit is for the test to say.
"""

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

# Any: jeepney has no types, and a D-Bus body holds whatever its signature says.
from jeepney import HeaderFields, Message, MessageType, Parser, new_error, new_method_return

MANAGER: Final = "org.freedesktop.systemd1"
_UNIT_PATHS: Final = "/org/freedesktop/systemd1/unit/"
_TIMEOUT_STOP_USEC: Final = 1_000_000
_OTHERS: Final = {
    f"Property{number}Of{'x' * (number % 20)}": ("s", "x" * (number % 30)) for number in range(90)
}
"""As many as systemd 257 has of every unit: a reply of 2.5 kB."""
_ERROR: Final = "org.freedesktop.DBus.Error"


class Answer(Enum):
    """What comes of a call of KillUnit."""

    KILLS = "the signal is sent to the main process"
    REFUSES = "an error reply of systemd, which is an answer"
    IS_GONE = "an error reply of the bus: systemd isn't on it"
    IS_SILENT = "no reply"
    HANGS_UP = "the connection is closed"


class FakeSystemd:
    """The manager; ended with its `with`. Its threads serve one connection each."""

    def __init__(self, socket_path: Path, top: Path) -> None:
        """Listens at once; `top` is the directory that the units' directories are in."""
        self.top = top
        self.answer = Answer.KILLS
        self.active_state = "active"
        """That of each unit that has a directory."""
        self.own_command: tuple[str, ...] = ()
        """ExecStart= of the unit of the monitor itself."""
        self.own_files: tuple[str, ...] = ()
        """EnvironmentFile= of that."""
        self.runtime = top.parent / "runtime"
        """Where a reload shows, and where the unit files are that `configure` writes."""
        self.kill_mode = "control-group"
        self.hooks: dict[str, str] = {}
        """How units that were started have ended: "inactive" (they have succeeded) or "failed"."""
        self.starts: list[str] = []
        """Each StartUnit so far."""
        self.kills: list[tuple[str, str, int]] = []
        """Each KillUnit so far: unit, whom, signal."""
        self.busy_s = 0.0
        """So long after the first question it answers none; what was asked meanwhile is answered then."""
        self._busy_until_s: float | None = None
        self.calls = 0
        """Method calls of any kind so far."""
        self.environment: Final = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={socket_path}"}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(os.fspath(socket_path))
        self._listener.listen(64)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> "FakeSystemd":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # ConnectionError: whoever asked has gone.
        with connection, suppress(ConnectionError):
            rest = _authenticate(connection)
            parser = Parser()
            serial = 0
            for message in _messages(connection, parser, rest):
                if message.header.message_type is not MessageType.method_call:
                    continue
                self.calls += 1
                self._work(message)
                reply = self._reply(message)
                if reply is None and self.answer is Answer.HANGS_UP:
                    return
                if reply is not None:
                    serial += 1
                    reply.header.fields[HeaderFields.sender] = MANAGER
                    connection.sendall(reply.serialise(serial))

    def _work(self, call: Message) -> None:
        if call.header.fields[HeaderFields.member] != "Hello":  # which the bus answers
            now_s = time.monotonic()
            self._busy_until_s = self._busy_until_s or now_s + self.busy_s
            time.sleep(max(self._busy_until_s - now_s, 0.0))

    def _reply(self, call: Message) -> Message | None:
        fields = call.header.fields
        method, path = fields[HeaderFields.member], fields[HeaderFields.path]
        if method == "Hello":
            return new_method_return(call, "s", (":1.1",))
        if method == "Get":
            return self._property(call, path, call.body[1])
        if method == "GetAll":
            found = self._properties(_unescaped(path.removeprefix(_UNIT_PATHS)))
            return new_method_return(call, "a{sv}", (found | _OTHERS,))
        if method == "ListUnitsByPatterns":
            return new_method_return(call, "a(ssssssouso)", (self._rows(*call.body),))
        if method == "LoadUnit":
            return new_method_return(call, "o", (_UNIT_PATHS + _escaped(call.body[0]),))
        if method == "GetUnit":
            if call.body[0] != "-.slice":
                return _no_such_unit(call)
            return new_method_return(call, "o", (_UNIT_PATHS + "_2d_2eslice",))
        if method in ("Ref", "Unref"):
            return new_method_return(call)
        if method == "StartUnit":
            self.starts.append(call.body[0])
            if call.body[0] not in self.hooks:
                return _no_such_unit(call)
            return new_method_return(call, "o", (f"/org/freedesktop/systemd1/job/{len(self.starts)}",))
        if method == "KillUnit":
            return self._kill(call)
        return new_error(call, f"{_ERROR}.UnknownMethod", "s", (f"no {method} here",))

    def _kill(self, call: Message) -> Message | None:
        unit, whom, number = call.body
        if not (self.top / unit).exists():
            return _no_such_unit(call)
        self.kills.append((unit, whom, number))
        if self.answer is Answer.REFUSES:
            return new_error(call, f"{_ERROR}.AccessDenied", "s", ("not today",))
        if self.answer is Answer.IS_GONE:
            return new_error(call, f"{_ERROR}.ServiceUnknown", "s", ("nobody of that name",))
        if self.answer is not Answer.KILLS:
            return None
        os.kill(self._main_pid(unit), number)
        return new_method_return(call)

    def _property(self, call: Message, path: str, name: str) -> Message:
        found = self._properties(_unescaped(path.removeprefix(_UNIT_PATHS)))
        if name not in found:
            return new_error(call, f"{_ERROR}.UnknownProperty", "s", (f"no {name} here",))
        return new_method_return(call, "v", (found[name],))

    def _properties(self, unit: str) -> dict[str, tuple[str, Any]]:
        """Those that are read, with their D-Bus types."""
        main_pid = self._main_pid(unit)
        return {
            "ControlGroup": ("s", ""),
            "Id": ("s", unit),
            "LoadState": ("s", "loaded"),
            "ActiveState": ("s", self._active_state(unit)),
            "SubState": ("s", "running"),
            "Job": ("(uo)", (0, "/")),
            "ConditionResult": ("b", True),
            "ConditionTimestampMonotonic": ("t", 1_000_000),
            **dict.fromkeys(("Conflicts", "Requires", "Requisite", "BindsTo", "PartOf"), ("as", [])),
            "InvocationID": ("ay", self._invocation(unit)),
            "MainPID": ("u", main_pid),
            "ExecMainPID": ("u", main_pid),
            "TimeoutStopUSec": ("t", _TIMEOUT_STOP_USEC),
            "TimeoutStartUSec": ("t", 90_000_000),
            "Type": ("s", "oneshot" if unit in self.hooks else "simple"),
            "KillMode": ("s", self.kill_mode),
            "TriggeredBy": ("as", []),
            "RestartKillSignal": ("i", 15),
            "Result": ("s", "success"),
            "ExecMainCode": ("i", 0),
            "ExecMainStatus": ("i", 0),
            "FreezerState": ("s", "running"),
            "ExecStart": ("a(sasbttttuii)", self._commands()),
            "Environment": ("as", ["MAX_MEMORY=500", "INTERVAL=2", "OPTIONS="]),
            "EnvironmentFiles": ("a(sb)", [(path, True) for path in self.own_files]),
            "InactiveExitTimestampMonotonic": ("t", 1_000_000),
            "ActiveEnterTimestampMonotonic": ("t", 2_000_000),
            "ActiveExitTimestampMonotonic": ("t", 0),
            "InactiveEnterTimestampMonotonic": ("t", 0),
            "FragmentPath": ("s", self._fragment(unit)),
            "DropInPaths": ("as", []),
            "Restart": ("s", "always"),
            "SuccessExitStatus": ("(aiai)", ([], [])),
            "RestartPreventExitStatus": ("(aiai)", ([], [])),
            "RestartForceExitStatus": ("(aiai)", ([], [])),
            "RemainAfterExit": ("b", False),
        }

    def configure(self, unit: str, *lines: str) -> None:
        """Write the unit's file, with these lines in its section."""
        self.runtime.mkdir(exist_ok=True)
        text = "\n".join(["[Service]", "ExecStart=x", "[X-MemoryMonitor]", *lines, ""])
        (self.runtime / unit).write_text(text)

    def reload(self) -> None:
        """What a daemon-reload shows."""
        directory = self.runtime / "systemd" / "generator"
        directory.mkdir(parents=True)
        directory.rmdir()

    def _commands(self) -> list[tuple[Any, ...]]:
        command = list(self.own_command)
        return [(command[0], command, False, 0, 0, 0, 0, 0, 0, 0)] if command else []

    def _fragment(self, unit: str) -> str:
        path = self.runtime / unit
        return os.fspath(path) if path.exists() else ""

    def _rows(self, states: list[str], patterns: list[str]) -> list[tuple[Any, ...]]:
        """The units of these names; of a glob those that have a directory. All states if none are given."""
        there = os.listdir(self.top)
        names = {name for name in patterns if "*" not in name}
        names.update(name for name in there for pattern in patterns if fnmatchcase(name, pattern))
        return [self._row(name) for name in sorted(names) if not states or self._active_state(name) in states]

    def _row(self, unit: str) -> tuple[Any, ...]:
        """A unit as ListUnitsByPatterns has it."""
        path = _UNIT_PATHS + _escaped(unit)
        return (unit, unit, "loaded", self._active_state(unit), "running", "", path, 0, "", "/")

    def _active_state(self, unit: str) -> str:
        if unit in self.hooks:
            return self.hooks[unit]
        return self.active_state if (self.top / unit).exists() else "inactive"

    def _invocation(self, unit: str) -> bytes:
        with suppress(FileNotFoundError):
            status = (self.top / unit).stat()
            return status.st_ino.to_bytes(8, "little") + status.st_ctime_ns.to_bytes(8, "little")
        return b""

    def _main_pid(self, unit: str) -> int:
        with suppress(FileNotFoundError):
            return int(((self.top / unit / "cgroup.procs").read_text() or "0").split()[0])
        return 0


def _no_such_unit(call: Message) -> Message:
    return new_error(call, f"{MANAGER}.NoSuchUnit", "s", (f"Unit {call.body[0]} not loaded.",))


@contextmanager
def fake_systemd(directory: Path) -> Iterator[FakeSystemd]:
    """One without units yet, whose socket and tree are in the directory."""
    top = directory / "cgroups"
    top.mkdir()
    with FakeSystemd(directory / "bus", top) as systemd:
        yield systemd


def _authenticate(connection: socket.socket) -> bytes:
    """The server's side of AUTH EXTERNAL; gives what came behind BEGIN."""
    said = b""
    answers = {b"AUTH": b"OK %s\r\n" % (b"0" * 32), b"NEGOTIATE_UNIX_FD": b"ERROR\r\n", b"BEGIN": b""}
    while True:
        while b"\r\n" not in said:
            more = connection.recv(4096)
            if not more:
                raise ConnectionError
            said += more
        line, _, said = said.lstrip(b"\0").partition(b"\r\n")
        word = line.partition(b" ")[0]
        if line == b"AUTH EXTERNAL":  # without the user's number: the client is asked for it
            connection.sendall(b"DATA\r\n")
        elif word == b"DATA":
            connection.sendall(answers[b"AUTH"])
        else:
            connection.sendall(answers[word])
        if word == b"BEGIN":
            return said


def _messages(connection: socket.socket, parser: Parser, first: bytes) -> Iterator[Message]:
    parser.add_data(first)
    while True:
        while (message := parser.get_next_message()) is not None:
            yield message
        more = connection.recv(65536)
        if not more:
            return
        parser.add_data(more)


def _escaped(name: str) -> str:
    """As sd_bus_path_encode(3)."""
    return re.sub(r"[^A-Za-z0-9]", lambda found: f"_{ord(found[0]):02x}", name)


def _unescaped(name: str) -> str:
    return re.sub(r"_([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), name)
