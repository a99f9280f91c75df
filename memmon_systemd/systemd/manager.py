"""What memory-monitor asks of a service manager (org.freedesktop.systemd1(5))."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from memmon_systemd.systemd.bus import CALL_DEADLINE_S, Bus, BusError

if TYPE_CHECKING:
    from memmon_systemd.systemd.restart_rules import RestartRules

_NO_TIME: Final = 2**64 - 1
"""How systemd writes "infinity" and "unset" as a number."""
_DESTINATION: Final = b"org.freedesktop.systemd1"
_PATH: Final = b"/org/freedesktop/systemd1"
MANAGER: Final = (_DESTINATION, _PATH, b"org.freedesktop.systemd1.Manager")
"""Where the manager itself is on the bus: destination, path, interface."""
LOADED: Final = "loaded"
"""The LoadState of a unit that can be started."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as the bus knows it."""

    name: str
    path: bytes
    """Of its object; where its properties are is made of it each time, which is 300 bytes less to keep."""

    @property
    def common(self) -> tuple[bytes, bytes, bytes]:
        """Where its properties of every type of unit are."""
        return _DESTINATION, self.path, _DESTINATION + b".Unit"

    @property
    def typed(self) -> tuple[bytes, bytes, bytes]:
        """Where those of its type are."""
        kind = self.name.rpartition(".")[2].capitalize()
        return _DESTINATION, self.path, _DESTINATION + b"." + kind.encode()

    @property
    def is_service(self) -> bool:
        """Only services have a main and a control process."""
        return self.name.endswith(".service")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of a unit, from a start to a stop."""

    identity: bytes = b""
    """InvocationID, new at each start; empty before the first, or where systemd couldn't be asked."""
    main_pid: int = 0
    """The main process of a service; 0 where there is none."""
    timeout_stop_s: float | None = None
    """How long the unit may take to stop; None where that is unlimited or its type has no such time."""


class Manager:
    """The service manager of the system, or the user's. Every method that asks it raises BusError."""

    def __init__(
        self, user: bool, environ: Mapping[str, str], call_deadline_s: int = CALL_DEADLINE_S
    ) -> None:
        """Connect to it."""
        self._bus = Bus(user, environ, call_deadline_s)

    @property
    def bus(self) -> Bus:
        """The connection, for what only `--check` asks (`unitproperties`)."""
        return self._bus

    def unit(self, name: str) -> Unit:
        """A unit by its full name; asks nobody."""
        return Unit(name, self._bus.encode_path(_PATH + b"/unit", name))

    def load(self, name: str) -> tuple[str, str]:
        """A unit's own name, of which `name` may be an alias, and its LoadState."""
        path: bytes = self._bus.call(MANAGER, b"LoadUnit", b"s", os.fsencode(name))
        where = (_DESTINATION, path, _DESTINATION + b".Unit")
        own_name = os.fsdecode(self._bus.property(where, b"Id", b"s"))
        return own_name, os.fsdecode(self._bus.property(where, b"LoadState", b"s"))

    def control_group(self) -> str:
        """The control group that the manager's units are in; "" for the system's."""
        return os.fsdecode(self._bus.property(MANAGER, b"ControlGroup", b"s"))

    def invocation(self, unit: Unit) -> Invocation:
        """What the unit runs as now."""
        identity = bytes(self._bus.property(unit.common, b"InvocationID", b"ay") or b"")
        main_pid = self._bus.property(unit.typed, b"MainPID", b"u") if unit.is_service else 0
        return Invocation(identity, int(main_pid), self._timeout_stop_s(unit))

    def restart_rules(self, service: Unit) -> RestartRules:
        """Which ends of a service are followed by another start; asked at start-up and by `--check` only."""
        from memmon_systemd.systemd.restart_rules import ExitSet, RestartRules

        def exit_set(name: bytes) -> ExitSet:
            return ExitSet(*self._bus.property(service.typed, name, b"(aiai)"))

        return RestartRules(
            os.fsdecode(self._bus.property(service.typed, b"Restart", b"s")),
            exit_set(b"SuccessExitStatus"),
            exit_set(b"RestartPreventExitStatus"),
            exit_set(b"RestartForceExitStatus"),
            bool(self._bus.property(service.typed, b"RemainAfterExit", b"b")),
        )

    def has_stopped(self, unit: Unit) -> bool:
        """Whether the unit is inactive or failed, and no job is about to start it.

        While it waits for an automatic restart it is "activating"; in the middle of `systemctl restart`
        it is "inactive" for a moment, with a job.
        """
        if self._bus.property(unit.common, b"ActiveState", b"s") not in (b"inactive", b"failed"):
            return False
        return not _first_number(self._bus.property(unit.common, b"Job", b"(uo)"))

    def kill(self, unit: Unit, whom: str, signal_number: int) -> None:
        """KillUnit: signal the unit's processes (`main`, `control`, `all`)."""
        name = os.fsencode(unit.name)
        self._bus.call(MANAGER, b"KillUnit", b"ssi", name, whom.encode(), signal_number)

    def restart(self, unit: Unit) -> None:
        """TryRestartUnit: queue a restart, which does nothing for a unit that isn't running."""
        self._bus.call(MANAGER, b"TryRestartUnit", b"ss", os.fsencode(unit.name), b"replace")

    def rehearse(self) -> None:
        """Walk the way to the signal, and the way of a failure, with calls that change nothing.

        KillUnit of a unit that isn't there, for it refuses signal 0.
        """
        self._bus.rehearse()
        self._bus.call(MANAGER, b"GetUnit", b"s", b"-.slice")
        try:
            self.kill(self.unit("memory-monitor-rehearsal.scope"), "main", signal.SIGURG)
        except BusError as error:
            if error.errno != errno.ENOENT:
                raise

    def close(self) -> None:
        """Close the connection."""
        self._bus.close()

    def _timeout_stop_s(self, unit: Unit) -> float | None:
        if not unit.name.endswith((".service", ".scope")):
            return None
        microseconds = int(self._bus.property(unit.typed, b"TimeoutStopUSec", b"t"))
        return None if microseconds == _NO_TIME else microseconds / 1e6


def _first_number(value: Any) -> int:  # Any: pystemd gives a struct as a tuple, in a list or bare.
    while isinstance(value, (list, tuple)):
        value = value[0]
    return int(value)
