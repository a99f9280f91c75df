"""Whether /proc shows the PIDs that this process' system calls take."""

from __future__ import annotations

import os
from typing import Final

from memmon_systemd.errors import StartError
from memmon_systemd.linux import proc

_MOUNT: Final = "mount its own /proc (unshare --mount-proc, nsenter --mount)"


def check_proc() -> None:
    """StartError where /proc is that of another PID namespace, or of none.

    There a name is read of one process, and a signal of that number goes to another. NSpid of
    /proc/PID/status is the PID in the namespace of that /proc, followed by those in the namespaces below it
    (proc(5)).
    """
    try:
        shown = proc.status_line("/proc/self", b"\nNSpid:").split() or [
            os.fsencode(os.readlink("/proc/self"))
        ]
    except OSError as error:
        raise StartError(f"/proc doesn't show this process ({error.strerror}): {_MOUNT}") from None
    if shown != [b"%d" % os.getpid()]:
        there = os.fsdecode(shown[0])
        raise StartError(
            f"/proc is that of another PID namespace, where this process is {there} and not {os.getpid()}:"
            f" {_MOUNT}"
        )
