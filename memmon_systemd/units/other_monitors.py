"""Units that have a monitor of their own: what `memory-monitor@x.service` monitors is left to it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from memmon_systemd.monitor.report import Report

TEMPLATE: Final = "memory-monitor@"
"""How the instances of the template are named."""
MACHINE_WIDE: Final = "memory-monitor.service"
"""The one of the units that say so in their own files."""


def is_monitor(name: str) -> bool:
    """Whether a unit is a monitor: nobody needs to monitor these."""
    return name.startswith((TEMPLATE, MACHINE_WIDE))


class OtherMonitors:
    """Which units are left to others, said once each way."""

    __slots__ = ("_left", "_report")

    def __init__(self, report: Report) -> None:
        self._report = report
        self._left: set[str] = set()

    def have(self, name: str) -> bool:
        """Whether a unit is left to another monitor."""
        return name in self._left

    def note(self, present: Collection[str], wanted: Collection[str]) -> None:
        """Of these units some are monitors; `wanted` would be monitored here."""
        instances = {name.removeprefix(TEMPLATE) for name in present if name.startswith(TEMPLATE)}
        for name in instances.intersection(wanted) - self._left:
            self._left.add(name)
            self._report.left_to(name, f"{TEMPLATE}{name}")
        for name in self._left - instances:
            self._left.discard(name)
            if name in wanted:
                self._report.taken_over(name, f"{TEMPLATE}{name}")
