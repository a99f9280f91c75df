import errno
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from memmon_systemd.systemd import bus as bus_module
from memmon_systemd.systemd.backoff import Backoff
from memmon_systemd.systemd.bus import Bus, _await_greeting, _socket_address
from memmon_systemd.systemd.errors import BusError

LISTENING_S = 10.0


@pytest.fixture
def path() -> Iterator[Path]:
    # The address of a Unix socket has 104 to 108 bytes: tmp_path is too long on macOS.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name, "bus")


class Listener:
    """A socket that accepts one connection and answers its first words."""

    def __init__(self, path: Path, answer: bytes | None) -> None:
        self.heard = b""
        self._answer = answer
        self._done = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        self._socket.settimeout(LISTENING_S)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            self.heard = connection.recv(1024)
            if self._answer is None:
                self._done.wait(LISTENING_S)
            else:
                connection.sendall(self._answer)


def failure(address: str, deadline_s: float = LISTENING_S) -> BusError:
    with pytest.raises(BusError) as caught:
        _await_greeting(address, deadline_s)
    return caught.value


NO_ANSWER = BusError(errno.ETIMEDOUT, "no answer", was_called=True)


def test_a_bus_that_greets_is_one_to_talk_to(path: Path) -> None:
    with Listener(path, b"OK 1234deadbeef\r\n") as listener:
        _await_greeting(str(path), LISTENING_S)
    assert listener.heard.startswith(b"\0AUTH EXTERNAL ")


def test_a_bus_that_accepts_and_says_nothing_is_given_up_at_the_deadline(path: Path) -> None:
    with Listener(path, None):
        assert str(failure(str(path), 0.05)) == f"{path}: no answer within 0.05 s"


def test_a_bus_that_refuses_this_user_is_said_to(path: Path) -> None:
    with Listener(path, b"REJECTED EXTERNAL\r\n"):
        assert "the bus refuses user" in str(failure(str(path)))


def test_a_bus_that_hangs_up_is_not_said_to_refuse(path: Path) -> None:
    with Listener(path, b""):
        assert str(failure(str(path))) == f"{path}: the bus hung up"


def test_where_nobody_listens_there_is_no_bus(path: Path) -> None:
    assert str(failure(str(path))) == f"{path}: no bus there"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as closed:
        closed.bind(str(path))
    assert str(failure(str(path))) == f"{path}: no bus there"


def test_an_address_that_cant_be_connected_to_is_named(path: Path) -> None:
    assert f"{path}" in str(failure(f"{path}{'x' * 200}"))


@pytest.mark.parametrize(
    ("user", "environ", "address"),
    [
        (False, {}, "/run/dbus/system_bus_socket"),
        (False, {"DBUS_SYSTEM_BUS_ADDRESS": "unix:guid=1,path=/a;unix:path=/b"}, "/a"),
        (False, {"DBUS_SYSTEM_BUS_ADDRESS": "unix:abstract=/tmp/x"}, "\0/tmp/x"),
        (False, {"DBUS_SYSTEM_BUS_ADDRESS": "tcp:host=localhost"}, None),
        (False, {"DBUS_SYSTEM_BUS_ADDRESS": "nonsense"}, None),
        (True, {"XDG_RUNTIME_DIR": "/run/user/7"}, "/run/user/7/bus"),
        (True, {"XDG_RUNTIME_DIR": "/r", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/s"}, "/s"),
    ],
)
def test_the_socket_of_a_bus_is_the_one_that_the_environment_names(
    user: bool, environ: dict[str, str], address: str | None
) -> None:
    assert _socket_address(user, environ) == address


def test_what_fails_is_tried_again_after_1_2_4_seconds_up_to_an_hour() -> None:
    backoff = Backoff()
    now_s, pauses_s = 100.0, []
    assert backoff.is_due(now_s)
    for _ in range(15):
        backoff.failed(now_s, NO_ANSWER)
        pause_s = next(pause_s for pause_s in range(1, 4000) if backoff.is_due(now_s + pause_s))
        pauses_s.append(pause_s)
        now_s += pause_s
    assert pauses_s[:5] == [1, 2, 4, 8, 16]
    assert pauses_s[-1] == 3600
    assert not backoff.is_due(now_s - 1)


def test_the_longest_pause_can_be_a_shorter_one() -> None:
    backoff = Backoff()
    for _ in range(15):
        backoff.failed(0.0, NO_ANSWER, longest_s=30.0)
    assert backoff.is_due(30.0)
    assert not backoff.is_due(29.0)


def test_after_what_worked_the_next_failure_pauses_for_a_second_only() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.failed(0.0, NO_ANSWER)
    backoff.worked()
    assert backoff.is_due(0.0)
    backoff.failed(0.0, NO_ANSWER)
    assert backoff.is_due(1.0)


# --- the connection ---------------------------------------------------------------------------


class Connection:
    """As pystemd's DBus."""

    all: "list[Connection]" = []  # noqa: RUF012  # cleared by the fixture

    def __init__(self, user_mode: bool) -> None:
        assert not user_mode
        self.is_open = False
        self.all.append(self)

    def open(self) -> None:
        self.is_open = True

    def close(self) -> None:
        assert self.is_open, "closing twice aborts the process"
        self.is_open = False


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Bus:
    library = SimpleNamespace(DBus=Connection)
    monkeypatch.setattr(bus_module, "_import_dbuslib", lambda: library)
    monkeypatch.setattr(bus_module, "import_module", lambda _: SimpleNamespace(DBusBaseError=RuntimeError))
    monkeypatch.setenv("SYSTEMD_BUS_TIMEOUT", "")
    Connection.all.clear()
    return Bus(False, {"DBUS_SYSTEM_BUS_ADDRESS": "tcp:host=localhost"})


@pytest.mark.skipif(sys.platform != "linux", reason="an abstract name (unix(7))")
def test_what_systemd_keeps_for_a_connection_survives_its_rehearsal(bus: Bus) -> None:
    bus.rehearse()
    assert [connection.is_open for connection in Connection.all] == [True, False]
    assert bus.losses == 0


def test_the_loss_of_a_connection_is_noticed_by_who_has_something_kept_by_it(bus: Bus) -> None:
    bus.close()
    assert bus.losses == 1
    bus.close()
    assert bus.losses == 1, "there was none any more"
