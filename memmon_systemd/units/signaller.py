"""Requests to a unit: through systemd, and the signal by pidfd where systemd doesn't answer."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final

from memmon_systemd.formatting import signal_name
from memmon_systemd.linux import cgroup, proc
from memmon_systemd.linux.wrapper import has_default, leaves_memory
from memmon_systemd.monitor.target import Outcome
from memmon_systemd.processes.table import NOT_PERMITTED_HINT, Process, ProcessTable
from memmon_systemd.settings import Action, KillWhom, TargetSettings
from memmon_systemd.systemd.backoff import Backoff
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import POLKIT_HINT, Manager
from memmon_systemd.systemd.unit import Unit, UnitState
from memmon_systemd.units.recipient import NO_MAIN_PROCESS, recipient

_AT_ONCE: Final = 32
"""So many processes are held at a time: for each group the processes of the unit are read once."""
_WHOM: Final[Mapping[KillWhom, str]] = {
    KillWhom.MAIN: "the main process",
    KillWhom.CONTROL: "the control process",
    KillWhom.ALL: "all processes",
}


class Signaller:
    """The way to the units of one manager."""

    __slots__ = ("_manager", "_table")

    def __init__(self, manager: Manager, table: ProcessTable) -> None:
        self._manager = manager
        self._table = table

    def request(
        self,
        unit: Unit,
        state: UnitState,
        settings: TargetSettings,
        signal_number: int,
        directory: str,
        backoff: Backoff,
        now_s: float,
    ) -> Outcome:
        """Signal or restart a unit whose cgroup is `directory`; raises nothing.

        The direct signal is for a systemd that doesn't answer: an answer that says no is final. While
        `backoff` runs systemd isn't asked, for each call that fails leaks memory in libsystemd. A bus that
        can't be called has a pause of its own.
        """
        if settings.action is not Action.SIGNAL:
            return self.ask_for(settings.action, unit, backoff, now_s)
        whom = recipient(unit.is_service, state.main_pid, state.had_main, settings.kill_whom)
        if whom is None:
            return Outcome(is_done=False, sentence=NO_MAIN_PROCESS)

        def kill() -> str:
            self._manager.kill(unit, whom.value, signal_number)
            return f"sent {signal_name(signal_number)} to {_WHOM[whom]} (KillUnit)"

        outcome, failure = _tried(kill, backoff, now_s)
        if failure is None or failure.is_answer:
            return outcome
        return self._directly(whom, state.main_pid, signal_number, directory, str(failure))

    def ask_for(self, action: Action, unit: Unit, backoff: Backoff, now_s: float) -> Outcome:
        """Have systemd restart or reload a unit: nobody else can; raises nothing."""

        def ask() -> str:
            if action is Action.RESTART:
                self._manager.restart(unit)
                return "asked systemd to restart it (TryRestartUnit)"
            self._manager.reload(unit)
            return "asked systemd to reload it (ReloadUnit)"

        return _tried(ask, backoff, now_s)[0]

    def _directly(
        self,
        whom: KillWhom,
        main_pid: int | None,
        signal_number: int,
        directory: str,
        trouble: str,
    ) -> Outcome:
        if whom is KillWhom.CONTROL:
            return Outcome(is_done=False, sentence=f"{trouble}; only systemd knows the control process")
        try:
            if whom is KillWhom.ALL:
                pids = list(dict.fromkeys(cgroup.processes_below(directory)))
            else:
                pids = _main_process(directory, main_pid)
        except OSError as error:
            sentence = f"{trouble}; by pidfd: {error.filename}: {error.strerror}"
            return Outcome(is_done=False, sentence=sentence)
        untouchable = self._table.ancestors()
        wanted = [pid for pid in pids if pid not in untouchable]
        sent, failures = 0, ""
        for begin in range(0, len(wanted), _AT_ONCE):
            done, failure = self._send(wanted[begin : begin + _AT_ONCE], directory, signal_number)
            sent += done
            failures = failures or failure
        if sent:
            who = f"process {pids[0]}" if len(pids) == 1 else f"{sent} of {len(pids)} processes"
            name = signal_name(signal_number)
            return Outcome(is_done=True, sentence=f"sent {name} to {who} by pidfd ({trouble})")
        sentence = f"{trouble}; by pidfd: {failures or 'the unit has no such process'}"
        return Outcome(is_done=False, sentence=sentence)

    def rehearse(self, directory: str) -> None:
        """Go the way of the direct signal, to this process, with signal 0, which is none."""
        _main_process(directory, None)
        leaves_memory(os.getppid(), {os.getpid()}, signal.SIGTERM)
        with suppress(OSError):  # Without /proc there is nothing to go through.
            has_default(os.getpid(), signal.SIGTERM)
        self._send([os.getpid()], directory, 0)

    def _send(self, pids: Sequence[int], directory: str, signal_number: int) -> tuple[int, str]:
        """Signal some processes of the unit: how many got it, and why one did not, or nothing."""
        sent, failure = 0, ""
        held: list[Process] = []
        try:
            for pid in pids:
                try:
                    held.append(self._table.open(pid))
                except OSError as error:
                    failure = failure or f"process {pid}: {error.strerror}"
            # Read after the pidfds were opened: whoever has a PID now is the one who would get it.
            inside = frozenset(cgroup.processes_below(directory)) if held else frozenset()
            for process in held:
                why = _sent(process, inside, signal_number)
                sent += not why
                failure = failure or why
        except OSError as error:
            failure = failure or f"{error.filename}: {error.strerror}"
        finally:
            for process in held:
                process.close()
        return sent, failure


def _sent(process: Process, inside: Collection[int], signal_number: int) -> str:
    """Signal a process if it is among those of the unit; why not, or nothing."""
    if process.pid not in inside:
        return f"process {process.pid} has left the unit"
    try:
        process.send(signal_number)
    except PermissionError as error:
        return f"process {process.pid}: {error.strerror}: {NOT_PERMITTED_HINT}"
    except OSError as error:
        return f"process {process.pid}: {error.strerror}"
    return ""


def _tried(call: Callable[[], str], backoff: Backoff, now_s: float) -> tuple[Outcome, BusError | None]:
    """What a call to systemd leads to, and why it failed if it did. While `backoff` runs it isn't made."""
    failure = backoff.failure
    if failure is None or backoff.is_due(now_s):
        try:
            done = call()
        except BusError as error:
            failure = error
            if error.errno == errno.EINTR:
                # A signal tells the monitor to end; systemd may well have done what was asked.
                return Outcome(is_done=False, sentence=f"{error}: ended meanwhile"), None
            if error.was_called:
                backoff.failed(now_s, error)
        else:
            backoff.worked()
            return Outcome(is_done=True, sentence=done), None
    hint = f": {POLKIT_HINT}" if failure.errno in (errno.EACCES, errno.EPERM) else ""
    return Outcome(is_done=False, sentence=f"{failure}{hint}"), failure


def _main_process(directory: str, main_pid: int | None) -> list[int]:
    """The main process as systemd said, or as systemd would guess: the oldest whose parent is outside."""
    pids = set(cgroup.processes_below(directory))
    if main_pid:
        return [main_pid] if main_pid in pids else []
    first = proc.first_of(pids)
    return [] if first is None else [first]
