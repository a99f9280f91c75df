"""What `--check` judges of who may signal a target, and who else does: pure, from facts to findings."""

from __future__ import annotations

from typing import Final

from memmon_systemd.check.facts import Case, Finding, Id, Level, Remedy
from memmon_systemd.formatting import signal_name
from memmon_systemd.processes.table import NOT_PERMITTED_HINT

_POLKIT: Final = "run as root, or allow org.freedesktop.systemd1.manage-units by a polkit rule"


def rights(case: Case) -> Finding | None:
    """Whether the target may be signalled at all, and by both ways."""
    target, given = case.target, case.target.rights
    if not target.is_running:
        return None
    name = "a restart" if case.settings.restart else signal_name(case.settings.signal_number)
    if target.is_process:
        if given.directly is False:
            text = f"this user may not send it {name}"
            return Finding(Id.NOT_PERMITTED, Level.ERROR, text, Remedy(advice=NOT_PERMITTED_HINT))
        return None
    help_it = Remedy(advice=_POLKIT)
    if given.by_systemd is None:
        text = f"whether systemd lets this user ask for {name} can't be told without doing it"
        return Finding(Id.RIGHTS_UNKNOWN, Level.NOTE, text, help_it)
    if not given.by_systemd and not given.directly:
        text = f"this user may not have {name} sent to it, neither by systemd nor directly"
        return Finding(Id.NOT_PERMITTED, Level.ERROR, text, help_it)
    if not given.by_systemd:
        text = f"systemd doesn't let this user signal it: {name} goes directly, by pidfd, only"
        return Finding(Id.BY_PIDFD_ONLY, Level.WARNING, text, help_it)
    if given.directly is False and not case.settings.restart:
        text = f"this user may not signal it directly: where systemd doesn't answer, no {name} is sent"
        return Finding(Id.NO_DIRECT_SIGNAL, Level.NOTE, text, Remedy(advice="run as root, or with CAP_KILL"))
    return None


def hidepid(case: Case) -> Finding | None:
    """/proc hides the processes of others."""
    if not case.machine.hidepid:
        return None
    text = f"/proc is mounted with {case.machine.hidepid}: this user doesn't see other users' processes"
    if case.target.is_process:
        level = Level.WARNING
        text += " of that name"
    else:
        level = Level.NOTE
        text += ", so these get no signal where systemd doesn't answer"
    return Finding(Id.HIDEPID, level, text, Remedy("mount -o remount,hidepid=0 /proc"))


def already_monitored(case: Case) -> Finding | None:
    """Two monitors would both signal it."""
    if not case.target.monitors:
        return None
    other = case.target.monitors[0]
    who = f"process {other.pid}" + (f" of {other.unit}" if other.unit else "")
    text = f"another memory-monitor looks after it already ({who}): both would signal it"
    stop = f"systemctl stop {other.unit}" if other.unit.endswith(".service") else f"kill {other.pid}"
    return Finding(Id.ALREADY_MONITORED, Level.WARNING, text, Remedy(stop))


RULES: Final = (rights, hidepid, already_monitored)
