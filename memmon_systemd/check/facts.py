"""What `--check` has found out, as frozen values: what the rules judge and the report shows.

Sizes are in bytes.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from memmon_systemd.check.configured import Configured
from memmon_systemd.check.shape import NO_SHAPE, Shape
from memmon_systemd.check.unit_properties import ServiceProperties, UnitProperties
from memmon_systemd.settings import UNBOUNDED, UNIT_BUDGET, Action, KillWhom, Metric, Rate, TargetSettings
from memmon_systemd.systemd.restart_rules import Disposition
from memmon_systemd.units.hook_problems import HookProblem
from memmon_systemd.units.recipient import recipient

SWAP: Final = "swap"
"""Among the readings: what is in swap, which no metric counts."""
CONMON: Final = "conmon"
"""Podman's parent of a container, and the main process of a service that runs one: conmon(8)."""
PODMAN: Final = "podman"
"""The client, and the main process where it waits for the container (podman run without -d)."""
CONMON_FORWARDS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""What it sends on to the first process of its container: tried with conmon 2.1.6."""


class CgroupKind(StrEnum):
    """How the machine's cgroups count memory."""

    V2 = "v2"
    WITHOUT_MEMORY = "v2 without the memory controller"
    V1 = "v1"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Machine:
    """What is the same for every unit and process."""

    cgroups: CgroupKind = CgroupKind.V2
    physical_bytes: int = 0
    swap_bytes: int = 0
    hidepid: str | None = None
    """The mount option of /proc that hides other users' processes from this user; None: they show."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The tightest of a kind of limits from a cgroup up to the root, and whose it is."""

    size_bytes: int
    unit: str


@dataclass(frozen=True, slots=True)
class OtherMonitor:
    """Another memory-monitor that monitors the same."""

    pid: int
    unit: str | None
    """The service whose main process it is."""
    settings: TargetSettings | None = None
    """What it was told."""
    section_files: tuple[str, ...] = ()
    """The files of the unit with a section that tells it so."""


@dataclass(frozen=True, slots=True)
class OtherMonitors:
    """What is known of other memory-monitors."""

    known: tuple[OtherMonitor, ...] = ()
    unread: tuple[str, ...] = ()
    """Processes that may be one, but don't let their command lines be read: each as "NAME[PID]"."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Who could signal it; None where that can't be told without doing it."""

    by_systemd: bool | None = None
    directly: bool | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    """Where the processes of a container are that a unit only seems to run."""

    helper: str
    """What the unit has in place of them: "conmon", or a client: "podman", "docker"."""
    unit: str | None
    """The unit that they are in; None where that can't be told."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked: one unit, or one process."""

    name: str
    """The unit; or "NAME[PID]"."""
    threshold_bytes: int
    """Of the two, where the hard one isn't above the other, the lower."""
    metric: Metric
    """What is compared with the threshold."""
    unit: str | None = None
    """The unit itself; or the one that a process belongs to."""
    properties: UnitProperties | None = None
    """Those of the unit; None where systemd wasn't asked."""
    is_process: bool = False
    is_main: bool = False
    """Whether the process is the main one of its unit."""
    pids: tuple[int, ...] = ()
    """The processes of the unit; or the one."""
    main_name: str | None = None
    """The name of the main process, or of the one."""
    disposition: Disposition = Disposition.UNKNOWN
    """What that process does with the signal."""
    obeys: tuple[int, ...] = ()
    """Of the signals that end a program, those that it doesn't ignore; none where that isn't known."""
    age_s: float | None = None
    """How long this invocation of the unit has run; None where it isn't running."""
    hard_bytes: int | None = None
    """The hard threshold; None where there is none."""
    readings: Mapping[str, int] = field(default_factory=dict)
    """The metrics that can be read now, by the words of `--metric`, and `SWAP`."""
    maximum: Bound | None = None
    """The tightest memory.max that is less than the physical memory."""
    high: Bound | None = None
    swap_max_bytes: int | None = None
    """The tightest memory.swap.max; None: as much as there is."""
    rights: Rights = Rights()
    monitors: OtherMonitors = OtherMonitors()
    trouble: str | None = None
    """Why the memory can't be read."""
    shape: Shape = NO_SHAPE
    payload: Payload | None = None
    """The container that it only seems to run; None: there is none."""

    hook_problems: tuple[HookProblem, ...] = ()

    @property
    def service(self) -> ServiceProperties | None:
        """What decides about the next start: of a service, and of a process that is the main one of it."""
        if self.properties is None or (self.is_process and not self.is_main):
            return None
        return self.properties.service

    @property
    def triggers(self) -> tuple[str, ...]:
        """The active sockets, timers and paths that start its service when it is needed."""
        return () if self.service is None or self.properties is None else self.properties.triggered_by

    @property
    def is_of_a_user(self) -> bool:
        """Whether it is a process below a user's service manager, whose units the system's doesn't know."""
        return self.is_process and not self.is_main and is_user_manager(self.unit)

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return bool(self.pids)


@dataclass(frozen=True, slots=True)
class Case:
    """What one rule is asked about."""

    settings: TargetSettings
    user: bool
    """Whether it is a unit of a user's service manager."""
    machine: Machine
    subject: Subject
    configured: Configured | None = None
    """Where the settings are from; None: from the command line."""

    @property
    def has_settings(self) -> bool:
        """Whether `settings` are what a monitor would use; not where a section makes none."""
        return self.configured is None or self.configured.is_valid

    @property
    def usage_bytes(self) -> int | None:
        """What would be compared with the threshold now; None where it can't be read."""
        readings = self.subject.readings
        usage_bytes = readings.get(self.subject.metric.value)
        if usage_bytes is None or not self.settings.swap:
            return usage_bytes
        return usage_bytes + readings.get(SWAP, 0)

    @property
    def whom(self) -> KillWhom | None:
        """Which of the unit's processes would be signalled; None: none of them."""
        service = self.subject.service
        if service is None:
            return recipient(False, None, False, self.settings.kill_whom)
        # Of a unit that doesn't run, what it was last time says nothing of the next.
        main_pid = service.main_pid if self.subject.is_running else None
        return recipient(True, main_pid, service.had_main, self.settings.kill_whom)

    @property
    def budget(self) -> Rate:
        """How often it is asked at most."""
        return self.settings.budget or (UNBOUNDED if self.subject.is_process else UNIT_BUDGET)

    @property
    def sends_signal(self) -> bool:
        """Whether it is asked by a signal, and not by a job of systemd."""
        return self.settings.action is Action.SIGNAL

    @property
    def signal_number(self) -> int:
        """The signal: that of `-s`, else the one that systemd would restart the unit with."""
        properties = self.subject.properties
        own = None if properties is None or self.subject.is_process else properties.stop_signal
        return self.settings.signal_number or own or signal.SIGTERM

    @property
    def reaches_nobody(self) -> bool:
        """Whether a signal would be sent to no process of a unit that runs."""
        is_unit = not self.subject.is_process and self.subject.is_running
        return is_unit and self.whom is None and self.sends_signal


def is_user_manager(unit: str | None) -> bool:
    """Whether the system's service manager runs a user's in this unit (user@.service(5))."""
    return unit is not None and unit.startswith("user@") and unit.endswith(".service")


def is_container(unit: str) -> bool:
    """Whether Docker or podman has made this unit for a container, by its name."""
    return unit.startswith(("docker-", "libpod-")) and unit.endswith(".scope")
