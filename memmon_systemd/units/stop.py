"""Whether all units have stopped for good (`--until-stopped`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from memmon_systemd.systemd.errors import BusError
from memmon_systemd.units.measured import UnitContext


class Stop:
    """Asks the manager, for only that knows: no cgroup comes or goes when a restart is given up."""

    __slots__ = ("_but_for", "_context", "_is_said")

    def __init__(self, context: UnitContext, but_for: Collection[str]) -> None:
        """Asks about units of these names and globs that it is given, `but_for` some."""
        self._context = context
        self._but_for = but_for
        self._is_said = False

    def has_come(self, names: Sequence[str]) -> bool:
        """Whether all have stopped; not so while nobody can say, which is said once."""
        try:
            has_come = self._context.manager.have_stopped(names, self._but_for)
        except BusError as error:
            # It is asked once a second.
            if not self._is_said:
                self._context.shared.report.warn.stop_unknown(", ".join(names), str(error))
            self._is_said = True
            return False
        self._is_said = False
        return has_come
