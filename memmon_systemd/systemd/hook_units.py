"""What memory-monitor asks of a service manager to have a unit started, and to see how that ended."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass

from memmon_systemd.systemd.bus import Bus
from memmon_systemd.systemd.unit import DESTINATION, MANAGER, Unit


@dataclass(frozen=True, slots=True)
class HookState:
    """How far a unit is that was started as a hook."""

    active_state: str
    sub_state: str
    job_id: int
    """Its start, while that is queued or runs; 0: it is done."""
    is_condition_met: bool
    """Whether its own ConditionXYZ= held: else systemd has skipped the start."""
    is_known: bool = True
    """Whether it was started since it was loaded."""

    @property
    def is_running(self) -> bool:
        """Whether its start isn't done yet."""
        return self.job_id != 0 or self.active_state == "activating"

    @property
    def problem(self) -> str | None:
        """Why it hasn't succeeded, once its start is done; None: it has."""
        if self.active_state == "failed":
            return "it failed"
        if not self.is_known:
            return "systemd has forgotten how it ended"
        if not self.is_condition_met:
            return "systemd skipped it, for a Condition of its own is not met"
        return None


class HookUnits:
    """The units of one manager that are started as hooks. Every method raises BusError."""

    __slots__ = ("_bus",)

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    @property
    def losses(self) -> int:
        """Another number than before: what was kept was kept by a connection that is gone."""
        return self._bus.losses

    def keep(self, unit: Unit) -> None:
        """Ref: a unit that has ended is unloaded at once, and with it goes how it ended.

        By its path, which loads it; RefUnit doesn't. `let_go` undoes it, as does the end of the connection.
        """
        self._bus.call(unit.common, b"Ref", b"")

    def start(self, unit: Unit) -> None:
        """StartUnit: queue a start, which one that is queued or runs already is merged with."""
        self._bus.call(MANAGER, b"StartUnit", b"ss", os.fsencode(unit.name), b"replace")

    def state(self, unit: Unit) -> HookState:
        """How far a unit is that was started, in one answer."""
        properties = self._bus.call(unit.all_properties, b"GetAll", b"s", DESTINATION + b".Unit")
        gc.collect()  # As in Manager.state.
        is_known = bool(properties[b"ConditionTimestampMonotonic"])
        return HookState(
            os.fsdecode(properties[b"ActiveState"]),
            os.fsdecode(properties[b"SubState"]),
            properties[b"Job"][0],
            is_condition_met=bool(properties[b"ConditionResult"]),
            is_known=is_known,
        )

    def let_go(self, unit: Unit) -> None:
        """Unref: it is known how it ended."""
        self._bus.call(unit.common, b"Unref", b"")
