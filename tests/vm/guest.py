"""The machine as its tests see it: conditions to wait for, systemd, the journal, /proc."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from unitproperties import properties_of

T = TypeVar("T")

DEADLINE_S: Final = 60.0
"""For what happens within 6 s on real hardware; here everything takes ten times as long."""
POLL_S: Final = 0.05
PATIENCE: Final = 0.1
"""A condition may be seen so much later, of the time that it took: to look is what costs, here."""
MOST_POLL_S: Final = 0.5
CGROUPS: Final = Path("/sys/fs/cgroup")
UNITS: Final = Path("/run/systemd/system")
# On the disk: the files that services hold in the page cache must not be memory of their own (tmpfs).
WORK: Final = Path("/var/tmp/memory-monitor-tests")
MIB: Final = 1 << 20


def eventually(
    condition: Callable[[], T | None],
    what: str,
    deadline_s: float = DEADLINE_S,
    detail: Callable[[], str] = str,
) -> T:
    """The first true value that `condition` gives; AssertionError with the `detail` at the deadline."""
    begun_s = time.monotonic()
    while True:
        waited_s = time.monotonic() - begun_s
        last = waited_s > deadline_s
        value = condition()
        if value:
            return value
        if last:
            raise AssertionError(f"not within {deadline_s:g} s: {what}\n{detail()}")
        time.sleep(min(MOST_POLL_S, max(POLL_S, waited_s * PATIENCE)))


def run(*command: str) -> str:
    """What a command writes to stdout, without white space around; AssertionError if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def systemd_version() -> int:
    """That of the machine: 252, 257."""
    return int(run("systemctl", "--version").split()[1])


def property_of(unit: str, name: str) -> str:
    """One property as `systemctl show` writes it."""
    return properties_of(unit, name)[name]


def journal(*matches: str) -> list[dict[str, str]]:
    """The entries of the journal for arguments of journalctl, oldest first."""
    text = run("journalctl", "--output=json", "--quiet", *matches)
    return [json.loads(line) for line in text.splitlines()]


def messages(unit: str) -> list[str]:
    """What a unit and the monitors of it logged."""
    return [str(entry["MESSAGE"]) for entry in journal(f"--unit={unit}")]


def resident_kib(pid: int) -> int:
    """RSS of a process by smaps_rollup: VmRSS of /proc/PID/status can be 256 KiB off (proc(5))."""
    return int(field_of(f"/proc/{pid}/smaps_rollup", "Rss").split()[0])


def waits_of(pid: int) -> int:
    """How often a process has gone to sleep by itself; a wait that ends at once doesn't count."""
    return int(field_of(f"/proc/{pid}/status", "voluntary_ctxt_switches"))


def reads_of(pid: int) -> int:
    """How often a process has read from a file so far (syscr, proc(5))."""
    return int(field_of(f"/proc/{pid}/io", "syscr"))


def field_of(file: str, field: str) -> str:
    """What is behind "FIELD:" in a file of /proc."""
    lines = Path(file).read_text().splitlines()
    return next(line.split(":", 1)[1] for line in lines if line.startswith(f"{field}:")).strip()


def faults_of(pid: int) -> tuple[int, int]:
    """Minor and major page faults of a process so far (proc(5), /proc/PID/stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[7]), int(fields[9])


def write_unit(name: str, text: str) -> None:
    """Puts a unit file where systemd finds it; a new name needs no daemon-reload."""
    (UNITS / name).parent.mkdir(exist_ok=True)
    (UNITS / name).write_text(text)


@contextmanager
def silent_bus() -> Iterator[None]:
    """D-Bus accepts connections and says nothing. What talks to systemd's own socket goes on."""
    daemon = int(property_of("dbus.service", "MainPID"))
    os.kill(daemon, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(daemon, signal.SIGCONT)
