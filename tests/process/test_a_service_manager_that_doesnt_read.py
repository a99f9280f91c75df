"""A service manager that doesn't read its notify socket: the monitor works, and READY=1 comes late."""

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.process.kit import MINE, MonitorProcess
from tests.process.leaker import Leaker
from tests.process.waiting import eventually

SOON_S = 15.0
NAME = f"{MINE}-process"
FILLING = b"X_FILLING=1"


@pytest.fixture
def full_socket() -> Iterator[socket.socket]:
    """A notify socket that holds as many messages as it takes."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as name,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(str(Path(name, "notify")))
        receiver.setblocking(False)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, suppress(BlockingIOError):
            sender.setblocking(False)
            sender.connect(receiver.getsockname())
            while True:
                sender.send(FILLING)
        yield receiver


def read_until(receiver: socket.socket, wanted: str) -> list[str]:
    """The monitor's messages, up to the one that holds `wanted`."""
    messages: list[str] = []

    def found() -> bool:
        with suppress(BlockingIOError):
            while True:
                message = receiver.recv(65536)
                if message != FILLING:
                    messages.append(message.decode())
        return any(wanted in message for message in messages)

    eventually(found, SOON_S, wanted, lambda: f"; read: {messages}")
    return messages


def test_it_signals_and_is_ready_as_soon_as_the_service_manager_reads(
    full_socket: socket.socket,
    start_leaker: Callable[..., Leaker],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    leaker = start_leaker(NAME, mib=20, ignore=True)
    environment = {"NOTIFY_SOCKET": full_socket.getsockname(), "WATCHDOG_USEC": "60000000"}
    monitor = start_monitor("-m", "10", "-i", "0.05", NAME, environment=environment)
    leaker.wait_for_signals("SIGTERM", 20, SOON_S)
    warning = monitor.wait_for_line("warning: .*READY=1", SOON_S)
    assert f"NOTIFY_SOCKET '{full_socket.getsockname()}'" in warning
    assert "Resource temporarily unavailable" in warning
    leaker.wait_for_signals("SIGTERM", leaker.lines.count("SIGTERM") + 40, SOON_S)
    assert sum("READY=1" in line for line in monitor.lines) == 1
    messages = read_until(full_socket, "READY=1")
    assert "READY=1" in messages
    # What was said meanwhile isn't lost: the last of it is said now.
    assert "signalled: " in read_until(full_socket, "STATUS=")[-1]
    monitor.stop()
    assert read_until(full_socket, "STOPPING=1")[-1].startswith("STOPPING=1\nSTATUS=")


def test_sigterm_ends_it_before_the_service_manager_has_read(
    full_socket: socket.socket, start_monitor: Callable[..., MonitorProcess]
) -> None:
    environment = {"NOTIFY_SOCKET": full_socket.getsockname()}
    monitor = start_monitor("-m", "10", "-i", "1h", NAME, environment=environment)
    monitor.wait_for_line("warning: .*READY=1", SOON_S)
    monitor.stop()


def test_a_ping_of_the_watchdog_that_isnt_taken_is_soon_sent_again(
    full_socket: socket.socket, start_monitor: Callable[..., MonitorProcess]
) -> None:
    # Half of this is when it would be next: much later than the test waits.
    environment = {"NOTIFY_SOCKET": full_socket.getsockname(), "WATCHDOG_USEC": str(3600 * 1_000_000)}
    monitor = start_monitor("-m", "10", "-i", "1h", NAME, environment=environment)
    monitor.wait_for_line("warning: .*READY=1", SOON_S)
    assert "WATCHDOG=1" in read_until(full_socket, "WATCHDOG=1")
    monitor.stop()
