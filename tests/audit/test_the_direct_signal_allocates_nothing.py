"""L1 for the way without systemd: a signal to a process that is held calls no allocator."""

import os
import subprocess
import sys
from pathlib import Path

from tests.audit.counting import CountFile

# While a number stays below 257 counting up makes no object.
SENDER = """
import os
from memmon_systemd.processes.linux import LinuxProcess
process = LinuxProcess(os.getpid())
process.send(0)

def send_200():
    sent = 0
    while sent < 200:
        process.send(0)
        sent += 1

send_200()
os.write(1, b"ready")
os.read(0, 1)
send_200()
os.write(1, b"done")
os.read(0, 1)
"""
ROUND_TRIP_CALLS = 4
"""What the child's own reads of a byte may cost, measured as 1."""


def test_200_direct_signals_call_no_allocator(library: Path) -> None:
    with CountFile(library) as counts:
        child = subprocess.Popen(
            [sys.executable, "-c", SENDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | counts.environment,
            bufsize=0,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            assert child.stdout.read(5) == b"ready"
            before = counts.read()
            child.stdin.write(b"g")
            assert child.stdout.read(4) == b"done"
            assert (counts.read() - before).allocator_calls <= ROUND_TRIP_CALLS
        finally:
            child.kill()
            child.communicate()
