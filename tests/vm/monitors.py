"""memory-monitor as the tests run it: as their child, or as a service of systemd."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Self

from guest import DEADLINE_S, WORK, eventually, journal, property_of, run


class Monitor:
    """memory-monitor as a child of the tests, ready when made; ended with its `with`."""

    def __init__(
        self,
        *arguments: str,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        stderr: int | None = None,
    ) -> None:
        """Starts it, as another user if asked, and waits for READY=1; `stderr` takes the place of `log`."""
        WORK.mkdir(exist_ok=True)
        self.path = WORK / f"monitor-{time.monotonic_ns()}"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(f"{self.path}.notify")
        os.chmod(f"{self.path}.notify", 0o777)
        self._notify.setblocking(False)
        self.told: list[str] = []
        told = {**os.environ, **(environment or {}), "NOTIFY_SOCKET": f"{self.path}.notify"}
        with self.path.open("wb") as log:
            self.process = subprocess.Popen(
                ("memory-monitor", *arguments), stderr=stderr or log, stdout=log, env=told, user=user
            )
        self._wait_until_ready()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it if it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait()
        self._notify.close()
        self.path.with_suffix(".notify").unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        """Of the monitor."""
        return self.process.pid

    @property
    def log(self) -> str:
        """All it logged."""
        return self.path.read_text()

    @property
    def lines(self) -> list[str]:
        """All it logged."""
        return self.log.splitlines()

    @property
    def statuses(self) -> list[str]:
        """All sentences of STATUS= so far."""
        self._hear()
        return [line.removeprefix("STATUS=") for line in self.told if line.startswith("STATUS=")]

    def lines_with(self, pattern: str) -> list[str]:
        """The lines in which the regular expression is found."""
        return [line for line in self.lines if re.search(pattern, line)]

    def wait_for(self, pattern: str, count: int = 1, deadline_s: float = DEADLINE_S) -> str:
        """Waits until so many lines match; the last of them."""

        def met() -> list[str] | None:
            ended = self.process.poll() is not None
            found = self.lines_with(pattern)
            assert len(found) >= count or not ended, f"ended before {pattern!r} was logged:\n{self.log}"
            return found if len(found) >= count else None

        return eventually(met, f"{count} x {pattern!r} in the log", deadline_s, lambda: self.log)[-1]

    def _wait_until_ready(self) -> None:
        """Waits for READY=1."""

        def is_ready() -> bool:
            self._hear()
            ended = self.process.poll() is not None
            assert not ended, f"ended with {self.process.returncode} before READY=1:\n{self.log}"
            return "READY=1" in self.told

        eventually(is_ready, "READY=1", detail=lambda: self.log)

    def status(self, deadline_s: float = DEADLINE_S) -> int:
        """Waits for its end; its exit status."""
        eventually(lambda: self.process.poll() is not None, "it ends", deadline_s, lambda: self.log)
        return self.process.returncode

    def stop(self) -> int:
        """Ends it by SIGTERM; its exit status."""
        self.process.terminate()
        return self.status()

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self.told += self._notify.recv(8192).decode().splitlines()


class MonitorUnit:
    """memory-monitor as a service of systemd, which knows that it is ready when made."""

    def __init__(self, unit: str, *arguments: str, properties: Sequence[str] = ()) -> None:
        """Starts it; `properties` are those of the unit."""
        self.unit = unit
        given = [f"--property={line}" for line in ("Type=notify", "NotifyAccess=main", *properties)]
        run("systemd-run", "--quiet", "--collect", f"--unit={unit}", *given, "memory-monitor", *arguments)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stops it."""
        subprocess.run(("systemctl", "stop", self.unit), capture_output=True, check=False)

    @property
    def pid(self) -> int:
        """Of the monitor."""
        return int(property_of(self.unit, "MainPID"))

    @property
    def lines(self) -> list[str]:
        """What it logged, without what systemd logged about it."""
        entries = journal(f"--unit={self.unit}", "SYSLOG_IDENTIFIER=memory-monitor")
        return [str(entry["MESSAGE"]) for entry in entries]

    def wait_for(self, pattern: str, count: int = 1, deadline_s: float = DEADLINE_S) -> str:
        """Waits until so many of its lines match; the last of them."""

        def found() -> list[str]:
            return [line for line in self.lines if re.search(pattern, line)][count - 1 :]

        what = f"{count} x {pattern!r} in the journal"
        return eventually(found, what, deadline_s, lambda: "\n".join(self.lines))[-1]
