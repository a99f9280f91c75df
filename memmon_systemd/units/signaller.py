"""Asking a unit to go: KillUnit through systemd, and by pidfd where systemd doesn't answer."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from memmon_systemd.formatting import signal_name
from memmon_systemd.linux import cgroup, proc
from memmon_systemd.monitor.target import Outcome
from memmon_systemd.processes.table import NOT_PERMITTED_HINT, ProcessTable
from memmon_systemd.settings import KillWhom, Settings
from memmon_systemd.systemd.bus import Backoff, BusError
from memmon_systemd.systemd.manager import Invocation, Manager, Unit

_WHO: Final[Mapping[KillWhom, str]] = {
    KillWhom.MAIN: "the main process",
    KillWhom.CONTROL: "the control process",
    KillWhom.ALL: "all processes",
}
_BUS_HINT: Final = "run as root or allow org.freedesktop.systemd1.manage-units by a polkit rule"


class UnitActor:
    """The way to a unit of one manager."""

    __slots__ = ("_manager", "_settings", "_signal", "_table")

    def __init__(self, manager: Manager, table: ProcessTable, settings: Settings) -> None:
        """An actor for what the settings ask."""
        self._manager = manager
        self._table = table
        self._settings = settings
        self._signal = signal_name(settings.signal_number)

    def ask(
        self, unit: Unit, invocation: Invocation, directory: Path, backoff: Backoff, now_s: float
    ) -> Outcome:
        """Signal or restart a unit whose cgroup is `directory`; raises nothing.

        While `backoff` runs systemd isn't asked, for each call that fails costs memory that nobody frees. A
        bus that can't be called has a pause of its own.
        """
        trouble = backoff.why
        if backoff.is_due(now_s):
            try:
                done = self._by_systemd(unit, invocation)
            except BusError as error:
                if error.errno == errno.EINTR:
                    # A signal tells the monitor to end; systemd may well have done what was asked.
                    return Outcome(done=False, what=f"{error}: ended meanwhile")
                trouble = str(error) + (
                    f": {_BUS_HINT}" if error.errno in (errno.EACCES, errno.EPERM) else ""
                )
                if error.was_called:
                    backoff.failed(now_s, trouble)
            else:
                backoff.worked()
                return Outcome(done=True, what=done)
        if self._settings.restart:
            return Outcome(done=False, what=trouble)
        return self._directly(unit, invocation, directory, trouble)

    def _by_systemd(self, unit: Unit, invocation: Invocation) -> str:
        if self._settings.restart:
            self._manager.restart(unit)
            return "asked systemd to restart it (TryRestartUnit)"
        whom = self._settings.kill_whom
        if whom is None:
            whom = KillWhom.MAIN if invocation.main_pid else KillWhom.ALL
        self._manager.kill(unit, whom.value, self._settings.signal_number)
        return f"sent {self._signal} to {_WHO[whom]} (KillUnit)"

    def _directly(self, unit: Unit, invocation: Invocation, directory: Path, trouble: str) -> Outcome:
        whom = self._settings.kill_whom
        if whom is KillWhom.CONTROL:
            return Outcome(done=False, what=f"{trouble}; only systemd knows the control process")
        try:
            if whom is KillWhom.ALL or (whom is None and not unit.is_service):
                pids = list(dict.fromkeys(cgroup.processes_below(directory)))
            else:
                pids = _main_process(directory, invocation.main_pid)
        except OSError as error:
            return Outcome(done=False, what=f"{trouble}; by pidfd: {error.filename}: {error.strerror}")
        untouchable = self._table.ancestors()
        sent, failures = 0, ""
        for pid in pids:
            if pid not in untouchable:
                failure = self._send(pid, directory, self._settings.signal_number)
                sent += not failure
                failures = failures or failure
        if sent:
            who = f"process {pids[0]}" if len(pids) == 1 else f"{sent} of {len(pids)} processes"
            return Outcome(done=True, what=f"sent {self._signal} to {who} by pidfd ({trouble})")
        return Outcome(done=False, what=f"{trouble}; by pidfd: {failures or 'the unit has no such process'}")

    def rehearse(self, directory: Path) -> None:
        """Walk the way of the direct signal, to this process, with signal 0, which is none."""
        _main_process(directory, 0)
        self._send(os.getpid(), directory, 0)

    def _send(self, pid: int, directory: Path, signal_number: int) -> str:
        """Signal one process of the unit; why it failed, or nothing."""
        try:
            process = self._table.open(pid)
        except OSError as error:
            return f"process {pid}: {error.strerror}"
        try:
            # Read after the pidfd was opened: whoever has the PID now is the one who would get it.
            if pid not in cgroup.processes_below(directory):
                return f"process {pid} has left the unit"
            process.send(signal_number)
        except PermissionError as error:
            return f"process {pid}: {error.strerror}: {NOT_PERMITTED_HINT}"
        except OSError as error:
            return f"process {pid}: {error.strerror}"
        finally:
            process.close()
        return ""


def _main_process(directory: Path, main_pid: int) -> list[int]:
    """The main process as systemd said, or as systemd would guess: the oldest whose parent is outside."""
    pids = set(cgroup.processes_below(directory))
    if main_pid in pids:
        return [main_pid]
    oldest: list[tuple[int, int]] = []
    for pid in pids:
        try:
            stat = proc.read_stat(pid)
        except OSError:
            continue
        if stat.parent not in pids:
            oldest.append((stat.start_ticks, pid))
    return [min(oldest)[1]] if oldest else []
