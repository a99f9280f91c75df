"""Units whose cgroups are plain files, and monitors of them that are counted.

Real: the whole monitor, its D-Bus (to fake_systemd.py), inotify, every file that it reads, the signals. Not
real: who writes those files. A removed plain file can still be read, so only inotify tells that a unit has
gone; and a plain memory.events wakes nobody.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

# Any: the options are those of MonitorProcess, which checks their names itself.
from tests.audit.counting import Calls, CountFile
from tests.audit.fake_systemd import FakeSystemd
from tests.process.kit import ROOT, MonitorProcess
from tests.process.waiting import eventually

ALTERED: Final = (sys.executable, "tests/audit/altered.py")
DEADLINE_S: Final = 60.0
LIMIT_MIB: Final = 500
LOW_BYTES: Final = 123_000_000
HIGH_BYTES: Final = 987_000_000
"""All of nine digits: a number is written over the last one by one write, and no reading sees half of it."""


Start = Callable[..., MonitorProcess]
Record = Callable[[object], None]


def unit_monitor(
    start: Start, systemd: FakeSystemd, *arguments: str, changes: str = "", **options: Any
) -> MonitorProcess:
    """A monitor of units of `systemd`, after READY; `changes` are further ones of altered.py."""
    command = (*ALTERED, f"units-in={systemd.top}{changes and ','}{changes}")
    environment = {"PYTHONPATH": os.fspath(ROOT), **systemd.environment, **options.pop("environment", {})}
    threshold = () if "--configured" in arguments else ("-m", str(LIMIT_MIB))
    monitor = start(*threshold, *arguments, command=command, environment=environment, **options)
    monitor.wait_ready(DEADLINE_S)
    return monitor


def wait_for_count(monitor: MonitorProcess, pattern: str, goal: int) -> None:
    """Wait for so many lines in its log."""

    def count() -> int:
        return sum(bool(re.search(pattern, line)) for line in monitor.lines)

    eventually(
        lambda: count() >= goal, DEADLINE_S, f"{goal} x {pattern!r}", lambda: f"{count()}{monitor.log}"
    )


def let_it_look(counts: CountFile, begin: Calls, looks: int, units: int = 1) -> None:
    """Wait until each unit was looked at so often since `begin`: each quiet look is one read."""
    eventually(lambda: (counts.read() - begin).read >= looks * units, DEADLINE_S, f"{looks} looks")


class FakeUnit:
    """A unit's directory and its memory."""

    def __init__(self, top: Path, name: str, pid: int = 0, *children: int) -> None:
        """Starts it, with `pid` as its main process."""
        self.name = name
        self.directory = top / name
        self._pids = (pid, *children) if pid else ()
        self.start()

    def start(self) -> None:
        """Make its cgroup, then its files, as systemd does; last the one that the monitor opens first."""
        self.directory.mkdir()
        (self.directory / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in self._pids))
        (self.directory / "memory.events").write_text("low 0\nhigh 0\nmax 0\noom 0\n")
        (self.directory / "memory.stat").write_text(_stat(LOW_BYTES))
        (self.directory / "written").write_text(f"{LOW_BYTES}\n")
        (self.directory / "written").rename(self.directory / "memory.current")

    def stop(self) -> None:
        """Remove its cgroup."""
        shutil.rmtree(self.directory)

    def use(self, current_bytes: int, inactive_file_bytes: int = LOW_BYTES) -> None:
        """Let it use so much, of which so much is page cache; both of nine digits."""
        _write_over(self.directory / "memory.stat", _stat(inactive_file_bytes))
        _write_over(self.directory / "memory.current", f"{current_bytes}\n")


def _stat(inactive_file_bytes: int) -> str:
    head = f"anon 100000000\nfile {inactive_file_bytes}\ninactive_file {inactive_file_bytes}\n"
    return f"{head}active_file 0\nslab_reclaimable 0\n"


def _write_over(path: Path, text: str) -> None:
    assert len(text) == path.stat().st_size, f"{text!r} is longer or shorter than {path}"
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, text.encode())
    os.close(descriptor)
