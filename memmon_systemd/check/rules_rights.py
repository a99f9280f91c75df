"""What `--check` judges of who may signal it, and who else does: pure, from facts to findings."""

from __future__ import annotations

from typing import Final

from memmon_systemd.check.facts import Case
from memmon_systemd.check.findings import Finding, Id, Level, Remedy
from memmon_systemd.formatting import few, signal_name
from memmon_systemd.processes.table import NOT_PERMITTED_HINT
from memmon_systemd.systemd.manager import POLKIT_HINT


def rights(case: Case) -> Finding | None:
    """Whether it may be signalled: a unit by systemd, whose answer is final, and directly if none comes."""
    given = case.subject.rights
    if not case.subject.is_running:
        return None
    name = signal_name(case.signal_number)
    if case.subject.is_process:
        if given.directly is False:
            text = f"this user cannot send it {name}"
            return Finding(Id.NOT_PERMITTED, Level.ERROR, text, Remedy(advice=NOT_PERMITTED_HINT))
        return None
    what = "restart it" if not case.sends_signal else f"send it {name}"
    if given.by_systemd is None:
        text = f"whether systemd permits this user to {what} can't be found out without doing it"
        return Finding(Id.RIGHTS_UNKNOWN, Level.NOTE, text, Remedy(advice=POLKIT_HINT))
    if not given.by_systemd:
        text = f"systemd doesn't permit this user to {what}"
        return Finding(Id.NOT_PERMITTED, Level.ERROR, text, Remedy(advice=POLKIT_HINT))
    if given.directly is False and case.sends_signal:
        text = f"this user cannot send it {name} directly: if systemd doesn't answer, it isn't signalled"
        return Finding(Id.NO_DIRECT_SIGNAL, Level.NOTE, text, Remedy(advice=NOT_PERMITTED_HINT))
    return None


def hidepid(case: Case) -> Finding | None:
    """/proc hides the processes of others."""
    if case.machine.hidepid is None:
        return None
    hidden = f"/proc is mounted with {case.machine.hidepid}: this user can't see other users' processes"
    way = Remedy("mount -o remount,hidepid=0 /proc")
    if case.subject.is_process:
        return Finding(Id.HIDEPID, Level.WARNING, f"{hidden} of that name", way)
    text = f"{hidden}, so they aren't signalled if systemd doesn't answer"
    return Finding(Id.HIDEPID, Level.NOTE, text, way)


def monitors_unknown(case: Case) -> Finding | None:
    """There may be another monitor."""
    unread = case.subject.monitors.unread
    if not unread:
        return None
    text = f"{few(unread, 1)}: its command line can't be read, so it may be another memory-monitor"
    return Finding(Id.MONITORS_UNKNOWN, Level.NOTE, text)


RULES: Final = (rights, hidepid, monitors_unknown)
