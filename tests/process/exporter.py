"""memory-monitor-exporter as a process, and state files for it to read."""

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

from memmon_systemd import keeping
from memmon_systemd.linux import proc
from memmon_systemd.linux.libc import Libc
from memmon_systemd.output import state_file
from memmon_systemd.output.record import MonitorRecord, Record
from memmon_systemd.output.state_file import StateFile
from tests.process.kit import ROOT
from tests.process.waiting import Output

COMMAND: Final = (
    f'exec 3<&"$0"; LISTEN_FDS=1 LISTEN_PID=$$ exec {sys.executable} -m memory_monitor_exporter "$@"'
)
ENVIRONMENT: Final = {**os.environ, "PYTHONPATH": f"{ROOT}/exporter:{os.environ.get('PYTHONPATH', '')}"}
DEADLINE_S: Final = 20.0
UNPACKED: Final = ROOT / "build" / "prometheus" / "usr" / "bin"
"""Where .ci/setup puts Debian's Prometheus."""


def prometheus_tool(name: str) -> str | None:
    """The path of prometheus or promtool; None where there is none."""
    return shutil.which(name, path=f"{UNPACKED}:{os.environ['PATH']}")


def started_ticks() -> int:
    return proc.read_stat(os.getpid()).start_ticks


def make_state_file(path: Path, records: Iterable[Record], name: str = "memory-monitor") -> StateFile:
    """The file of a monitor that is this process."""
    kept = list(records)
    monitor = MonitorRecord(name, "", os.getpid(), started_ticks(), keeping.boot_id(), 0, False, 1.0)
    file = state_file.create(str(path), monitor, max(len(kept), 1), Libc().map_file)
    for record in kept:
        assert file.keep(record)
    return file


class Exporter:
    """It with a socket on the loopback; ended with its `with`."""

    def __init__(self, directory: Path, log: Path, *options: str) -> None:
        """Starts it for the state files in a directory."""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.log = Output(log)
        descriptor = self._socket.fileno()
        with log.open("w") as output:
            self.process = subprocess.Popen(
                ("bash", "-c", COMMAND, str(descriptor), "--directory", str(directory), *options),
                pass_fds=(descriptor,),
                cwd=ROOT,
                env=ENVIRONMENT,
                stderr=output,
            )

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()
        self._socket.close()

    def get(self, path: str = "/metrics", **headers: str) -> tuple[str, bytes]:
        """The type and the content of a page."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return answer.headers["Content-Type"], answer.read()

    def connect(self) -> socket.socket:
        """A connection on which nothing is said yet."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)
