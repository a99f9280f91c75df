"""Where the settings of a monitored unit come from: unit files, a settings file, or a command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from memmon_systemd.argv import arguments_of
from memmon_systemd.check.read_configured import configured
from memmon_systemd.ctl.call import Call
from memmon_systemd.ctl.state import MonitorState
from memmon_systemd.ctl.unit_files import settings_in_files
from memmon_systemd.ctl.unmonitored import MONITOR
from memmon_systemd.errors import StartError, UsageError
from memmon_systemd.formatting import one_line
from memmon_systemd.linux import command_line
from memmon_systemd.settings import UNSET, Settings
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.units.other_monitors import TEMPLATE

_LONGEST_BYTES: Final = 65536


def origin(call: Call, state: MonitorState, name: str) -> str:
    """What is written of one unit, and where; or why that isn't known."""
    monitor, is_users = state.monitor.name, state.monitor.is_users
    try:
        if monitor == MONITOR and is_users in call.managers:
            said = settings_in_files(Manager(is_users, call.environ), name, UNSET)
            return _written(said.assignments, said.files)
        if monitor.startswith(TEMPLATE) and is_users in call.managers:
            asked = Settings((monitor,), UNSET, user=is_users, check=True)
            _, found = configured(asked, monitor, lambda: Manager(is_users, call.environ))
            return _written(found.options, (found.unit, *found.files))
        line = command_line.read(state.monitor.pid, _LONGEST_BYTES)
    except (BusError, StartError, UsageError, OSError) as error:
        return f"can't be read: {error}"
    words = [os.fsdecode(word) for word in line.split(b"\0")[:-1]]
    return _written(arguments_of(words) or words, (f"command line of process {state.monitor.pid}",))


def _written(words: Sequence[str], places: Sequence[str]) -> str:
    return one_line(f"{' '.join(words)} ({', '.join(places)})")
