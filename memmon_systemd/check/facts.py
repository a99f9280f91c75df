"""What `--check` has found out, as frozen values: what the rules judge and the report shows.

Sizes are in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from memmon_systemd.check.unit_properties import ServiceProperties, UnitProperties
from memmon_systemd.settings import KillWhom, Metric, TargetSettings
from memmon_systemd.systemd.restart_rules import Disposition
from memmon_systemd.units.recipient import recipient

SWAP: Final = "swap"
"""Among the readings: what is in swap, which no metric counts."""


class CgroupKind(StrEnum):
    """How the machine's cgroups count memory."""

    V2 = "v2"
    WITHOUT_MEMORY = "v2 without the memory controller"
    V1 = "v1"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Machine:
    """What is the same for every target."""

    cgroups: CgroupKind = CgroupKind.V2
    physical_bytes: int = 0
    swap_bytes: int = 0
    hidepid: str = ""
    """The option of /proc that hides other users' processes from this user, as mounted; "": they show."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The tightest of a kind of limits from a target's cgroup up to the root, and whose it is."""

    size_bytes: int
    unit: str


@dataclass(frozen=True, slots=True)
class OtherMonitor:
    """Another memory-monitor that looks after the same target."""

    pid: int
    unit: str
    """The service that it runs as; "" where it is none."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Who could signal the target; None where that can't be told without doing it."""

    by_systemd: bool | None = None
    directly: bool | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One unit, or one process."""

    name: str
    """The unit; or "NAME[PID]"."""
    limit_bytes: int
    metric: Metric
    """What is compared with the limit."""
    unit: str = ""
    """The unit itself; or the one that a process belongs to."""
    properties: UnitProperties | None = None
    """Those of the unit; None where systemd wasn't asked."""
    is_process: bool = False
    is_main: bool = False
    """Whether the process is the main one of its unit."""
    pids: tuple[int, ...] = ()
    """The processes of the unit; or the one."""
    main_name: str = ""
    """The name of the main process, or of the one."""
    disposition: Disposition = Disposition.UNKNOWN
    """What that process does with the signal."""
    readings: Mapping[str, int] = field(default_factory=dict)
    """The metrics that can be read now, by the words of `--metric`, and `SWAP`."""
    maximum: Bound | None = None
    """The tightest memory.max that is less than the physical memory."""
    high: Bound | None = None
    swap_max_bytes: int | None = None
    """The tightest memory.swap.max; None: as much as there is."""
    rights: Rights = Rights()
    monitors: tuple[OtherMonitor, ...] = ()
    trouble: str = ""
    """Why the memory can't be read."""

    @property
    def service(self) -> ServiceProperties | None:
        """What decides about the next start: of a service, and of a process that is the main one of it."""
        if self.properties is None or (self.is_process and not self.is_main):
            return None
        return self.properties.service

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
    target: Target

    @property
    def usage_bytes(self) -> int | None:
        """What would be compared with the limit now; None where it can't be read."""
        readings = self.target.readings
        usage_bytes = readings.get(self.target.metric.value)
        if usage_bytes is None or not self.settings.swap:
            return usage_bytes
        return usage_bytes + readings.get(SWAP, 0)

    @property
    def whom(self) -> KillWhom | None:
        """Who in the unit gets the signal; None: nobody."""
        service = self.target.service
        if service is None:
            return recipient(False, None, False, self.settings.kill_whom)
        return recipient(True, service.main_pid, service.had_main, self.settings.kill_whom)


class Level(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """It won't do what it is for, or does harm."""
    WARNING = "warning"
    """It may."""
    NOTE = "note"
    """Good to know; not counted in the exit status."""


class Id(StrEnum):
    """What can be found; docs/check.md explains each. They stay the same from version to version."""

    ABOVE_PHYSICAL = "above-physical"
    ALREADY_MONITORED = "already-monitored"
    BY_PIDFD_ONLY = "by-pidfd-only"
    CGROUP_V1 = "cgroup-v1"
    HIDEPID = "hidepid"
    KILL_MODE = "kill-mode"
    MAIN_UNKNOWN = "main-unknown"
    MEMORY_HIGH_BELOW = "memory-high-below"
    MEMORY_MAX_BELOW = "memory-max-below"
    MEMORY_MAX_CLOSE = "memory-max-close"
    NEEDS_RELOAD = "needs-reload"
    NO_DIRECT_SIGNAL = "no-direct-signal"
    NO_MEMORY_CONTROLLER = "no-memory-controller"
    NO_RESTART = "no-restart"
    NOBODY_TO_SIGNAL = "nobody-to-signal"
    NOT_GRACEFUL = "not-graceful"
    NOT_LOADED = "not-loaded"
    NOT_PERMITTED = "not-permitted"
    NOT_RUNNING = "not-running"
    OOM_POLICY = "oom-policy"
    OVER_NOW = "over-now"
    PAGE_CACHE = "page-cache"
    PART_OF_UNIT = "part-of-unit"
    REMAINS_AFTER_EXIT = "remains-after-exit"
    RESTART_PREVENTED = "restart-prevented"
    RIGHTS_UNKNOWN = "rights-unknown"
    SIGNAL_IGNORED = "signal-ignored"
    START_LIMIT = "start-limit"
    STAYS_DOWN = "stays-down"
    SWAP_HIDES = "swap-hides"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Remedy:
    """What puts a finding right, exactly; what doesn't apply is empty."""

    command: str = ""
    lines: tuple[str, ...] = ()
    """What goes into the file that the command opens."""
    option: str = ""
    """An option of memory-monitor instead of the one given, or beside them."""
    advice: str = ""
    """What can't be written as one of these."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or good to know."""

    id: Id
    level: Level
    consequence: str
    remedy: Remedy = Remedy()


@dataclass(frozen=True, slots=True)
class Checked:
    """A target, and what was found of it."""

    case: Case
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """A NAME that stands for nothing."""

    name: str
    why: str
    nearest: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A NAME of the command line, what it stands for and why, and what was found."""

    name: str
    kind: str
    why: str
    targets: tuple[Checked, ...] = ()
    missing: Missing | None = None
