"""Where its standard output or error can't be written, each way out keeps its exit status."""

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.process.kit import MINE, MONITOR, ROOT
from tests.process.waiting import eventually

DEADLINE_S = 20.0
PIPE_BYTES = 4096
NOBODY = f"{MINE}-none"
CHECK = ("--check", "--as", "process", "-m", "5", NOBODY)
USAGE = ("-m", "0", "x")
START = ("-m", "5", "x.service")
TEXTS = (("--help",), ("--version",), (*CHECK, "--json"))
ENDS = [
    *((text, status) for text, status in zip(TEXTS, (0, 0, 4), strict=True)),
    (CHECK, 4),
    (USAGE, 2),
    (START, 1),
    (("--once", "--as", "process", "-m", "5", NOBODY), 4),
]
IDS = [" ".join(arguments[:1]) if status == 0 else " ".join(arguments[:3]) for arguments, status in ENDS]


@contextmanager
def opened(kind: str) -> Iterator[int]:
    """A descriptor to write to: /dev/null, a full disk, a pipe whose reader is gone, or doesn't read."""
    with ExitStack() as stack:
        if kind in ("null", "closed", "full"):
            path = "/dev/full" if kind == "full" else os.devnull
            descriptors = [os.open(path, os.O_WRONLY)]
        else:
            descriptors = list(os.pipe())
            if kind == "gone":
                os.close(descriptors.pop(0))
            else:
                fill(descriptors[1])
        for descriptor in descriptors:
            stack.callback(os.close, descriptor)
        yield descriptors[-1]


def fill(writer: int) -> None:
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)


def start(
    arguments: tuple[str, ...], tmp_path: Path, out: int | str, error: int | str
) -> subprocess.Popen[str]:
    """Start it; a stream is a descriptor, or the word "closed"."""
    closed = " ".join(text for stream, text in ((out, ">&-"), (error, "2>&-")) if stream == "closed")
    environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path}/no-system-bus"}
    environment.pop("PYTHONUNBUFFERED", None)
    return subprocess.Popen(
        ("sh", "-c", f'exec "$@" {closed}', "sh", *MONITOR, *arguments),
        cwd=ROOT,
        env=environment,
        stdout=out if isinstance(out, int) else None,
        stderr=error if isinstance(error, int) else None,
        text=True,
    )


@pytest.mark.parametrize("kind", ["full", "gone", "closed", "unread"])
@pytest.mark.parametrize(("arguments", "status"), ENDS, ids=IDS)
def test_an_error_that_cant_be_written_doesnt_change_the_exit_status(
    arguments: tuple[str, ...], status: int, kind: str, tmp_path: Path
) -> None:
    with opened(kind) as error, opened("null") as out:
        monitor = start(arguments, tmp_path, out, "closed" if kind == "closed" else error)
        try:
            assert monitor.wait(DEADLINE_S) == status
        finally:
            monitor.kill()
            monitor.wait()


@pytest.mark.parametrize(("kind", "why"), [("full", "No space left on device"), ("gone", "Broken pipe")])
@pytest.mark.parametrize("arguments", TEXTS, ids=["--help", "--version", "--check"])
def test_a_text_that_cant_be_written_is_a_failure_in_one_line(
    arguments: tuple[str, ...], kind: str, why: str, tmp_path: Path
) -> None:
    with opened(kind) as out:
        monitor = start(arguments, tmp_path, out, subprocess.PIPE)
        _, said = monitor.communicate(timeout=DEADLINE_S)
    assert said == f"memory-monitor: the standard output can't be written: {why}\n"
    assert monitor.returncode == 1


@pytest.mark.parametrize("arguments", TEXTS, ids=["--help", "--version", "--check"])
def test_a_text_for_nobody_is_no_failure(arguments: tuple[str, ...], tmp_path: Path) -> None:
    monitor = start(arguments, tmp_path, "closed", subprocess.PIPE)
    _, said = monitor.communicate(timeout=DEADLINE_S)
    assert "Traceback" not in said
    assert monitor.returncode == (4 if "--check" in arguments else 0)


@pytest.mark.parametrize("arguments", TEXTS, ids=["--help", "--version", "--check"])
def test_a_text_that_nobody_reads_waits_for_the_reader_and_sigterm_ends_that(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    with opened("unread") as out:
        monitor = start(arguments, tmp_path, out, subprocess.DEVNULL)

        def writes() -> bool:
            assert monitor.poll() is None
            return "pipe" in Path(f"/proc/{monitor.pid}/wchan").read_text()

        eventually(writes, DEADLINE_S, "it waits for the reader")
        monitor.terminate()
        assert monitor.wait(DEADLINE_S) == -signal.SIGTERM
