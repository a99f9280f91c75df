"""L1: while memory.current alone settles it, a look calls no allocator, and the kernel gives nothing."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.audit.counting import CountFile, Trace, faults
from tests.process.waiting import eventually

LIMIT_BYTES = 100_000_000
INTERVAL_S = 0.02
LOOKS = 200
DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Quiet:
    """A settled monitor, the directory that it reads, and what it is counted by."""

    pid: int
    directory: Path
    counts: CountFile

    def let_it_look(self, looks: int) -> None:
        """Wait until it has read memory.current so often (each look is one read)."""
        goal = self.counts.read().read + looks
        eventually(lambda: self.counts.read().read >= goal, DEADLINE_S, f"{looks} looks")


def _read_until_empty(notify: socket.socket) -> None:
    """A service manager reads every ping; a full queue would be an error, and an error allocates.

    An empty datagram ends it.
    """
    while notify.recv(4096):
        pass


@pytest.fixture
def quiet(library: Path, tmp_path: Path) -> Iterator[Quiet]:
    (tmp_path / "memory.current").write_text("12345678\n")
    (tmp_path / "memory.stat").write_text("anon 1000\ninactive_file 2000\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, CountFile(library) as counts:
        notify.bind(os.fspath(tmp_path / "notify"))
        notify.settimeout(DEADLINE_S)
        environment = {
            "NOTIFY_SOCKET": os.fspath(tmp_path / "notify"),
            "WATCHDOG_USEC": str(int(INTERVAL_S * 4e6)),
            "PYTHONPATH": ".",
        }
        script = [sys.executable, "tests/audit/quiet_monitor.py"]
        arguments = [os.fspath(tmp_path), str(LIMIT_BYTES), str(INTERVAL_S)]
        process = subprocess.Popen(
            script + arguments, env=os.environ | counts.environment | environment, stdout=sys.stderr
        )
        try:
            while b"READY=1" not in notify.recv(4096):
                pass
            pings = threading.Thread(target=_read_until_empty, args=(notify,))
            pings.start()
            quiet = Quiet(process.pid, tmp_path, counts)
            quiet.let_it_look(20)
            yield quiet
        finally:
            process.kill()
            process.wait()
            notify.sendto(b"", notify.getsockname())
            pings.join()


def test_200_quiet_looks_call_no_allocator(quiet: Quiet) -> None:
    before = quiet.counts.read()
    quiet.let_it_look(LOOKS)
    after = quiet.counts.read()
    assert (after - before).read >= LOOKS
    assert (after - before).allocator_calls == 0
    assert (after - before).free == 0


def test_200_quiet_looks_ask_the_kernel_for_no_memory(quiet: Quiet) -> None:
    with Trace(quiet.pid) as trace:
        before = faults(quiet.pid)
        quiet.let_it_look(LOOKS)
        assert faults(quiet.pid) == before
    assert not trace.calls


def test_a_look_near_the_limit_that_reads_memory_stat_faults_no_page(quiet: Quiet) -> None:
    (quiet.directory / "memory.current").write_text("99000000\n")
    quiet.let_it_look(20)
    with Trace(quiet.pid) as trace:
        before = faults(quiet.pid)
        quiet.let_it_look(LOOKS)
        assert faults(quiet.pid) == before
    assert not trace.calls


def test_passing_the_limit_again_and_again_faults_no_page(quiet: Quiet) -> None:
    current = quiet.directory / "memory.current"
    with Trace(quiet.pid) as trace:
        before = faults(quiet.pid)
        for _ in range(10):
            for reading in ("150000000\n", "12345678\n"):
                current.write_text(reading)
                quiet.let_it_look(5)
        assert faults(quiet.pid) == before
    assert not trace.calls
