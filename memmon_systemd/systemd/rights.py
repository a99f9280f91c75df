"""Whether systemd lets this user do something to a unit, found out without doing it.

Nobody but root may ask polkit what its rules say of one unit. But systemd asks it before it looks at what is
to be done: so it is asked for what can't be done, and answers either "not permitted" or with another refusal.
"""

from __future__ import annotations

import errno
import signal
from typing import Final

from memmon_systemd.settings import Action
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.systemd.unit import Unit

_DENIED: Final = (errno.EACCES, errno.EPERM)


def may_request(manager: Manager, unit: Unit, action: Action, control_pid: int = 0) -> bool | None:
    """Whether this user, who isn't root, may make such a request; None where that can't be told.

    A signal: to the control process of a unit that has none (`control_pid`). It is SIGCONT, which does
    nothing to a process that runs, should a control process start at that very moment. A job: with the mode
    "isolate", which is refused for all jobs but a start (systemd 252 to 257).
    """
    if action is Action.SIGNAL:
        return None if control_pid else _may_signal(manager, unit)
    try:
        manager.ask_for_impossible_job(unit, action)
    except BusError as error:
        return True if error.errno == errno.EINVAL else _denial(error)
    return None


def _may_signal(manager: Manager, unit: Unit) -> bool | None:
    try:
        manager.kill(unit, "control", signal.SIGCONT)
    except BusError as error:
        return True if error.errno == errno.ESRCH else _denial(error)
    return None


def _denial(error: BusError) -> bool | None:
    return False if error.errno in _DENIED else None
