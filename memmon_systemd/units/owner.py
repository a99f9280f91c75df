"""Processes whose name starts with a prefix, each looked up to the unit that it belongs to."""

from __future__ import annotations

from memmon_systemd.monitor.source import Context
from memmon_systemd.processes.named import NamedProcesses
from memmon_systemd.processes.table import Process, ProcessTable
from memmon_systemd.units.watch import UnitWatch


class OwnerSource(NamedProcesses):
    """Every process of a name puts the unit that it belongs to into a watch of units."""

    def __init__(
        self, name: str, interval_s: float, table: ProcessTable, units: UnitWatch, context: Context
    ) -> None:
        """A source for names that start with `name`."""
        super().__init__(name, interval_s, table, context)
        self._units = units
        self._held: list[Process] = []

    def refresh(self, now_s: float) -> None:
        """Find new processes and forget the ended ones, whose PIDs may come again."""
        self._held = [process for process in self._held if not self._is_ended(process)]
        super().refresh(now_s)

    def has_targets(self) -> bool:
        """Whether there is such a process now."""
        return bool(self._held)

    def _begin_all(self, processes: list[Process], now_s: float) -> None:
        for process in processes:
            self._held.append(process)
            if not self._units.add_owner_of(process.pid):
                self._context.report.warn.no_unit(f"{process.name}[{process.pid}]")

    def _is_ended(self, process: Process) -> bool:
        try:
            process.rss_bytes()
        except OSError:
            process.close()
            self._finder.forget(process.pid)
            return True
        return False
