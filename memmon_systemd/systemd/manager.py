"""What memory-monitor asks of a service manager (org.freedesktop.systemd1(5))."""

from __future__ import annotations

import errno
import gc
import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from memmon_systemd.settings import Action
from memmon_systemd.systemd.bus import CALL_DEADLINE_S, Bus
from memmon_systemd.systemd.command import Command, read_command
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.hook_units import HookUnits
from memmon_systemd.systemd.properties import LOADED, Properties, moment_s, seconds
from memmon_systemd.systemd.unit import DESTINATION, MANAGER, PATH, Unit, UnitState

if TYPE_CHECKING:
    from memmon_systemd.systemd.restart_rules import RestartRules

_NO_USER: Final = 2**32 - 1  # UID_INVALID: UID= of a service without User=.
POLKIT_HINT: Final = "run as root, or allow org.freedesktop.systemd1.manage-units by a polkit rule"
_DOWN: Final = [b"activating", b"deactivating", b"reloading", b"failed"]
"""The states of a unit that can't serve requests at the moment."""
# Any: a row has fields of five types, by the D-Bus signature (ssssssouso).
Row = tuple[Any, ...]


class Manager:
    """The service manager of the system, or the user's. Every method that asks it raises BusError."""

    def __init__(
        self,
        user: bool,
        environ: Mapping[str, str],
        call_deadline_s: int = CALL_DEADLINE_S,
        on_busy: Callable[[BusError, int], None] | None = None,
    ) -> None:
        """Connect to it; `on_busy` as for a `Bus`."""
        self._bus = Bus(user, environ, call_deadline_s, on_busy)
        self.hook_units = HookUnits(self._bus)
        self._own_user = os.getuid() if user else 0

    def hasten(self) -> None:
        """Wait for no answer longer than usual from now on."""
        self._bus.hasten()

    def close(self) -> None:
        """Close the connection; the next question makes another one."""
        self._bus.close()

    def unit(self, name: str) -> Unit:
        """A unit by its full name, without a call."""
        return Unit(name, self._bus.encode_path(PATH + b"/unit", name))

    def load(self, name: str) -> tuple[str, str]:
        """A unit's own name, of which `name` may be an alias, and its LoadState."""
        path: bytes = self._bus.call(MANAGER, b"LoadUnit", b"s", os.fsencode(name))
        properties = self.properties(Unit(name, path))
        return os.fsdecode(properties[b"Id"]), os.fsdecode(properties[b"LoadState"])

    def list_units(self, pattern: str) -> list[tuple[str, str]]:
        """The units in memory whose names match a glob, each with its LoadState."""
        rows = self._listed([], [pattern])
        return [(os.fsdecode(row[0]), os.fsdecode(row[2])) for row in rows]

    def unit_path(self) -> list[str]:
        """The directories in which it looks for the files of units."""
        return [os.fsdecode(directory) for directory in self._bus.property(MANAGER, b"UnitPath", b"as")]

    def unit_files(self, unit: Unit) -> tuple[str, ...]:
        """The files that systemd has read of a unit: its fragment, and its drop-ins in their order."""
        fragment = os.fsdecode(self._bus.property(unit.common, b"FragmentPath", b"s"))
        drop_ins = self._bus.property(unit.common, b"DropInPaths", b"as")
        paths = [fragment, *(os.fsdecode(path) for path in drop_ins)]
        return tuple(path for path in paths if path)

    def command(self, service: Unit) -> Command:
        """What a service runs."""
        return read_command(self._bus, service)

    def control_group(self) -> str:
        """The control group that the manager's units are in; "" for the system's."""
        return os.fsdecode(self._bus.property(MANAGER, b"ControlGroup", b"s"))

    def properties(self, unit: Unit) -> Properties:
        """All properties of a unit, of every interface, of one moment: some 400, too much when it runs."""
        return self._all(unit, b"")

    def state(self, unit: Unit) -> UnitState:
        """What decides about a request, of one moment.

        But for its main process all of it is in one answer. That is asked for before: where the invocation is
        the one that is known, it was so then, too. (One answer with both has some 400 properties, and takes
        512 KiB for a moment.)
        """
        main_pid, had_main = self._main_process(unit)
        properties = self._all(unit, DESTINATION + b".Unit")
        # What pystemd made of the reply is in cycles: left to the thresholds of gc, it piled up to 13,000
        # blocks, 1 MB (pystemd 0.11, 500 calls, 2026-11-27).
        gc.collect()
        return UnitState(
            bytes(properties[b"InvocationID"]),
            main_pid,
            had_main,
            os.fsdecode(properties[b"ActiveState"]),
            os.fsdecode(properties[b"SubState"]),
            os.fsdecode(properties.get(b"FreezerState", b"")),
            moment_s(properties[b"InactiveExitTimestampMonotonic"]),
            moment_s(properties[b"ActiveEnterTimestampMonotonic"]),
            moment_s(properties[b"ActiveExitTimestampMonotonic"]),
            moment_s(properties[b"InactiveEnterTimestampMonotonic"]),
            properties[b"Job"][0],
        )

    def timeout_start_s(self, unit: Unit) -> float | None:
        """How long a service may take to start; None where that is unlimited, or it is none."""
        bus = self._bus
        return seconds(int(bus.property(unit.typed, b"TimeoutStartUSec", b"t"))) if unit.is_service else None

    def result(self, unit: Unit) -> str | None:
        """Result of a service: what ended it, until it is started again; None for other units."""
        if not unit.is_service:
            return None
        return os.fsdecode(self._bus.property(unit.typed, b"Result", b"s"))

    def was_main_killed(self, service: Unit) -> bool:
        """Whether its last main process ended by SIGKILL (ExecMainCode=, ExecMainStatus=)."""
        killed = ((b"ExecMainCode", os.CLD_KILLED), (b"ExecMainStatus", signal.SIGKILL))
        return all(self._bus.property(service.typed, name, b"i") == value for name, value in killed)

    def is_oneshot(self, unit: Unit) -> bool:
        """Whether it is activating for all its life."""
        return unit.is_service and bool(self._bus.property(unit.typed, b"Type", b"s") == b"oneshot")

    def leaves_processes(self, unit: Unit) -> bool:
        """Whether a stop leaves all processes but the main one running (KillMode=, systemd.kill(5))."""
        return unit.is_service and self._bus.property(unit.typed, b"KillMode", b"s") in (b"process", b"none")

    def stop_signal(self, unit: Unit) -> int | None:
        """The signal that systemd stops the unit with to restart it: RestartKillSignal=, else KillSignal=.

        None for a unit that isn't stopped by a signal (systemd.kill(5)).
        """
        if not unit.name.endswith((".service", ".scope")):
            return None
        return int(self._bus.property(unit.typed, b"RestartKillSignal", b"i"))

    def down_or_on_the_way(self, glob: str) -> frozenset[str]:
        """The units that a glob names and that are starting, stopping, reloading or failed, in one answer."""
        rows = self._listed(_DOWN, [glob])
        return frozenset(os.fsdecode(row[0]) for row in rows)

    def identity(self, unit: Unit) -> UnitState:
        """Which invocation it is, and its main process: little, for it is asked of a thousand at start-up."""
        main_pid, had_main = self._main_process(unit)
        invocation_id = bytes(self._bus.property(unit.common, b"InvocationID", b"ay") or b"")
        return UnitState(invocation_id, main_pid, had_main)

    def main_pid(self, service: Unit) -> int:
        """The main process of a service; 0 where it has none."""
        return int(self._bus.property(service.typed, b"MainPID", b"u"))

    def service_user(self, service: Unit) -> int | None:
        """The user that a service runs as; None where that isn't known, as of one that doesn't run."""
        user = int(self._bus.property(service.typed, b"UID", b"u"))
        if user != _NO_USER:
            return user
        return None if self._bus.property(service.typed, b"User", b"s") else self._own_user

    def timeout_stop_s(self, unit: Unit) -> float | None:
        """How long the unit may take to stop; None where that is unlimited or its type has no such time."""
        if not unit.name.endswith((".service", ".scope")):
            return None
        return seconds(int(self._bus.property(unit.typed, b"TimeoutStopUSec", b"t")))

    def restart_rules(self, service: Unit) -> RestartRules | None:
        """Which ends of a service are followed by another start; None where it isn't loaded."""
        from memmon_systemd.systemd.restart_rules import rules_of

        properties = self.properties(service)
        return rules_of(properties) if os.fsdecode(properties[b"LoadState"]) == LOADED else None

    def have_stopped(self, patterns: Sequence[str], but_for: Collection[str]) -> bool:
        """Whether every unit of these names and globs is inactive or failed, without a job that may start it.

        In one answer, so that all of it is of the same moment: while a unit waits for an automatic restart
        it is "activating"; in the middle of `systemctl restart` it is "inactive", but has one job from before
        the stop until after the start. A unit that isn't listed isn't even loaded. `but_for` are left out.
        """
        rows = self._listed([], patterns)
        return all(
            active_state in (b"inactive", b"failed") and not job_id
            for name, _, _, active_state, _, _, _, job_id, *_ in rows
            if os.fsdecode(name) not in but_for
        )

    def kill(self, unit: Unit, whom: str, signal_number: int) -> None:
        """KillUnit: signal the unit's processes (`main`, `control`, `all`)."""
        name = os.fsencode(unit.name)
        self._bus.call(MANAGER, b"KillUnit", b"ssi", name, whom.encode(), signal_number)

    def restart(self, unit: Unit) -> None:
        """TryRestartUnit: queue a restart, which does nothing for a unit that isn't running."""
        self._bus.call(MANAGER, b"TryRestartUnit", b"ss", os.fsencode(unit.name), b"replace")

    def reload(self, unit: Unit) -> None:
        """ReloadUnit: queue a reload, which systemd refuses for a unit without ExecReload=."""
        self._bus.call(MANAGER, b"ReloadUnit", b"ss", os.fsencode(unit.name), b"replace")

    def ask_for_impossible_job(self, unit: Unit, action: Action) -> None:
        """Ask for a restart or reload in a mode that neither has, to learn whether it is permitted."""
        method = b"ReloadUnit" if action is Action.RELOAD else b"TryRestartUnit"
        self._bus.call(MANAGER, method, b"ss", os.fsencode(unit.name), b"isolate")

    def triggers(self, unit: Unit) -> tuple[str, ...]:
        """The sockets, timers and paths that start the unit when it is needed and are active themselves."""
        names = self._bus.property(unit.common, b"TriggeredBy", b"as")
        return tuple(name for name in map(os.fsdecode, names) if self._is_active(self.unit(name)))

    def _is_active(self, unit: Unit) -> bool:
        return bool(self._bus.property(unit.common, b"ActiveState", b"s") == b"active")

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
        try:
            # No valid name: a valid one would be a question to polkit first, for a user who isn't root.
            self.hook_units.start(self.unit("memory-monitor-rehearsal"))
        except BusError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise
        self.hook_units.state(self.unit("-.slice"))

    def _listed(self, states: Sequence[bytes], patterns: Sequence[str]) -> Sequence[Row]:
        """The units in memory of these names and globs, in one answer; in any state if none is given."""
        globs = list(map(os.fsencode, patterns))
        rows: Sequence[Row] = self._bus.call(MANAGER, b"ListUnitsByPatterns", b"asas", states, globs)
        return rows

    def _main_process(self, unit: Unit) -> tuple[int | None, bool]:
        """The main process, and whether there ever was one."""
        if not unit.is_service:
            return None, False
        main_pid = self.main_pid(unit)
        return main_pid, bool(main_pid or self._bus.property(unit.typed, b"ExecMainPID", b"u"))

    def _all(self, unit: Unit, interface: bytes) -> Properties:
        properties: Properties = self._bus.call(unit.all_properties, b"GetAll", b"s", interface)
        return properties
