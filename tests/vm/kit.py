"""Services, monitors and the journal of the test machine."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self, TypeVar

from unitproperties import properties_of as properties_of

T = TypeVar("T")

DEADLINE_S: Final = 60.0
"""For what happens within 6 s on real hardware; here everything takes ten times as long."""
POLL_S: Final = 0.05
CGROUPS: Final = Path("/sys/fs/cgroup")
UNITS: Final = Path("/run/systemd/system")
# On the disk: the files that services hold in the page cache must not be memory of their own (tmpfs).
WORK: Final = Path("/var/tmp/memory-monitor-tests")
LEAKY: Final = ("/usr/bin/python3", "-IS", str(Path(__file__).with_name("leaky.py")))
MIB: Final = 1 << 20


def eventually(
    condition: Callable[[], T | None],
    what: str,
    deadline_s: float = DEADLINE_S,
    detail: Callable[[], str] = str,
) -> T:
    """The first true value that `condition` gives; AssertionError with the `detail` at the deadline."""
    end_s = time.monotonic() + deadline_s
    while True:
        last = time.monotonic() > end_s
        value = condition()
        if value:
            return value
        if last:
            raise AssertionError(f"not within {deadline_s:g} s: {what}\n{detail()}")
        time.sleep(POLL_S)


def run(*command: str) -> str:
    """What a command writes to stdout, without white space around; AssertionError if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


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


class Leaky:
    """What the program leaky.py is told and says, whichever unit it runs in."""

    def __init__(self, name: str) -> None:
        """The program that works in a directory of this name, made anew."""
        self.directory = WORK / name
        if self.directory.exists():
            shutil.rmtree(self.directory)
        self.directory.mkdir(parents=True)
        self.directory.chmod(0o777)

    def command(self, *orders: str) -> tuple[str, ...]:
        """How to start it."""
        return (*LEAKY, str(self.directory), *orders)

    def exec_line(self, *orders: str) -> str:
        """How to start it, in a unit file."""
        return " ".join(f'"{word}"' if " " in word else word for word in self.command(*orders))

    @property
    def log(self) -> str:
        """All it said: time, PID, what."""
        said = self.directory / "said"
        return said.read_text() if said.exists() else ""

    @property
    def said(self) -> list[str]:
        """All it said, without time and PID."""
        return [line.split(" ", 2)[2] for line in self.log.splitlines()]

    def times_s(self, what: str) -> list[float]:
        """When it said this, in seconds of the monotonic clock."""
        return [float(line.split()[0]) for line in self.log.splitlines() if line.split(" ", 2)[2] == what]

    def who(self, what: str) -> list[int]:
        """The PIDs that said this."""
        return [int(line.split()[1]) for line in self.log.splitlines() if line.split(" ", 2)[2] == what]

    def wait_for(self, what: str, count: int = 1, deadline_s: float = DEADLINE_S) -> None:
        """Waits until it has said this so often."""
        wanted = f"{self.directory.name} says {count} x {what}"
        eventually(lambda: self.said.count(what) >= count, wanted, deadline_s, lambda: self.log)

    def tell(self, order: str, orders: str = "orders") -> None:
        """Gives an order and waits until it is done; `orders` is "child" for what "child" made."""
        done = self.said.count(order)

        def told() -> bool:
            # ENXIO: between two invocations nobody reads.
            with suppress(OSError):
                fifo = os.open(self.directory / orders, os.O_WRONLY | os.O_NONBLOCK)
                os.write(fifo, f"{order}\n".encode())
                os.close(fifo)
                return True
            return False

        eventually(told, f"{self.directory.name} takes orders")
        self.wait_for(order, done + 1)


class Service(Leaky):
    """leaky.py as a transient unit; ended with its `with`."""

    def __init__(
        self,
        unit: str,
        *orders: str,
        properties: Sequence[str] = (),
        restart: bool = False,
        arguments: Sequence[str] = (),
    ) -> None:
        """Starts it; `restart`: at once, whenever it ends. `arguments` are further ones of systemd-run."""
        super().__init__(unit)
        self.unit = unit
        again = ("Restart=always", "RestartSec=100ms", "StartLimitIntervalSec=0") if restart else ()
        given = [f"--property={line}" for line in (*again, *properties)]
        systemd_run = ("systemd-run", "--quiet", "--collect", f"--unit={unit}")
        run(*systemd_run, *given, *arguments, *self.command(*orders))
        self.wait_for(orders[-1] if orders else "started")

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stops it, killed if need be."""
        self.stop()

    @property
    def cgroup(self) -> Path:
        """The directory of its cgroup, of the invocation that runs now."""
        return CGROUPS / property_of(self.unit, "ControlGroup").strip("/")

    @property
    def pid(self) -> int:
        """The main process."""
        return int(property_of(self.unit, "MainPID"))

    def stop(self) -> None:
        """Stops the unit as systemctl does, but kills what would not end; nothing where it is gone."""
        kill = ("systemctl", "kill", "--signal=KILL", self.unit)
        if "ignore" in self.said:
            subprocess.run(kill, capture_output=True, check=False)
        subprocess.run(("systemctl", "stop", self.unit), capture_output=True, check=False)


class Monitor:
    """memory-monitor as a child of the tests, ready when made; ended with its `with`."""

    def __init__(
        self, *arguments: str, user: str | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        """Starts it, as another user if asked, and waits for READY=1."""
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
                ("memory-monitor", *arguments), stderr=log, stdout=log, env=told, user=user
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
