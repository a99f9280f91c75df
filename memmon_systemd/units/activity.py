"""What a unit does at this moment, by one answer of systemd (systemd(1), Units)."""

from __future__ import annotations

from memmon_systemd.monitor.policy import Activity
from memmon_systemd.settings import KillWhom
from memmon_systemd.systemd.unit import UnitState

_WITH_CONTROL_PROCESS = ("activating", "deactivating", "reloading", "refreshing")


def activity_of(state: UnitState, *, is_oneshot: bool, kill_whom: KillWhom | None) -> Activity:
    """Whether the unit runs, or why it couldn't follow a request now."""
    if state.freezer_state.startswith(("freez", "frozen")):
        return Activity.FROZEN
    if kill_whom is KillWhom.CONTROL and state.active_state in _WITH_CONTROL_PROCESS:
        # There is none at any other time (systemd.service(5), ExecStartPre=, ExecReload=, ExecStop=).
        return Activity.RUNNING
    if state.active_state in ("reloading", "refreshing"):
        return Activity.RELOADING
    if state.active_state == "activating":
        # A oneshot is activating for all its life; but not while it waits for its automatic restart.
        return Activity.RUNNING if is_oneshot and state.sub_state == "start" else Activity.STARTING
    if state.active_state in ("inactive", "failed"):
        # Its cgroup stays while there are processes (KillMode=, SendSIGKILL=no).
        return Activity.DOWN
    if state.active_state != "active":
        return Activity.STOPPING
    # A job of a unit that is active is its stop, reload or restart, which may wait for other units first.
    return Activity.STOPPING if state.job_id else Activity.RUNNING
