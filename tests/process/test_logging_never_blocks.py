"""Whoever reads the log can stop reading, or be gone: the monitor signals all the same."""

import array
import fcntl
import os
import pty
import re
import termios
from collections.abc import Callable, Iterator

import pytest

from tests.process.kit import MINE, MonitorProcess
from tests.process.leaker import Leaker
from tests.process.waiting import eventually

SOON_S = 15.0
NAME = f"{MINE}-process"
TALKATIVE = ("-m", "10", "-i", "0.02", "-v", NAME)
PIPE_BYTES = 4096


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe as small as there is one: its reading and its writing end."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    yield ends
    for end in ends:
        os.close(end)


def bytes_waiting(reader: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(reader, termios.FIONREAD, count)
    return count[0]


def read_until(reader: int, pattern: bytes) -> bytes:
    """What comes until the regular expression is found in it."""
    text = bytearray()
    os.set_blocking(reader, False)

    def found() -> bool:
        try:
            text.extend(os.read(reader, 65536))
        except BlockingIOError:
            return False
        return re.search(pattern, text) is not None

    eventually(found, SOON_S, f"{pattern!r}", lambda: f"; read:\n{text.decode()}")
    return bytes(text)


def wait_for_more(leaker: Leaker, count: int) -> None:
    leaker.wait_for_signals("SIGTERM", leaker.lines.count("SIGTERM") + count, SOON_S)


def test_a_reader_that_stopped_reading_doesnt_keep_it_from_signalling(
    pipe: tuple[int, int], start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    reader, writer = pipe
    leaker = start_leaker(NAME, mib=20, ignore=True)
    monitor = start_monitor(*TALKATIVE, stderr=writer)
    # No line is longer than 100 bytes: now none fits.
    eventually(lambda: bytes_waiting(reader) > PIPE_BYTES - 100, SOON_S, "a full pipe")
    wait_for_more(leaker, 30)
    assert monitor.running


def test_a_reader_that_comes_back_is_told_how_many_lines_it_missed(
    pipe: tuple[int, int], start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    reader, writer = pipe
    leaker = start_leaker(NAME, mib=20, ignore=True)
    monitor = start_monitor(*TALKATIVE, stderr=writer)
    monitor.wait_ready()
    eventually(lambda: bytes_waiting(reader) > PIPE_BYTES - 100, SOON_S, "a full pipe")
    wait_for_more(leaker, 10)
    told = read_until(reader, rb"\n\d+ lines were dropped because nobody read them\n")
    lines = told.decode().splitlines()
    dropped = [int(line.split()[0]) for line in lines if "dropped" in line]
    # Each look says a reading and a signal.
    assert sum(dropped) >= 10
    wait_for_more(leaker, 5)
    read_until(reader, rb"sent SIGTERM\n")


def test_each_line_was_written_or_is_counted_as_dropped(
    pipe: tuple[int, int], start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    reader, writer = pipe
    leaker = start_leaker(NAME, mib=20, ignore=True)
    monitor = start_monitor("-m", "10", "-i", "0.02", NAME, stderr=writer)
    eventually(lambda: bytes_waiting(reader) > PIPE_BYTES - 100, SOON_S, "a full pipe")
    wait_for_more(leaker, 20)
    text = read_until(reader, rb"lines were dropped because nobody read them\n.*sent SIGTERM\n")
    leaker.kill()
    text += read_until(reader, rb": waiting: ")
    sent = len(re.findall(rb"sent SIGTERM\n", text))
    dropped = sum(map(int, re.findall(rb"(\d+) lines? w\w+ dropped", text)))
    assert leaker.lines.count("SIGTERM") <= sent + dropped
    assert dropped >= 10
    assert monitor.running


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_are_no_hindrance(
    closed: str, start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, mib=20, ignore=True)
    shell = ("sh", "-c", f'exec "$@" {closed}', "sh")
    monitor = start_monitor("-m", "10", "-i", "0.05", "-v", NAME, prefix=shell)
    monitor.wait_ready()
    leaker.wait_for_signals("SIGTERM", 5, SOON_S)
    # None of its lines went into what it opened next: a socket, /proc/loadavg.
    assert all(message.startswith(("STATUS=", "READY=1")) for message in monitor.notify.messages)
    monitor.stop()


def test_a_log_pipe_whose_reader_is_gone_is_no_hindrance(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    reader, writer = os.pipe()
    leaker = start_leaker(NAME, mib=20, ignore=True)
    monitor = start_monitor("-m", "10", "-i", "0.05", "-v", NAME, stderr=writer)
    os.close(writer)
    monitor.wait_ready()
    os.close(reader)
    wait_for_more(leaker, 5)
    monitor.stop()


def test_a_log_pipe_without_a_reader_from_the_start_is_no_hindrance(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    leaker = start_leaker(NAME, mib=20, ignore=True)
    monitor = start_monitor("-m", "10", "-i", "0.05", "-v", NAME, stderr=writer)
    os.close(writer)
    wait_for_more(leaker, 5)
    monitor.stop()


def test_a_terminal_that_was_stopped_is_no_hindrance(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    keyboard, terminal = pty.openpty()
    leaker = start_leaker(NAME, mib=20, ignore=True)
    monitor = start_monitor(*TALKATIVE, stderr=terminal)
    monitor.wait_ready()
    os.write(keyboard, b"\x13")  # Ctrl-S
    wait_for_more(leaker, 200)
    os.write(keyboard, b"\x11")  # Ctrl-Q
    read_until(keyboard, rb"lines? w\w+ dropped because nobody read")
    monitor.stop()
    os.close(keyboard)
    os.close(terminal)
