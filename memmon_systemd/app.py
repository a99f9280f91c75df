"""Wires up the monitor, runs it, and ends it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, MutableMapping
from types import FrameType
from typing import TYPE_CHECKING

from memmon_systemd import __version__
from memmon_systemd.errors import EXIT_FAILED, EXIT_FOUND, EXIT_HUNG_UP, EXIT_NOT_FOUND, EXIT_OK
from memmon_systemd.machine import Machine
from memmon_systemd.monitor.keeper import NothingKept
from memmon_systemd.monitor.log import Log
from memmon_systemd.monitor.loop import Monitor
from memmon_systemd.monitor.poller import Poller
from memmon_systemd.monitor.report import Report
from memmon_systemd.monitor.room import Room
from memmon_systemd.monitor.signal_pipe import SignalPipe
from memmon_systemd.monitor.source import Context, Source
from memmon_systemd.monitor.target import TargetList
from memmon_systemd.output.journal import JOURNAL_SOCKET, JournalSink, is_journal
from memmon_systemd.output.notify import Notifier
from memmon_systemd.output.sink import WARNING, Sink
from memmon_systemd.output.stream import StreamSink
from memmon_systemd.settings import Action, Settings
from memmon_systemd.sources import Sources

if TYPE_CHECKING:
    from memmon_systemd.keeping import OwnState

_END_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _End:
    """What the signals do: the monitor stops, and the command has this exit status."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self.exit_status = EXIT_OK

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """A signal handler."""
        self._monitor.stop(f"ended by {signal.Signals(number).name}")
        if number == signal.SIGHUP:
            self.exit_status = EXIT_HUNG_UP


def run(settings: Settings, environ: MutableMapping[str, str]) -> int:
    """Monitor until a signal ends it (or `--once`, `--until-stopped`); the exit status.

    UsageError and StartError where it can't start.
    """
    if settings.check_config is not None:
        from memmon_systemd.check.config_command import check_config

        return check_config(settings.check_config)
    notifier = Notifier.from_environment(environ)
    sink = open_sink(environ)
    verbosity = settings.verbosity
    report = Report(Log(sink, is_quiet=verbosity < 0, is_verbose=verbosity > 0))
    if notifier.problem is not None:
        report.warn.not_notifying(notifier.problem)
    _warn_of_unread_settings(environ, report)
    _allow_many_descriptors(report)
    machine = Machine(settings, environ, report.warn)
    if settings.check:
        from memmon_systemd.check.command import check

        return check(settings, machine, report)
    state = _own_state(settings, environ)
    room = _room(settings, report)
    notifier.before_sending = room.make
    context = Context(
        TargetList(), Poller(), report, state or NothingKept(), room=room, still_starting=notifier.starting
    )
    sources = Sources(settings, machine, context)
    opened = sources.open()
    opened += _open_state(state, settings, sources, context) if state else []
    monitor = Monitor(settings, opened, context, notifier)
    report.started(__version__, settings)
    if settings.target.signal_number == signal.SIGKILL and settings.target.action is Action.SIGNAL:
        report.warn.not_graceful()
    if settings.once:
        machine.hasten()
        return _once(monitor)
    monitor.refresh_all()
    sources.warn_of_what_stays_down()
    sources.warn_of_hooks()
    sources.warn_of_missing_rights(environ)
    monitor.look_around()
    end, pipe = _stop_on_signals(monitor), SignalPipe(context.poller)
    if sources.can_reload and not os.isatty(0):
        signal.signal(signal.SIGHUP, lambda *_: sources.reload())
    machine.hasten()
    reserve = _lock(settings, monitor, sources, context, sink, pipe)
    notifier.ready()
    monitor.run()
    notifier.stopping("stopping")
    report.stopped(monitor.why_stopped)
    if state:
        state.end()
    del reserve
    return end.exit_status


def open_sink(environ: Mapping[str, str], stderr_fd: int = 2, journal_socket: str = JOURNAL_SOCKET) -> Sink:
    """The journal where stderr is the journal (JOURNAL_STREAM, systemd.exec(5)), else stderr.

    Where stderr is the journal but its socket can't be reached, lines go to stderr with their
    priority as in sd-daemon(3), after one that says so.
    """
    if not is_journal(environ.get("JOURNAL_STREAM", ""), stderr_fd):
        return StreamSink(stderr_fd)
    try:
        return JournalSink(journal_socket)
    except OSError as error:
        sink = StreamSink(stderr_fd, with_priority=True)
        why = f"{journal_socket} can't be reached: {error.strerror or error}"
        sink.write(f"{why}; the lines go to the journal without their fields", WARNING, ())
        return sink


def _warn_of_unread_settings(environ: Mapping[str, str], report: Report) -> None:
    r"""Of the settings of an instance such as x\x2dy, in a file of that name.

    systemd expands EnvironmentFile= by glob(3), which takes each backslash away (252 and 257).
    """
    path = environ.get("MEMORY_MONITOR_SETTINGS", "")
    read_path = path.replace("\\", "")
    if path != read_path and os.path.exists(path) and not os.path.exists(read_path):
        report.warn.settings_not_read(path, read_path)


def _own_state(settings: Settings, environ: Mapping[str, str]) -> OwnState | None:
    """What tells others of this monitor, where it stays and the system has what that takes."""
    if sys.platform != "linux" or settings.once:
        return None
    from memmon_systemd.keeping import OwnState

    is_one = len(settings.names) == 1 and not settings.configured
    return OwnState(environ, settings.names[0] if is_one else None, is_users=settings.user)


def _open_state(state: OwnState, settings: Settings, sources: Sources, context: Context) -> list[Source]:
    """Make the state file, before anything is measured; what watches for pauses beside it."""
    problem = state.open(sources.most_targets)
    if problem is not None:
        context.report.warn.state_unwritten(problem)
    if state.pause_path is None:
        return []
    from memmon_systemd.linux.libc import Libc
    from memmon_systemd.pause_watch import PauseWatch

    # Behind the units, whose inotify events it shares.
    shared = sources.slice_watch
    return [PauseWatch(state.pause_path, Libc(), context, settings.target.interval_s, shared)]


def _room(settings: Settings, report: Report) -> Room:
    """What keeps room for the kernel's memory, where it stays and the system charges for that."""
    if sys.platform != "linux" or settings.once:
        return Room()
    from memmon_systemd.linux.limits import own_cgroups
    from memmon_systemd.resident.charge import ChargeReserve

    try:
        return ChargeReserve(own_cgroups())
    except OSError as error:
        report.warn.not_locked(
            f"no reserve for the kernel's memory ({error.strerror}): at the limit of its cgroup this may be"
            " killed when it acts; raise fs.pipe-max-size and fs.pipe-user-pages-soft to their defaults"
        )
        return Room()


def _once(monitor: Monitor) -> int:
    result = monitor.look_once()
    if result.failed:
        return EXIT_FAILED
    if result.over:
        return EXIT_FOUND
    return EXIT_NOT_FOUND if result.missing else EXIT_OK


def _lock(
    settings: Settings, monitor: Monitor, sources: Sources, context: Context, sink: Sink, pipe: SignalPipe
) -> object:
    """Rehearse everything and lock the memory, where the system can; what is returned must be kept."""
    if sys.platform != "linux":
        return None
    from memmon_systemd.linux.libc import Libc
    from memmon_systemd.resident import lock, warmup

    def rehearse() -> None:
        warmup.rehearse_the_loop(settings, sink)
        warmup.rehearse_the_machine(settings.target)
        warmup.rehearse_the_cgroup(settings.target)
        context.room.rehearse()
        sources.rehearse()
        monitor.refresh_all()
        monitor.look_around()
        pipe.rehearse()
        context.poller.wait(0.0, time.monotonic)

    small_bytes = lock.bytes_for_units(sources.units.count) if settings.configured else lock.FEW_BYTES
    if sources.are_found_by_process:
        small_bytes = lock.PROCESSES_BYTES
    reserve, problems = lock.reserve_and_lock(Libc(), rehearse, small_bytes)
    for problem in problems:
        context.report.warn.not_locked(problem)
    return reserve


def _stop_on_signals(monitor: Monitor) -> _End:
    end = _End(monitor)
    for number in _END_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # As it is of SIGHUP after nohup(1).
            signal.signal(number, end)
    return end


def _allow_many_descriptors(report: Report) -> None:
    """A process holds two descriptors, a unit four; the usual soft limit is 1,024."""
    if sys.platform == "linux":
        from memmon_systemd.linux import proc

        try:
            proc.raise_descriptor_limit()
        except OSError as error:
            report.warn.few_descriptors(str(error))
