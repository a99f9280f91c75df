"""What `--check` asks of a service manager (org.freedesktop.systemd1(5)); the running monitor never does.

Every function raises BusError.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from memmon_systemd.systemd.manager import Manager
from memmon_systemd.systemd.properties import LOADED, UNLIMITED, Properties, seconds
from memmon_systemd.systemd.restart_rules import RestartRules, rules_of
from memmon_systemd.systemd.unit import Unit

_ENDLESS: Final = float("inf")


@dataclass(frozen=True, slots=True)
class UnitProperties:
    """A unit's options and state. Sizes are in bytes, None: unlimited; times in seconds."""

    load_state: str = LOADED
    active_state: str = "active"
    sub_state: str = "running"
    needs_reload: bool = False
    """Its file has changed since systemd read it."""
    transient: bool = False
    """Made by systemd-run: it has no file that could be edited."""
    control_group: str | None = None
    """None where it isn't running."""
    started_s: float | None = None
    """When this invocation began, on the monotonic clock; None where there was none yet."""
    can_reload: bool = True
    memory_accounting: bool = True
    slice: str | None = None
    memory_max_bytes: int | None = None
    memory_high_bytes: int | None = None
    swap_max_bytes: int | None = None
    timeout_stop_s: float = _ENDLESS
    stop_signal: int | None = None
    """The signal that systemd stops it with to restart it; None where its type has none."""
    service: ServiceProperties | None = None
    """What only services have."""
    triggered_by: tuple[str, ...] = ()
    """The sockets, timers and paths that are active and start it when it is needed."""


@dataclass(frozen=True, slots=True)
class ServiceProperties:
    """What only a service has."""

    type: str = "simple"
    pid_file: str | None = None
    main_pid: int = 0
    """0: it has none now."""
    had_main: bool = False
    """Whether there is, or was, a main process since it was last started."""
    control_pid: int = 0
    """0: it has none now."""
    kill_mode: str = "control-group"
    oom_policy: str = "stop"
    restart: RestartRules = field(default_factory=RestartRules)
    restart_s: float = 0.1
    start_limit_interval_s: float = 10.0
    start_limit_burst: int = 5
    has_exec_stop: bool = False
    """Whether it is stopped by a command (ExecStop=) first."""
    stops_container: bool = False
    """Whether these commands only have podman stop a container."""


def read_unit(manager: Manager, unit: Unit) -> UnitProperties:
    """The properties of a unit of a type that has a cgroup."""
    properties = manager.properties(unit)
    load_state = os.fsdecode(properties[b"LoadState"])
    if load_state != LOADED:
        return UnitProperties(load_state=load_state, active_state="inactive", sub_state="dead")
    return UnitProperties(
        load_state=load_state,
        active_state=os.fsdecode(properties[b"ActiveState"]),
        sub_state=os.fsdecode(properties[b"SubState"]),
        needs_reload=bool(properties[b"NeedDaemonReload"]),
        transient=bool(properties[b"Transient"]),
        control_group=os.fsdecode(properties[b"ControlGroup"]) or None,
        started_s=_started_s(properties),
        can_reload=bool(properties[b"CanReload"]),
        memory_accounting=bool(properties[b"MemoryAccounting"]),
        slice=os.fsdecode(properties[b"Slice"]) or None,
        memory_max_bytes=_size_bytes(properties[b"MemoryMax"]),
        memory_high_bytes=_size_bytes(properties[b"MemoryHigh"]),
        swap_max_bytes=_size_bytes(properties[b"MemorySwapMax"]),
        timeout_stop_s=_time_s(properties.get(b"TimeoutStopUSec", UNLIMITED)),
        stop_signal=properties.get(b"RestartKillSignal"),
        service=_service(properties) if unit.is_service else None,
        triggered_by=manager.triggers(unit) if unit.is_service else (),
    )


def _service(properties: Properties) -> ServiceProperties:
    main_pid = int(properties[b"MainPID"])
    return ServiceProperties(
        type=os.fsdecode(properties[b"Type"]),
        pid_file=os.fsdecode(properties[b"PIDFile"]) or None,
        main_pid=main_pid,
        had_main=bool(main_pid or properties[b"ExecMainPID"]),
        control_pid=int(properties[b"ControlPID"]),
        kill_mode=os.fsdecode(properties[b"KillMode"]),
        oom_policy=os.fsdecode(properties[b"OOMPolicy"]),
        restart=rules_of(properties),
        restart_s=_time_s(properties[b"RestartUSec"]),
        start_limit_interval_s=_time_s(properties[b"StartLimitIntervalUSec"]),
        start_limit_burst=int(properties[b"StartLimitBurst"]),
        has_exec_stop=bool(properties[b"ExecStop"]),
        stops_container=_stops_container([command[1] for command in properties[b"ExecStop"]]),
    )


def _stops_container(commands: Sequence[Sequence[bytes]]) -> bool:
    """Whether each is `podman stop` or `podman rm`, as in what Quadlet and podman generate."""
    return bool(commands) and all(
        words[0].rpartition(b"/")[2] == b"podman" and words[1:2] in ([b"stop"], [b"rm"]) for words in commands
    )


def _started_s(properties: Properties) -> float | None:
    """When the main process began; of a unit without one, when it left "inactive".

    The latter is before RestartSec= where it was restarted.
    """
    main_began = int(properties.get(b"ExecMainStartTimestampMonotonic", 0))
    microseconds = main_began or int(properties[b"InactiveExitTimestampMonotonic"])
    return microseconds / 1e6 if microseconds else None


def _size_bytes(number: int) -> int | None:
    return None if number == UNLIMITED else number


def _time_s(microseconds: int) -> float:
    time_s = seconds(microseconds)
    return _ENDLESS if time_s is None else time_s


def matching_units(manager: Manager, pattern: str) -> list[str]:
    """The loaded units that a glob names."""
    return sorted(name for name, load_state in manager.list_units(pattern) if load_state == LOADED)
