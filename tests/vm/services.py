"""Services of the tests: leaky.py, in whichever unit."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from guest import CGROUPS, DEADLINE_S, WORK, eventually, property_of, run

LEAKY: Final = ("/usr/bin/python3", "-IS", str(Path(__file__).with_name("leaky.py")))


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
