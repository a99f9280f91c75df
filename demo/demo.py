"""The demo: a leaking service that memory-monitor asks to restart, twice, on the real thing.

Where systemd runs, the service is a transient unit with Restart=always. Elsewhere it is a process
that this program starts again whenever it ends, as systemd would.

The exit status is 0 only if the service was seen to end by itself and to start afresh, twice.
"""

import os
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Protocol

import psutil

UNIT = "memory-monitor-demo.service"
PROCESS_NAME = "mm-demo-leak"
LIMIT_MIB = 60
RESTARTS = 2
DEADLINE_S = 60.0
LOOK_S = 0.1
END_S = 3.0

# The unit's threshold is 90% unless it is configured: to be what --check was given, it has to be.
NEXT = """
Next, on a service of your own (here: myapp). This changes nothing; it reports problems and how to fix them:

    {command} --check -m 80% myapp

Then, as root, with memory-monitor installed (see "Install" in README.md):

    echo 'MAX_MEMORY=80%' >/etc/memory-monitor/myapp.conf
    systemctl enable --now memory-monitor@myapp"""
NEXT_WITHOUT_SYSTEMD = """
Next, on processes of your own (here: myapp). This logs what would be done, and signals nothing:

    {command} --dry-run -m 500 myapp"""

SERVICE = Path(__file__).with_name("leaking_service.py")
BIN = Path(sys.executable).parent


class DemoError(Exception):
    """The demo can't go on; the message is one line."""


def say(who: str, line: str) -> None:
    """Prints one line of the demo, beginning with who speaks."""
    print(f"{who + ':':<9}{line}", flush=True)


class Service(Protocol):
    """The leaking service in the hands of something that starts it again."""

    kept_by: str
    monitor_arguments: tuple[str, ...]

    def start(self, output: Path) -> None:
        """Starts it; its lines go to the named pipe `output`. Raises DemoError."""

    def look(self) -> None:
        """Called every LOOK_S: the time to start it again if it ended."""

    def stop(self) -> None:
        """Ends it for good. Raises DemoError."""


class Unit:
    """The service as a transient unit of systemd."""

    kept_by = "systemd"

    def __init__(self, *manager: str) -> None:
        """Takes the option that names the service manager: none (the system's) or --user."""
        self._manager = manager
        self.monitor_arguments = (*manager, UNIT)

    def start(self, output: Path) -> None:
        """Starts the unit."""
        properties = (
            "Restart=always",
            "RestartSec=100ms",
            f"StandardOutput=file:{output}",
            # Should the demo be killed, the service ends after a few starts.
            "StartLimitIntervalSec=600",
            f"StartLimitBurst={RESTARTS + 3}",
        )
        self._run(
            "systemd-run",
            "--quiet",
            # Nothing is left of the unit once it has ended, even if it failed.
            "--collect",
            f"--unit={UNIT}",
            *(f"--property={line}" for line in properties),
            sys.executable,
            str(SERVICE),
        )

    def look(self) -> None:
        """Does nothing: systemd starts it again."""

    def stop(self) -> None:
        """Stops the unit."""
        self._run("systemctl", "stop", UNIT)

    def _run(self, command: str, *arguments: str) -> None:
        done = subprocess.run(
            [command, *self._manager, *arguments], stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode != 0:
            raise DemoError(f"{command}: {done.stderr.strip()}")


class Process:
    """The service as a child of this program, which starts it again each time it ends."""

    kept_by = "a loop (no systemd here)"
    monitor_arguments: tuple[str, ...] = (PROCESS_NAME,)

    def __init__(self) -> None:
        """Names the child's interpreter; nothing is started yet."""
        self._interpreter = BIN / PROCESS_NAME
        self._ended = False

    def start(self, output: Path) -> None:
        """Starts the child, by a copy of the interpreter so that the process has its own name."""
        self._output = output
        shutil.copy(real_interpreter(), self._interpreter)
        self._child = self._started()
        name = psutil.Process(self._child.pid).name()
        if name != PROCESS_NAME:
            self.stop()
            raise DemoError(f"the leaking process is named {name!r}, not {PROCESS_NAME!r}")

    def look(self) -> None:
        """Starts the child again if it has ended. Raises DemoError if it did not end well."""
        status = self._child.poll()
        if status is None:
            return
        if not self._ended:
            # Not before the next look: its last lines are to be read first.
            self._ended = True
            return
        if status != 0:
            raise DemoError(f"the service ended with status {status}: no graceful end")
        say("loop", "it ended: starting it again")
        self._child = self._started()

    def stop(self) -> None:
        """Ends the child and removes the copy."""
        end(self._child)
        self._interpreter.unlink()

    def _started(self) -> subprocess.Popen[bytes]:
        self._ended = False
        with self._output.open("wb") as output:
            return subprocess.Popen(
                [self._interpreter, SERVICE],
                stdout=output,
                stderr=output,
                # Ctrl-C in the terminal is for the demo alone, which ends the others.
                start_new_session=True,
            )


def real_interpreter() -> Path:
    """Gives the file that the interpreter's processes execute."""
    # A framework build of macOS: its python3 is a stub that executes this one.
    in_framework = Path(sys.base_prefix, "Resources/Python.app/Contents/MacOS/Python")
    return in_framework if in_framework.exists() else Path(sys.executable).resolve()


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process by SIGTERM; by SIGKILL, said in one line, if that takes END_S."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        say("demo", f"PID {process.pid} didn't end by SIGTERM within {END_S:.0f} s: killing it")
        process.kill()
        process.wait()


def choose_service() -> Service:
    """Gives a unit where a service manager and its bus are there for this user, else a process."""
    if not Path("/run/systemd/system").is_dir():
        return Process()
    if os.geteuid() == 0:
        return Unit() if Path("/run/dbus/system_bus_socket").exists() else Process()
    users_bus = Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"), "bus")
    return Unit("--user") if users_bus.exists() else Process()


class Conversation:
    """What the service and the monitor say, printed as it comes, and how far the story is."""

    def __init__(self) -> None:
        """Starts with nobody speaking."""
        self._selector = selectors.DefaultSelector()
        self._begun: dict[int, bytes] = {}
        self._starts = 0
        self._ends = 0

    def add(self, who: str, descriptor: int) -> None:
        """Listens to one more; `who` is what its lines begin with."""
        os.set_blocking(descriptor, False)
        self._selector.register(descriptor, selectors.EVENT_READ, who)
        self._begun[descriptor] = b""

    def listen(self, timeout_s: float) -> None:
        """Prints what is said until nothing is for `timeout_s`, at most one piece of each."""
        for key, _ in self._selector.select(timeout_s):
            said = os.read(key.fd, 65536)
            if not said:
                self._selector.unregister(key.fd)
            *lines, self._begun[key.fd] = (self._begun[key.fd] + said).split(b"\n")
            for line in lines:
                self._heard(key.data, line.decode(errors="replace"))

    def _heard(self, who: str, line: str) -> None:
        say(who, line)
        if who == "leak":
            self._starts += line.startswith("started")
            self._ends += line.endswith("bye")
            if line.endswith("giving up"):
                raise DemoError(f"memory-monitor asked for nothing at {LIMIT_MIB} MiB")

    def restarts(self) -> int:
        """Counts the graceful ends that a fresh start followed."""
        return min(self._ends, self._starts - 1)


def run(service: Service, directory: Path) -> None:
    """Tells the story, to the end or until DEADLINE_S. Raises DemoError."""
    conversation = Conversation()
    pipe = directory / "leak"
    os.mkfifo(pipe)
    # For writing too: so it doesn't end when the service does.
    with pipe.open("r+b", buffering=0) as output:
        conversation.add("leak", output.fileno())
        service.start(pipe)
        try:
            monitor_until_restarted(service, conversation)
        finally:
            service.stop()


def monitor_until_restarted(service: Service, conversation: Conversation) -> None:
    """Runs the monitor until the service has been restarted RESTARTS times. Raises DemoError."""
    command = ["memory-monitor", "-m", str(LIMIT_MIB), "-i", "1", *service.monitor_arguments]
    say("demo", f"$ {shlex.join(command)}")
    try:
        monitor = subprocess.Popen(
            [BIN / command[0], *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise DemoError(f"memory-monitor can't be started: {error}") from error
    assert monitor.stdout is not None  # because of stdout=PIPE
    conversation.add("monitor", monitor.stdout.fileno())
    deadline = time.monotonic() + DEADLINE_S
    try:
        while conversation.restarts() < RESTARTS:
            if monitor.poll() is not None:
                conversation.listen(LOOK_S)
                raise DemoError(f"memory-monitor ended with status {monitor.returncode}")
            if time.monotonic() > deadline:
                seen = conversation.restarts()
                raise DemoError(f"{seen} of {RESTARTS} restarts within {DEADLINE_S:.0f} s")
            conversation.listen(LOOK_S)
            service.look()
    finally:
        end(monitor)
    if monitor.returncode != 0:
        raise DemoError(f"memory-monitor ended with status {monitor.returncode}")


def command_to_type() -> str:
    """Gives the monitor of this checkout as it can be typed here."""
    command = BIN / "memory-monitor"
    return str(command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command)


INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt(_signal_number: int, _frame: FrameType | None) -> None:
    """Ends the demo early; what stops the others then is interrupted no more."""
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    """Runs the demo; gives its exit status."""
    for number in INTERRUPTS:
        signal.signal(number, interrupt)
    service = choose_service()
    say("demo", f"a service that leaks 25 MiB a second, kept running by {service.kept_by}")
    begun = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as directory:
            run(service, Path(directory))
    except DemoError as error:
        say("demo", f"failed: {error}")
        return 1
    except KeyboardInterrupt:
        say("demo", "interrupted; service and monitor are stopped")
        return 130
    took_s = time.monotonic() - begun
    say("demo", f"{RESTARTS} times it was asked, ended by itself and was started afresh,")
    say("demo", f"within {took_s:.0f} s. Service and monitor are stopped again.")
    print((NEXT if sys.platform == "linux" else NEXT_WITHOUT_SYSTEMD).format(command=command_to_type()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
