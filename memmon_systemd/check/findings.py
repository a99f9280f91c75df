"""What `--check` says of what it has found out, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from memmon_systemd.check.facts import Case


class Level(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Monitoring won't work, or does harm."""
    WARNING = "warning"
    """That is possible."""
    NOTE = "note"
    """Good to know; not counted in the exit status."""


class Id(StrEnum):
    """What can be found; docs/check.md explains each. They stay the same from version to version."""

    ABOVE_PHYSICAL = "above-physical"
    ALREADY_MONITORED = "already-monitored"
    CGROUP_V1 = "cgroup-v1"
    EXEC_STOP = "exec-stop"
    FOR_TOO_LONG = "for-too-long"
    FROZEN = "frozen"
    HARD_ABOVE_MAX = "hard-above-max"
    HARD_NOT_ABOVE = "hard-not-above"
    HOOK_UNFIT = "hook-unfit"
    HIDEPID = "hidepid"
    KILL_MODE = "kill-mode"
    MAIN_UNKNOWN = "main-unknown"
    MEMORY_HIGH_BELOW = "memory-high-below"
    MEMORY_MAX_BELOW = "memory-max-below"
    MEMORY_MAX_CLOSE = "memory-max-close"
    MEMORY_MAX_NOT_IN_FORCE = "memory-max-not-in-force"
    MIN_AGE_LONG = "min-age-long"
    MONITORED = "monitored"
    MONITORS_UNKNOWN = "monitors-unknown"
    NEEDS_RELOAD = "needs-reload"
    NO_BOUND = "no-bound"
    NO_DIRECT_SIGNAL = "no-direct-signal"
    NO_MEMORY_CONTROLLER = "no-memory-controller"
    NO_MEMORY_MAX = "no-memory-max"
    NO_RELOAD = "no-reload"
    NO_RESTART = "no-restart"
    NOBODY_TO_SIGNAL = "nobody-to-signal"
    NOT_GRACEFUL = "not-graceful"
    NOT_LOADED = "not-loaded"
    NOT_MONITORED = "not-monitored"
    NOT_PERMITTED = "not-permitted"
    NOT_RUNNING = "not-running"
    NOT_STOP_SIGNAL = "not-stop-signal"
    OOM_POLICY = "oom-policy"
    OVER_NOW = "over-now"
    PAGE_CACHE = "page-cache"
    PART_OF_UNIT = "part-of-unit"
    PAYLOAD_ELSEWHERE = "payload-elsewhere"
    REMAINS_AFTER_EXIT = "remains-after-exit"
    RESTART_PREVENTED = "restart-prevented"
    RIGHTS_UNKNOWN = "rights-unknown"
    SETTINGS_NOT_IN_FORCE = "settings-not-in-force"
    SETTING_IGNORED = "setting-ignored"
    SETTING_WRONG = "setting-wrong"
    SHARED_MEMORY = "shared-memory"
    SIGNAL_DROPPED = "signal-dropped"
    SIGNAL_IGNORED = "signal-ignored"
    SIGNAL_NOT_FORWARDED = "signal-not-forwarded"
    START_LIMIT = "start-limit"
    STAYS_DOWN = "stays-down"
    SWAP_HIDES = "swap-hides"
    THEN_RESTART_EARLY = "then-restart-early"
    TRIGGERED = "triggered"
    TWO_CONFIGURATIONS = "two-configurations"
    UNREADABLE = "unreadable"
    WRAPPER = "wrapper"


@dataclass(frozen=True, slots=True)
class Remedy:
    """What fixes a finding, exactly."""

    command: str | None = None
    lines: tuple[str, ...] = ()
    """What goes into the file that the command opens."""
    option: str | None = None
    """An option of memory-monitor instead of the one given, or beside them."""
    advice: str | None = None
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
    """A unit or process, and what was found of it."""

    case: Case
    findings: tuple[Finding, ...]


class Kind(StrEnum):
    """What a NAME was taken as."""

    UNIT = "unit"
    GLOB = "glob"
    PROCESS = "process"
    OWNER = "owner"


@dataclass(frozen=True, slots=True)
class Missing:
    """A NAME that matches nothing."""

    name: str
    why: str
    nearest: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A NAME of the command line, what it matches and why, and what was found."""

    name: str
    kind: Kind
    why: str
    checked: tuple[Checked, ...] = ()
    missing: Missing | None = None
