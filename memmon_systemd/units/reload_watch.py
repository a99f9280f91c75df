"""When systemd reads all unit files again (`systemctl daemon-reload`), told by inotify: without polling.

A reload removes the directories of the generators in the manager's runtime directory and makes them again
(systemd 252 and 257), the first of them before it reads the files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from memmon_systemd.linux import inotify
from memmon_systemd.linux.libc import IN_CREATE, IN_DELETE, IN_ONLYDIR, Libc
from memmon_systemd.monitor.poller import NO_DESCRIPTOR
from memmon_systemd.monitor.target import NEVER

_SETTLED_S: Final = 0.3
"""So long after the last of these events; systemd answers once the reload is done."""
BLIND_PAUSE_S: Final = 60.0
"""How often to read all files where inotify can't be had."""


class ReloadWatch:
    """Watches the runtime directory of one manager."""

    __slots__ = ("descriptor", "due_s", "problem")

    def __init__(self, libc: Libc, directory: str) -> None:
        """`directory` is /run/systemd, or the one of a user's manager; `problem` says what can't be had."""
        self.descriptor = NO_DESCRIPTOR
        self.problem: str | None = None
        self.due_s = NEVER
        """When to see whether it has reloaded; `has_reloaded` sets it."""
        try:
            self.descriptor = libc.inotify()
            libc.watch(self.descriptor, directory, IN_CREATE | IN_DELETE | IN_ONLYDIR)
        except OSError as error:
            self.problem = f"inotify on {directory}: {error.strerror}"
            self.due_s = 0.0

    def has_reloaded(self, now_s: float) -> bool:
        """Whether all files are to be read again now."""
        if self.problem is None and self._is_told():
            self.due_s = now_s + _SETTLED_S
            return False
        if now_s < self.due_s:
            return False
        self.due_s = NEVER if self.problem is None else now_s + BLIND_PAUSE_S
        return True

    def _is_told(self) -> bool:
        return any(name.startswith("generator") for _, name in inotify.events(self.descriptor))


def runtime_directory(environ: Mapping[str, str], *, user: bool) -> str:
    """The directory for what lasts until the next boot, or until the user has logged out."""
    return (environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}") if user else "/run"
