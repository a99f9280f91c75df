"""The monitor as a process: its log, its notifications, its end."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Final, Self, TypeVar

from tests.process.namespace import PidNamespace
from tests.process.waiting import Output, eventually_or_ended

T = TypeVar("T")

ROOT: Final = Path(__file__).resolve().parents[2]
MONITOR: Final = (sys.executable, "-m", "memmon_systemd")
# Names of processes begin with this, 7 of their 15 characters: another run of the tests has other ones.
MINE: Final = f"m{os.getpid():06x}"
# Root without the right to signal another user's processes.
WITHOUT_CAP_KILL: Final = ("setpriv", "--bounding-set=-kill", "--inh-caps=-kill", "--")
IN_MEMORY: Final = Path("/dev/shm")
STOP_DEADLINE_S: Final = 10.0
LONGEST_SOCKET_PATH_BYTES: Final = 107  # sun_path of unix(7), less its end


class NotifySocket:
    """The receiving end of sd_notify(3). A thread empties it, so a sender never waits."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / f"notify-{os.urandom(4).hex()}"
        if len(os.fsencode(self.path)) > LONGEST_SOCKET_PATH_BYTES:
            raise ValueError(f"too long for a socket: {self.path}; set TMPDIR to a shorter one")
        self._messages: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(os.fspath(self.path))
        self._reads = threading.Event()
        self._reads.set()
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    @property
    def messages(self) -> list[str]:
        """Each datagram so far; one may hold several assignments, a line each."""
        return list(self._messages)

    def values(self, name: str) -> list[str]:
        """What was assigned to a name ("STATUS", "READY"), oldest first."""
        prefix = f"{name}="
        lines = (line for message in self.messages for line in message.splitlines())
        return [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]

    def stop_reading(self) -> None:
        """Leave what comes from now on unread, until `close`; one more message is taken."""
        self._reads.clear()

    def close(self) -> None:
        self._reads.set()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", os.fspath(self.path))
        self._thread.join()
        self._socket.close()
        self.path.unlink()

    def _receive(self) -> None:
        while datagram := self._socket.recv(65536):
            self._messages.append(datagram.decode(errors="replace"))
            self._reads.wait()


class MonitorProcess:
    """`python -m memmon_systemd ARGS` with its log in a file and its notifications at hand."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        command: Sequence[str] = MONITOR,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        stderr: int | None = None,
        namespace: PidNamespace | None = None,
    ) -> None:
        """Start it; see also wait_ready().

        Args:
            directory: where the log and the socket go.
            arguments: the monitor's.
            command: another program in its place.
            prefix: a command to run it by, such as WITHOUT_CAP_KILL; it must exec, not fork.
            environment: variables beside those of this process.
            stderr: a descriptor for its log in place of the file, such as a pipe that nobody reads.
            namespace: where it runs; its PID here is another one than there.
        """
        self.notify = NotifySocket(directory)
        # In memory, as the service manager's: a page that is written back to a disk faults when it is next
        # written to.
        self._runtime = tempfile.TemporaryDirectory(prefix="memory-monitor-", dir=IN_MEMORY)
        self.runtime = Path(self._runtime.name)
        with tempfile.NamedTemporaryFile(
            mode="ab", dir=directory, prefix="monitor-", suffix=".log", delete=False
        ) as file:
            self.log = Output(Path(file.name))
            inside = namespace.prefix(ROOT) if namespace else ()
            try:
                with namespace.births() if namespace else nullcontext():
                    self.process = subprocess.Popen(
                        [*inside, *prefix, *command, *arguments],
                        cwd=ROOT,
                        env={
                            **os.environ,
                            "NOTIFY_SOCKET": os.fspath(self.notify.path),
                            "RUNTIME_DIRECTORY": os.fspath(self.runtime),
                            **(environment or {}),
                        },
                        stdin=subprocess.DEVNULL,
                        stdout=file,
                        stderr=file if stderr is None else stderr,
                    )
            except OSError:
                self.notify.close()
                self._runtime.cleanup()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def lines(self) -> list[str]:
        """Its log so far."""
        return self.log.lines

    @property
    def held(self) -> int:
        """How many processes it holds: each by an open statm, where descriptors allow it."""
        held = 0
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # It was closed meanwhile.
                held += "/statm" in os.readlink(descriptor)
        return held

    @property
    def status(self) -> str | None:
        """The last STATUS= sentence."""
        sentences = self.notify.values("STATUS")
        return sentences[-1] if sentences else None

    @property
    def rss_kib(self) -> int:
        """VmRSS of /proc/PID/status, see proc(5)."""
        return self._kib("VmRSS")

    @property
    def peak_kib(self) -> int:
        """VmPeak of /proc/PID/status: the most address space that it has had."""
        return self._kib("VmPeak")

    def _kib(self, field: str) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
        assert found is not None, f"no {field} for {self.pid}:\n{text}"
        return int(found[1])

    def wait_for_line(self, pattern: str, deadline_s: float) -> str:
        """The first line of the log in which the regular expression is found."""
        return self._wait_for(lambda: self.log.first_line_with(pattern), deadline_s, f"a line {pattern!r}")

    def wait_ready(self, deadline_s: float = 10.0) -> None:
        """Wait for READY=1; AssertionError with the log where it ended first."""
        self._wait_for(lambda: "1" in self.notify.values("READY"), deadline_s, "READY=1")

    def wait_for_status(self, pattern: str, deadline_s: float) -> str:
        """The first STATUS= sentence, ever, in which the regular expression is found."""

        def found() -> str | None:
            sentences = self.notify.values("STATUS")
            return next((s for s in sentences if re.search(pattern, s)), None)

        return self._wait_for(found, deadline_s, f"a STATUS {pattern!r}")

    def wait_for_end(self, deadline_s: float = STOP_DEADLINE_S) -> int:
        """The exit status once it has ended by itself (negative: the signal)."""
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {deadline_s} s{self.log}") from None

    def stop(self) -> None:
        """Ask it by SIGTERM and expect it to end with status 0."""
        self.process.send_signal(signal.SIGTERM)
        status = self.wait_for_end()
        assert status == 0, f"the monitor ended with {status}{self.log}"

    def kill(self) -> None:
        """End it at once and take its socket away; does nothing where that is done."""
        if self.notify.path.exists():
            self.process.kill()
            self.process.wait()
            self.notify.close()
            self._runtime.cleanup()

    def _wait_for(self, condition: Callable[[], T | None], deadline_s: float, what: str) -> T:
        return eventually_or_ended(condition, deadline_s, what, lambda: self.running, self.log)
