import fcntl
import os
import pty
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import traceback
import tty
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from memmon_systemd.app import open_sink
from memmon_systemd.output.journal import JournalSink
from memmon_systemd.output.sink import Sink
from memmon_systemd.output.stream import StreamSink

# A sink lives as long as its process, so it has nothing that closes what it opened.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="uses /proc/self/fd and /dev/full")
INFO = 6
NOBODY = 65534
LINE = "myapp.service: 512.3 MiB is above 500 MiB (unreclaimable): SIGTERM to its main process"


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """Fails what blocks, instead of waiting for ever."""

    def fail(_number: int, _frame: FrameType | None) -> None:
        pytest.fail("blocked for 20 s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        close(descriptor)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The two ends of a pseudo-terminal that makes CR LF of each newline, as usual."""
    reader, writer = pty.openpty()
    yield reader, writer
    for descriptor in (reader, writer):
        close(descriptor)


@pytest.fixture
def directory() -> Iterator[Path]:
    # The address of a Unix socket has 104 to 108 bytes: tmp_path is too long on macOS.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def journal(directory: Path) -> Iterator[socket.socket]:
    with listen(directory / "journal") as receiver:
        yield receiver


def listen(path: Path) -> socket.socket:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(path))
    receiver.setblocking(False)
    return receiver


def close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        assert descriptor > 2  # a test closed it already


def write(sink: Sink, line: str) -> None:
    sink.write(line, INFO, (("MEMORY_MONITOR_UNIT", "myapp.service"),))


def drain(descriptor: int) -> bytes:
    """What a pipe holds now, or a terminal, to which it may come a little later."""
    data = b""
    wait_s = 0.1 if os.isatty(descriptor) else 0
    while select.select([descriptor], [], [], wait_s)[0]:
        data += os.read(descriptor, 1 << 16)
    return data


def read_until(descriptor: int, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        data += os.read(descriptor, 1 << 16)
    return data


def fill(descriptor: int) -> None:
    """Fills a pipe to the last byte and leaves its flags as they were."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    for size in (1 << 16, 1):
        while True:
            try:
                os.write(descriptor, b"\n" * size)
            except BlockingIOError:
                break
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)


# --- plain text -------------------------------------------------------------------------------


def test_a_line_is_its_text_and_a_newline(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = open_sink({}, writer)
    write(sink, LINE)
    write(sink, "zweite Zeile: 1 € 😀")
    assert drain(reader).decode() == f"{LINE}\nzweite Zeile: 1 € 😀\n"
    assert sink.dropped == 0


def test_an_odd_name_can_neither_forge_a_line_nor_steer_the_terminal(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    write(open_sink({}, writer), "a\nroot: all is well\r\x1b[2J\x9b\u2028\udcff\ud800\0")
    assert drain(reader) == (b"a\\nroot: all is well\\r\\x1b[2J\\x9b\\u2028\\udcff\\ud800\\x00\n")


@pytest.mark.parametrize("letter", ["x", "ä", "€", "😀"])
def test_a_line_that_a_pipe_would_not_take_at_once_is_cut(pipe: tuple[int, int], letter: str) -> None:
    reader, writer = pipe
    sink = open_sink({}, writer)
    write(sink, letter * select.PIPE_BUF)
    line = drain(reader)
    assert select.PIPE_BUF - 3 <= len(line) <= select.PIPE_BUF
    assert line.endswith(b"...\n")
    assert set(line.decode()[:-4]) == {letter}
    assert sink.dropped == 0


def test_a_line_of_just_the_length_is_not_cut(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    write(open_sink({}, writer), "x" * (select.PIPE_BUF - 1))
    assert drain(reader) == b"x" * (select.PIPE_BUF - 1) + b"\n"


def test_a_file_is_appended_to_as_the_shell_opened_it(directory: Path) -> None:
    log = directory / "log"
    log.write_text("before\n")
    with log.open("a") as file:
        write(open_sink({}, file.fileno()), "one")
        with log.open("a") as other:
            other.write("other\n")
        write(open_sink({}, file.fileno()), "two")
    assert log.read_text() == "before\none\nother\ntwo\n"


# --- the descriptor is the user's too ---------------------------------------------------------


def test_the_flags_that_the_shell_sees_stay_as_they_are(
    pipe: tuple[int, int], terminal: tuple[int, int]
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for descriptor in (pipe[1], terminal[1], ours.fileno()):
            before = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            write(open_sink({}, descriptor), LINE)
            assert fcntl.fcntl(descriptor, fcntl.F_GETFL) == before
            assert not before & os.O_NONBLOCK
        assert theirs.recv(1000).decode() == f"{LINE}\n"


def test_what_it_opens_is_not_passed_on(pipe: tuple[int, int], terminal: tuple[int, int]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        first = os.dup(0)
        os.close(first)
        kept = [open_sink({}, descriptor) for descriptor in (pipe[1], terminal[1], ours.fileno())]
        opened = list(range(first, first + len(kept)))
        assert [os.get_inheritable(descriptor) for descriptor in opened] == [False] * len(kept)


# --- nobody reads -----------------------------------------------------------------------------


def test_a_full_pipe_never_blocks_and_what_is_lost_is_told_before_the_next_line(
    pipe: tuple[int, int],
) -> None:
    reader, writer = pipe
    sink = open_sink({}, writer)
    fill(writer)
    for count in range(1, 1001):
        write(sink, LINE)
        assert sink.dropped == count
    assert drain(reader).strip() == b""
    write(sink, "read again")
    write(sink, "and again")
    assert drain(reader).decode() == (
        "1000 lines were dropped because nobody read them\nread again\nand again\n"
    )
    assert sink.dropped == 1000


def test_one_lost_line_is_told_in_the_singular_and_counted_once(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = open_sink({}, writer)
    for total in (1, 2):
        fill(writer)
        write(sink, LINE)
        assert drain(reader).strip() == b""
        write(sink, LINE)
        text = drain(reader).decode()
        assert text == f"1 line was dropped because nobody read it\n{LINE}\n"
        assert sink.dropped == total


@linux_only
def test_no_line_slips_through_before_the_one_that_tells_how_many_are_missing(
    pipe: tuple[int, int],
) -> None:
    reader, writer = pipe
    sink = open_sink({}, writer)
    os.write(writer, b"\n" * (fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ) - 30))
    write(sink, LINE)
    write(sink, "fits in 30 bytes")
    assert sink.dropped == 2
    assert drain(reader).strip() == b""
    write(sink, "last")
    assert drain(reader) == b"2 lines were dropped because nobody read them\nlast\n"


def test_a_pipe_that_was_full_from_the_start_never_blocks(pipe: tuple[int, int]) -> None:
    fill(pipe[1])
    sink = open_sink({}, pipe[1])
    write(sink, LINE)
    assert sink.dropped == 1


@pytest.mark.parametrize("when", ["before it starts", "while it runs"])
def test_a_reader_that_is_gone_is_counted_and_never_raised(pipe: tuple[int, int], when: str) -> None:
    reader, writer = pipe
    if when == "before it starts":
        os.close(reader)
    sink = open_sink({}, writer)
    if when == "while it runs":
        os.close(reader)
    for count in (1, 2, 3):
        write(sink, LINE)
        assert sink.dropped == count


def test_a_terminal_stopped_with_ctrl_s_never_blocks(terminal: tuple[int, int]) -> None:
    reader, writer = terminal
    sink = open_sink({}, writer)
    write(sink, "first")
    assert read_until(reader, b"\n") == b"first\r\n"
    termios.tcflow(writer, termios.TCOOFF)
    for count in (1, 2, 3):
        write(sink, LINE)
        assert sink.dropped == count
    termios.tcflow(writer, termios.TCOON)
    write(sink, "last")
    told = b"3 lines were dropped because nobody read them\r\nlast\r\n"
    assert read_until(reader, b"last\r\n") == told


def test_a_terminal_that_nobody_reads_never_blocks_and_loses_whole_lines_only(
    terminal: tuple[int, int],
) -> None:
    check_unread_terminal(open_sink({}, terminal[1]), terminal[0])


def check_unread_terminal(sink: Sink, reader: int) -> None:
    lines = [f"{number}: {LINE}" for number in range(3000)]
    for line in lines:
        write(sink, line)
    assert 0 < sink.dropped < len(lines)
    data = os.read(reader, 1 << 16) + drain(reader)
    lines.append("read again")
    write(sink, lines[-1])
    data += read_until(reader, b"read again\r\n")

    # The kernel moves on what was written in its own time: there may have been room now and then.
    position = dropped = 0
    shown = data.decode().removesuffix("\r\n").split("\r\n")
    for line in shown:
        if line == lines[position]:
            position += 1
        elif told := re.fullmatch(r"(\d+) lines? (was|were) dropped .* read (it|them)", line):
            position += int(told[1])
            dropped += int(told[1])
        else:  # only the beginning of a line, or of what tells how many were dropped
            assert lines[position].startswith(line) or re.match(r"\d+ line", line)
    assert position == len(lines)
    assert dropped == sink.dropped


def test_a_terminal_that_hung_up_is_counted_and_never_raised(terminal: tuple[int, int]) -> None:
    reader, writer = terminal
    sink = open_sink({}, writer)
    os.close(reader)
    write(sink, LINE)
    assert sink.dropped == 1


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_that_nobody_reads_never_blocks(kind: socket.SocketKind) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with ours, theirs:
        sink = open_sink({}, ours.fileno())
        written = 0
        while not sink.dropped:
            write(sink, LINE)
            written += 1
            assert written < 100_000
        theirs.setblocking(False)
        received = b""
        while received.count(b"\n") < written - 1:
            received += theirs.recv(1 << 16)
        write(sink, "read again")
        received += theirs.recv(1 << 16)
        if kind == socket.SOCK_DGRAM:
            received += theirs.recv(1 << 16)
        assert received.decode().replace(f"{LINE}\n", "") == (
            "1 line was dropped because nobody read it\nread again\n"
        )
        theirs.close()
        write(sink, LINE)
        assert sink.dropped == 2


@linux_only
def test_a_full_disk_is_counted_and_never_raised() -> None:
    with open("/dev/full", "w") as full:
        sink = open_sink({}, full.fileno())
        write(sink, LINE)
        write(sink, LINE)
    assert sink.dropped == 2


def test_a_line_of_which_only_the_beginning_was_written_does_not_spoil_the_next(
    directory: Path,
) -> None:
    log = directory / "log"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with log.open("a") as file:
        sink = open_sink({}, file.fileno())
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))  # as a disk that gets full
            write(sink, "the beginning and the rest")
            write(sink, "lost")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        write(sink, "next")
        write(sink, "last")
    assert log.read_text() == ("the beginn\n2 lines were dropped because nobody read them\nnext\nlast\n")
    assert sink.dropped == 2


# --- where the descriptor can't be opened again -----------------------------------------------


def as_another_user(descriptor: int, check: Callable[[], None], controlling: int | None = None) -> None:
    """Runs the check in a child that may write to the descriptor, but not open it again.

    The terminal `controlling` is the one that /dev/tty means in the child.
    """
    os.fchmod(descriptor, 0)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(15)
            os.setsid()
            if controlling is not None:
                fcntl.ioctl(controlling, termios.TIOCSCTTY, 0)
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            check()
            status = 0
        except BaseException:
            traceback.print_exc()  # pytest shows it with the failure of the parent
        finally:
            sys.stderr.flush()
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def can_open_again(descriptor: int) -> bool:
    try:
        os.close(os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY))
    except OSError:
        return False
    return True


@linux_only
def test_a_full_pipe_of_another_user_never_blocks(pipe: tuple[int, int]) -> None:
    reader, writer = pipe

    def check() -> None:
        assert not can_open_again(writer)
        sink = open_sink({}, writer)
        while not sink.dropped:
            write(sink, LINE)
        assert drain(reader).decode().replace(f"{LINE}\n", "") == ""
        write(sink, "read again")
        told = "1 line was dropped because nobody read it\nread again\n"
        assert drain(reader).decode() == told
        write(sink, "x" * select.PIPE_BUF)
        assert len(drain(reader)) == select.PIPE_BUF

    as_another_user(writer, check)


@linux_only
@pytest.mark.parametrize("dev_tty", ["none", "this", "another"])
def test_a_terminal_of_another_user_that_nobody_reads_never_blocks(
    terminal: tuple[int, int], dev_tty: str
) -> None:
    reader, writer = terminal

    def check() -> None:
        assert not can_open_again(writer)
        sink = open_sink({}, writer)
        descriptors = Path("/proc/self/fd").iterdir()
        links = [str(link.readlink()) for link in descriptors if link.is_symlink()]
        assert ("/dev/tty" in links) == (dev_tty == "this")
        write(sink, "first")
        assert read_until(reader, b"\n") == b"first\r\n"
        check_unread_terminal(sink, reader)

    other_reader, other_writer = pty.openpty()
    controlling = {"none": None, "this": writer, "another": other_writer}[dev_tty]
    as_another_user(writer, check, controlling)
    os.close(other_reader)
    os.close(other_writer)


@linux_only
def test_a_stopped_terminal_of_another_user_never_blocks(terminal: tuple[int, int]) -> None:
    reader, writer = terminal

    def check() -> None:
        sink = open_sink({}, writer)
        termios.tcflow(writer, termios.TCOOFF)
        write(sink, LINE)
        assert sink.dropped == 1
        termios.tcflow(writer, termios.TCOON)
        write(sink, "last")
        told = b"1 line was dropped because nobody read it\r\nlast\r\n"
        assert read_until(reader, b"last\r\n") == told

    as_another_user(writer, check)


@linux_only
@pytest.mark.parametrize("is_raw", [False, True])
def test_a_terminal_of_another_user_that_is_filled_by_odd_lengths_never_blocks(
    terminal: tuple[int, int], is_raw: bool
) -> None:
    reader, writer = terminal
    if is_raw:
        tty.setraw(writer)

    def check() -> None:
        for length in (1, 7, 64, 86, 127, 128, 129, 255, 256, 4000):
            sink = open_sink({}, writer)
            while not sink.dropped:
                write(sink, "x" * length)
            write(sink, "x" * length)
            assert sink.dropped == 2
            drain(reader)

    as_another_user(writer, check)


# --- closed descriptors -----------------------------------------------------------------------

GUARD = """
import os, sys
from memmon_systemd.app import open_sink
from memmon_systemd.cli import guard_standard_descriptors
guard_standard_descriptors()
result = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
sink = open_sink({})
sink.write("into nothing", 6, ())
null = os.stat(os.devnull).st_rdev
kept = "".join("-" if os.fstat(fd).st_rdev == null else str(fd) for fd in (0, 1, 2))
os.write(result, f"{result > 2} {kept} {sink.dropped}".encode())
"""


@pytest.mark.parametrize(
    ("closing", "kept"), [("", "012"), ("2>&-", "01-"), ("<&-", "-12"), ("<&- >&- 2>&-", "---")]
)
def test_no_file_that_is_opened_later_takes_the_place_of_a_closed_stderr(
    directory: Path, closing: str, kept: str
) -> None:
    result = directory / "result"
    subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" "$2" {closing}', sys.executable, GUARD, str(result)],
        input=b"",
        capture_output=True,
        timeout=15,
        check=True,
    )
    assert result.read_text() == f"True {kept} 0"


def test_a_closed_descriptor_is_never_written_to_even_if_its_number_is_used_again(
    directory: Path,
) -> None:
    closed = os.dup(0)
    os.close(closed)
    sink = open_sink({"JOURNAL_STREAM": "1:1"}, closed)
    with (directory / "data").open("w+b") as data:
        assert data.fileno() == closed
        write(sink, LINE)
        assert (directory / "data").read_bytes() == b""
    write(sink, "")
    assert sink.dropped == 2


# --- the journal ------------------------------------------------------------------------------


def stream_of(descriptor: int) -> dict[str, str]:
    status = os.fstat(descriptor)
    return {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}


def read_fields(journal: socket.socket) -> dict[str, bytes]:
    """The fields of a datagram, by the rules of systemd.io/JOURNAL_NATIVE_PROTOCOL."""
    rest = journal.recv(1 << 20)
    fields = {}
    while rest:
        line, _, rest = rest.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(rest[:8], "little")
            value, newline, rest = (
                rest[8 : 8 + length],
                rest[8 + length : 9 + length],
                rest[9 + length :],
            )
            assert newline == b"\n"
        assert name.decode() not in fields
        fields[name.decode()] = value
    return fields


def open_journal(directory: Path, stderr: int) -> Sink:
    return open_sink(stream_of(stderr), stderr, str(directory / "journal"))


def test_where_stderr_is_the_journal_lines_go_there_with_their_fields(
    journal: socket.socket, directory: Path, pipe: tuple[int, int]
) -> None:
    reader, stderr = pipe
    sink = open_journal(directory, stderr)
    sink.write(LINE, 4, (("OBJECT_SYSTEMD_UNIT", "myapp.service"), ("MEMORY_MONITOR_USAGE", "1")))
    assert read_fields(journal) == {
        "MESSAGE": LINE.encode(),
        "PRIORITY": b"4",
        "SYSLOG_IDENTIFIER": b"memory-monitor",
        "OBJECT_SYSTEMD_UNIT": b"myapp.service",
        "MEMORY_MONITOR_USAGE": b"1",
    }
    assert drain(reader) == b""


def test_a_value_can_not_bring_in_another_field(
    journal: socket.socket, directory: Path, pipe: tuple[int, int]
) -> None:
    sink = open_journal(directory, pipe[1])
    sink.write("a", 6, (("UNIT_A", "\nPRIORITY=0"), ("UNIT_B", "=b="), ("UNIT_C", "odd\udcff")))
    assert read_fields(journal) == {
        "MESSAGE": b"a",
        "PRIORITY": b"6",
        "SYSLOG_IDENTIFIER": b"memory-monitor",
        "UNIT_A": b"\nPRIORITY=0",
        "UNIT_B": b"=b=",
        "UNIT_C": b"odd\\udcff",
    }


def test_a_message_is_one_line_and_steers_no_terminal(
    journal: socket.socket, directory: Path, pipe: tuple[int, int]
) -> None:
    sink = open_journal(directory, pipe[1])
    sink.write("a\nPRIORITY=0\r\x1b[2J\u202e\x9b", 6, (("UNIT_A", "\n"),))
    fields = read_fields(journal)
    assert fields["MESSAGE"] == rb"a\nPRIORITY=0\r\x1b[2J\u202e\x9b"
    assert (fields["PRIORITY"], fields["UNIT_A"]) == (b"6", b"\n")


def test_a_value_that_no_datagram_could_hold_is_cut(
    journal: socket.socket, directory: Path, pipe: tuple[int, int]
) -> None:
    sink = open_journal(directory, pipe[1])
    sink.write("ä" * 1_000_000, 6, (("UNIT_A", "\n" * 1_000_000),))
    fields = read_fields(journal)
    assert fields["MESSAGE"].endswith(b"...")
    assert set(fields["MESSAGE"].decode()[:-3]) == {"ä"}
    assert fields["UNIT_A"] == b"\n" * (select.PIPE_BUF - 3) + b"..."


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize("journal_stream", ["", "1:1", "x", "1", ":", "9" * 5000])
def test_where_stderr_is_not_the_journal_lines_are_plain(
    directory: Path, pipe: tuple[int, int], journal_stream: str
) -> None:
    reader, stderr = pipe
    environ = {"JOURNAL_STREAM": journal_stream}
    write(open_sink(environ, stderr, str(directory / "journal")), LINE)
    assert drain(reader).decode() == f"{LINE}\n"


def test_where_the_journal_can_not_be_reached_lines_keep_their_priority(
    directory: Path, pipe: tuple[int, int]
) -> None:
    reader, stderr = pipe
    sink = open_journal(directory, stderr)
    sink.write("one", 3, ())
    fill(stderr)
    sink.write("lost", 3, ())
    warned, one, *rest = drain(reader).decode().splitlines()
    assert warned == (
        f"<4>{directory}/journal can't be reached: No such file or directory; "
        "the lines go to the journal without their fields"
    )
    assert one == "<3>one"
    assert set(rest) <= {""}
    sink.write("x" * select.PIPE_BUF, 6, ())
    told, long = drain(reader).decode().splitlines()
    assert told == "<4>1 line was dropped because nobody read it"
    assert long.startswith("<6>xxx")
    assert len(long) == select.PIPE_BUF - 1


def test_a_journal_that_does_not_read_never_blocks_and_what_is_lost_is_told(
    journal: socket.socket, directory: Path, pipe: tuple[int, int]
) -> None:
    sink = open_journal(directory, pipe[1])
    written = 0
    while sink.dropped < 2:
        write(sink, LINE)
        written += 1
        assert written < 100_000
    for _ in range(written - 2):
        assert read_fields(journal)["MESSAGE"] == LINE.encode()
    write(sink, "read again")
    told = read_fields(journal)
    assert told["MESSAGE"] == b"2 lines were dropped because nobody read them"
    assert told["PRIORITY"] == b"4"
    assert read_fields(journal)["MESSAGE"] == b"read again"
    assert sink.dropped == 2


def test_a_journal_that_comes_back_at_its_path_is_found_again(
    journal: socket.socket, directory: Path, pipe: tuple[int, int]
) -> None:
    sink = open_journal(directory, pipe[1])
    journal.close()
    write(sink, LINE)
    (directory / "journal").unlink()
    write(sink, LINE)
    assert sink.dropped == 2
    with listen(directory / "journal") as back:
        write(sink, "read again")
        assert read_fields(back)["MESSAGE"] == b"2 lines were dropped because nobody read them"
        assert read_fields(back)["MESSAGE"] == b"read again"
    with warnings.catch_warnings(record=True) as left_open:
        warnings.simplefilter("always")
        with pytest.raises(OSError, match="refused"):
            JournalSink(str(directory / "journal"))
    assert left_open == []


@pytest.mark.usefixtures("journal")
def test_a_sink_says_by_its_type_where_lines_go(directory: Path, pipe: tuple[int, int]) -> None:
    assert type(open_journal(directory, pipe[1])) is JournalSink
    assert type(open_sink({}, pipe[1])) is StreamSink
