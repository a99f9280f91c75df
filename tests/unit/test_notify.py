import errno
import os
import signal
import socket
import sys
import tempfile
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from memmon_systemd.output.notify import Notifier

# A Notifier lives as long as its process, so it has nothing that closes its socket.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """Fails what blocks, instead of waiting for ever."""

    def fail(_number: int, _frame: FrameType | None) -> None:
        pytest.fail("blocked for 10 s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def directory() -> Iterator[Path]:
    # The address of a Unix socket has 104 to 108 bytes: tmp_path is too long on macOS.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def path(directory: Path) -> str:
    return str(directory / "notify")


@pytest.fixture
def manager(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        receiver.setblocking(False)
        yield receiver


@pytest.fixture
def notifier(manager: socket.socket) -> Notifier:
    return Notifier.from_environment({"NOTIFY_SOCKET": manager.getsockname()})


def read(manager: socket.socket) -> bytes:
    return manager.recv(1 << 17)


def is_empty(manager: socket.socket) -> bool:
    try:
        read(manager)
    except BlockingIOError:
        return True
    return False


def test_the_service_manager_hears_each_message_as_sd_notify_3_writes_it(
    manager: socket.socket, notifier: Notifier
) -> None:
    assert notifier.problem is None
    notifier.ready()
    assert read(manager) == b"READY=1"
    notifier.status("myapp.service is over")
    assert read(manager) == b"STATUS=myapp.service is over"
    notifier.watchdog()
    assert read(manager) == b"WATCHDOG=1"
    notifier.stopping("got SIGTERM")
    assert read(manager) == b"STOPPING=1\nSTATUS=got SIGTERM"
    assert is_empty(manager)
    assert not notifier.is_behind


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract Unix addresses")
def test_an_abstract_address_is_reached() -> None:
    name = f"memory-monitor-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": f"@{name}"})
        assert notifier.problem is None
        notifier.watchdog()
        assert read(manager) == b"WATCHDOG=1"


def test_without_a_service_manager_nothing_happens_and_nothing_is_wrong() -> None:
    notifier = Notifier.from_environment({})
    notifier.ready()
    notifier.status("all is well")
    notifier.watchdog()
    notifier.stopping("got SIGTERM")
    assert (notifier.problem, notifier.is_behind, notifier.watchdog_s) == (None, False, None)


@pytest.mark.usefixtures("manager")
def test_what_the_monitor_starts_can_not_speak_in_its_name(path: str) -> None:
    environ = {
        "HOME": "/root",
        "NOTIFY_SOCKET": path,
        "WATCHDOG_USEC": "1000000",
        "WATCHDOG_PID": str(os.getpid()),
    }
    notifier = Notifier.from_environment(environ)
    assert environ == {"HOME": "/root"}
    assert notifier._socket is not None
    assert not notifier._socket.get_inheritable()


def test_the_variables_go_even_where_they_are_of_no_use() -> None:
    environ = {"NOTIFY_SOCKET": "vsock:2:1234", "WATCHDOG_USEC": "x", "WATCHDOG_PID": "1"}
    Notifier.from_environment(environ)
    assert environ == {}


# --- a service manager that doesn't listen ----------------------------------------------------


def test_what_the_service_manager_does_not_take_never_blocks_and_is_sent_again_later(
    manager: socket.socket, notifier: Notifier
) -> None:
    sent = 0
    while not notifier.is_behind:
        notifier.status("x" * 1000)
        sent += 1
        assert sent < 100_000
    assert sent > 1
    notifier.ready()
    notifier.watchdog()
    notifier.status("the last one")
    why = f"doesn't take READY=1, WATCHDOG=1, STATUS= ({os.strerror(errno.EAGAIN)})"
    assert notifier.shortfall == f"NOTIFY_SOCKET '{manager.getsockname()}' {why}"
    notifier.catch_up()
    assert notifier.is_behind
    for _ in range(sent - 1):
        assert read(manager) == b"STATUS=" + b"x" * 1000
    assert is_empty(manager)
    notifier.catch_up()
    assert [read(manager) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STATUS=the last one"]
    assert not notifier.is_behind
    notifier.catch_up()
    assert is_empty(manager)


def test_a_service_manager_that_is_gone_is_noted_and_never_raised(
    manager: socket.socket, notifier: Notifier
) -> None:
    manager.close()
    for _ in range(300):
        notifier.watchdog()
        assert notifier.is_behind


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("vsock:2:1234", "use a path or an abstract address"),
        ("vsock-stream:2:1234", "use a path or an abstract address"),
        ("notify", "use a path or an abstract address"),
        ("/nowhere/notify", "No such file or directory"),
        ("/dev/null", "Connection refused"),
        ("/" + "x" * 200, "path too long"),
        ("@" + "x" * 200, "path too long"),
        ("/a\ud800", "can't encode"),
        ("/a\nb", "No such file or directory"),
    ],
)
def test_a_notify_socket_that_can_not_be_used_is_one_line_that_names_it(address: str, why: str) -> None:
    if address.startswith("@") and sys.platform != "linux":
        why = ""  # no abstract addresses there: refused, with other words
    with warnings.catch_warnings(record=True) as left_open:
        warnings.simplefilter("always")
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    assert left_open == []
    assert notifier.problem is not None
    assert notifier.problem.startswith(f"NOTIFY_SOCKET '{address[:2]}")
    assert why in notifier.problem
    assert notifier.problem.isprintable()
    assert notifier.watchdog_s is None
    notifier.ready()
    assert not notifier.is_behind


def test_a_notify_socket_of_another_type_is_one_line_that_names_it(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.bind(path)
        stream.listen()
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": path})
    assert notifier.problem is not None
    assert path in notifier.problem


# --- the status sentence ----------------------------------------------------------------------


def as_sent(shown: bytes) -> bytes:
    """What has to be sent so that this is shown: of each pair of backslashes systemd drops one."""
    return shown.replace(b"\\", b"\\\\")


def test_a_status_can_not_bring_in_another_assignment(manager: socket.socket, notifier: Notifier) -> None:
    notifier.status("a process named x\nSTOPPING=1\rMAINPID=1\0\x1b[2J is over")
    shown = rb"STATUS=a process named x\nSTOPPING=1\rMAINPID=1\x00\x1b[2J is over"
    assert read(manager) == as_sent(shown)


@pytest.mark.parametrize("letter", ["x", "ä", "€", "😀"])
def test_a_long_status_is_cut_to_what_systemd_takes_without_half_a_character(
    manager: socket.socket, notifier: Notifier, letter: str
) -> None:
    notifier.stopping(letter * 5000)
    message = read(manager)
    assert 4096 - 3 <= len(message) <= 4096
    head, _, status = message.decode().partition("STATUS=")
    assert head == "STOPPING=1\n"
    assert set(status) == {letter}


def test_a_name_that_is_not_utf_8_is_shown_with_escapes(manager: socket.socket, notifier: Notifier) -> None:
    notifier.status("odd\udcff is over")
    assert read(manager) == as_sent(rb"STATUS=odd\udcff is over")


def test_a_unit_with_a_backslash_keeps_its_name_also_where_the_status_is_cut(
    manager: socket.socket, notifier: Notifier
) -> None:
    notifier.status(r"x\x2dy.service")
    assert read(manager) == as_sent(rb"STATUS=x\x2dy.service")
    for filler in ("", "a"):
        notifier.status(filler + 5000 * "\\")
        message = read(manager)
        assert len(message) <= 4096
        assert message.count(b"\\") % 2 == 0


# --- the watchdog -----------------------------------------------------------------------------


@pytest.mark.usefixtures("manager")
@pytest.mark.parametrize(
    ("watchdog_usec", "watchdog_s"),
    [("30000000", 30.0), ("1", 0.000001), ("18446744073709551614", 18446744073709.551614)],
)
def test_the_watchdog_wants_to_hear_as_often_as_watchdog_usec_says(
    path: str, watchdog_usec: str, watchdog_s: float
) -> None:
    environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": watchdog_usec}
    notifier = Notifier.from_environment(dict(environ))
    assert (notifier.watchdog_s, notifier.problem) == (watchdog_s, None)
    ours = Notifier.from_environment(environ | {"WATCHDOG_PID": str(os.getpid())})
    assert ours.watchdog_s == watchdog_s


@pytest.mark.usefixtures("manager")
def test_the_watchdog_of_another_process_is_not_ours(path: str) -> None:
    notifier = Notifier.from_environment(
        {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getppid())}
    )
    assert (notifier.watchdog_s, notifier.problem) == (None, None)


@pytest.mark.parametrize("value", ["0", "-1", "1s", " ", "1.5", "18446744073709551615", "9" * 5000])
def test_a_watchdog_time_that_is_none_is_one_line_that_names_it(
    manager: socket.socket, path: str, value: str
) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": value})
    assert notifier.watchdog_s is None
    assert notifier.problem == (f"WATCHDOG_USEC '{value}' can't be used: use a whole number of microseconds")
    notifier.ready()  # the socket is good
    assert read(manager) == b"READY=1"


def test_a_watchdog_ping_makes_no_object(manager: socket.socket, notifier: Notifier) -> None:
    # Sees Python's allocations; those of the C library are counted by the audit.
    for _ in range(5):
        notifier.watchdog()
        read(manager)
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        notifier.watchdog()
        current, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read(manager) == b"WATCHDOG=1"
    assert peak == current


def test_a_start_that_takes_long_says_so_every_few_seconds(
    manager: socket.socket, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    notifier.starting()
    assert read(manager) == b"EXTEND_TIMEOUT_USEC=60000000"
    notifier.starting()
    assert is_empty(manager)
    now_s += 6.0
    notifier.starting()
    assert read(manager) == b"EXTEND_TIMEOUT_USEC=60000000"
