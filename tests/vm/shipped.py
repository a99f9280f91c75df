"""memory-monitor@.service as it is shipped, and the services that it is shipped for."""

import re
from pathlib import Path
from typing import Final, Self

from kit import DEADLINE_S, UNITS, Leaky, eventually, journal, properties_of, property_of, run, write_unit

SHIPPED: Final = Path(__file__).parents[2] / "units"
CONFIGURATION: Final = Path("/etc/memory-monitor")
USER_UNITS: Final = Path("/run/systemd/user")
IN_TIME_S: Final = 1.5
"""What is promised on real hardware where systemd doesn't answer: a look, and the deadline of D-Bus."""
TIMES_SLOWER: Final = 4
"""The emulated machine, on a busy host: ten times, but for the deadline, which is most of that time."""
RESTARTS: Final = "Restart=always\nRestartSec=100ms\n"


def be_strict() -> None:
    """From now on a system call that the shipped units forbid kills the monitor: EPERM may go unnoticed."""
    for units in (UNITS, USER_UNITS):
        for unit in ("memory-monitor@.service", "memory-monitor.service"):
            drop_in = units / f"{unit}.d" / "tests.conf"
            drop_in.parent.mkdir(parents=True, exist_ok=True)
            drop_in.write_text("[Service]\nSystemCallErrorNumber=kill\n")
    run("systemctl", "daemon-reload")


_written: list[Path] = []


def leave_no_configuration() -> None:
    """Removes the files that instances were configured by."""
    while _written:
        _written.pop().unlink(missing_ok=True)


class Monitored(Leaky):
    """leaky.py as a unit with a file, to be started by systemctl."""

    def __init__(
        self, name: str, *orders: str, service: str = f"MemoryMax=40M\n{RESTARTS}", units: Path = UNITS
    ) -> None:
        """NAME.service in the directory `units`; `service` is what else is in its [Service]."""
        super().__init__(name)
        self.unit = f"{name}.service"
        self.file = units / self.unit
        self.define(*orders, service=service)

    def define(self, *orders: str, service: str) -> None:
        """Writes its file; systemd reads it again at a daemon-reload."""
        limit = "[Unit]\nStartLimitIntervalSec=0\n"
        self.file.write_text(f"{limit}[Service]\nExecStart={self.exec_line(*orders)}\n{service}")

    @property
    def pid(self) -> int:
        """The main process."""
        return int(property_of(self.unit, "MainPID"))

    @property
    def cgroup(self) -> Path:
        """The directory of its cgroup, in the slice of the system."""
        return Path("/sys/fs/cgroup/system.slice", self.unit)


class Shipped:
    """An instance of memory-monitor@.service, to be started by systemctl."""

    def __init__(self, name: str, configuration: str = "", drop_in: str = "") -> None:
        """memory-monitor@NAME.service with this /etc/memory-monitor/NAME.conf, and this drop-in."""
        self.unit = f"memory-monitor@{name}.service"
        if configuration:
            CONFIGURATION.mkdir(exist_ok=True)
            file = CONFIGURATION / f"{name}.conf"
            file.write_text(configuration)
            _written.append(file)
        if drop_in:
            write_unit(f"{self.unit}.d/tests-own.conf", drop_in)

    @classmethod
    def of_many(cls, name: str, units: str, configuration: str = "") -> Self:
        """One that monitors `units`, by a drop-in as docs/fleet.md has it."""
        words = "-m ${MAX_MEMORY} -i ${INTERVAL} -s ${SIGNAL} $OPTIONS"
        start = f"ExecStart=\nExecStart=/usr/bin/memory-monitor {words} {units}\n"
        return cls(name, configuration, f"[Service]\n{start}")

    @property
    def pid(self) -> int:
        """Of the monitor."""
        return int(property_of(self.unit, "MainPID"))

    @property
    def process(self) -> dict[str, str]:
        """Its PID, and how often systemd has started it again."""
        return properties_of(self.unit, "MainPID", "NRestarts")

    @property
    def status(self) -> str:
        """The sentence of STATUS=."""
        return property_of(self.unit, "StatusText")

    @property
    def entries(self) -> list[dict[str, str]]:
        """What it logged, as entries of the journal."""
        return journal(f"_SYSTEMD_UNIT={self.unit}", "SYSLOG_IDENTIFIER=memory-monitor")

    @property
    def lines(self) -> list[str]:
        """What it logged."""
        return [str(entry["MESSAGE"]) for entry in self.entries]

    def lines_with(self, pattern: str) -> list[str]:
        """The lines in which the regular expression is found."""
        return [line for line in self.lines if re.search(pattern, line)]

    def wait_for(self, pattern: str, count: int = 1, deadline_s: float = DEADLINE_S) -> str:
        """Waits until so many of its lines match; the last of them."""

        def found() -> list[str]:
            return self.lines_with(pattern)[count - 1 :]

        what = f"{count} x {pattern!r} of {self.unit}"
        return eventually(found, what, deadline_s, lambda: "\n".join(self.lines))[-1]

    def wait_until_ended(self) -> None:
        """Waits for its end, which has to be of its own will."""

        def has_ended() -> bool:
            return property_of(self.unit, "ActiveState") in ("inactive", "failed")

        eventually(has_ended, f"{self.unit} ends", detail=self._shown)
        ended = properties_of(self.unit, "Result", "ExecMainStatus")
        assert ended == {"Result": "success", "ExecMainStatus": "0"}, self._shown()

    def _shown(self) -> str:
        return "\n".join((self.status, *self.lines))


class MachineWide(Shipped):
    """memory-monitor.service, ended with its `with`."""

    def __init__(self) -> None:
        """Starts it; its lines of before don't count."""
        super().__init__("none")
        self.unit = "memory-monitor.service"
        self._begun = len(super().entries)
        run("systemctl", "start", self.unit)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stops it."""
        run("systemctl", "stop", self.unit)

    @property
    def entries(self) -> list[dict[str, str]]:
        """What this one logged."""
        return super().entries[self._begun :]


def start(*what: Monitored | Shipped) -> None:
    """Starts all of these at the same time, and waits until they run."""
    run("systemctl", "start", *(one.unit for one in what))


def stop(*what: Monitored | Shipped) -> None:
    """Stops all of these at the same time; the monitors first, which would only ask."""
    run("systemctl", "stop", *(one.unit for one in what if isinstance(one, Shipped)))
    run("systemctl", "stop", *(one.unit for one in what if isinstance(one, Monitored)))


def assert_in_time(why: str, service: Leaky, order: str, name: str) -> None:
    """The last signal of this name came soon after the order that was the last; prints how soon."""
    took_s = service.times_s(name)[-1] - service.times_s(order)[-1]
    print(f"{why}: {name} {took_s:.2f} s after {order!r}")
    assert 0 <= took_s < IN_TIME_S * TIMES_SLOWER


def exposure_of(unit: str) -> float:
    """The overall exposure level by systemd-analyze security, from 0 to 10; what adds to it is printed."""
    report = run("systemd-analyze", "security", "--no-pager", unit)
    print("\n".join(line for line in report.splitlines() if line.startswith(("✗", "→"))))
    (exposure,) = re.findall(r"Overall exposure level for .*: (\d+\.\d)", report)
    return float(exposure)


def forbidden_calls() -> list[str]:
    """The kernel's messages of system calls that a filter refused (audit: type 1326, SECCOMP)."""
    said = journal("_TRANSPORT=kernel", "+", "_TRANSPORT=audit")
    return [str(entry["MESSAGE"]) for entry in said if re.search("type=1326|SECCOMP", str(entry["MESSAGE"]))]
