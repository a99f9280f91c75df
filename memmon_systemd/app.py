"""From settings to a running monitor: builds the house, settles it, and ends it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import MutableMapping, Sequence
from types import FrameType

from memmon_systemd import __version__
from memmon_systemd.monitor.loop import Monitor
from memmon_systemd.monitor.report import Report
from memmon_systemd.monitor.source import Loop
from memmon_systemd.monitor.target import Roster, Waiter
from memmon_systemd.output.notify import Notifier
from memmon_systemd.output.sink import Sink, open_sink
from memmon_systemd.settings import Settings
from memmon_systemd.sources import Resolver

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_OVER = 3
EXIT_NOT_FOUND = 4

_READY_PAUSE_S = 0.05
"""The service manager's queue can be full for a moment; a READY that is lost would be a failed start."""
_END_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(settings: Settings, environ: MutableMapping[str, str]) -> int:
    """Monitor until a signal ends it (or `--once`, `--until-stopped`); the exit status.

    UsageError and StartError where it can't begin.
    """
    notifier = Notifier.from_environment(environ)
    sink = open_sink(environ)
    report = Report(settings, sink, notifier)
    loop = Loop(Roster(), Waiter(), report)
    if notifier.problem:
        report.warn(notifier.problem)
    _allow_many_descriptors()
    resolver = Resolver(settings, environ, loop)
    if settings.check:
        from memmon_systemd.check.command import check

        return check(settings, resolver, report)
    monitor = Monitor(settings, resolver.sources(), loop, notifier)
    report.started(__version__)
    if settings.once:
        return _once(monitor)
    monitor.refresh_all()
    resolver.warn_of_what_stays_down()
    monitor.look_around()
    _stop_on_signals(monitor, loop.waiter)
    kept = _settle(settings, monitor, resolver, loop, sink)
    while not notifier.ready(report.last_sentence) and not monitor.stopping:
        loop.waiter.wait(_READY_PAUSE_S, time.monotonic)
    monitor.run()
    notifier.stopping("stopping")
    report.stopped(monitor.why_stopped)
    del kept
    return EXIT_OK


def _once(monitor: Monitor) -> int:
    result = monitor.look_once()
    if result.failed:
        return EXIT_FAILED
    if result.over:
        return EXIT_OVER
    return EXIT_NOT_FOUND if result.missing else EXIT_OK


def _settle(settings: Settings, monitor: Monitor, resolver: Resolver, loop: Loop, sink: Sink) -> object:
    """Rehearse and lock, where the system can; what is returned must be kept."""
    if sys.platform != "linux":
        return None
    from memmon_systemd.linux.libc import Libc
    from memmon_systemd.resident import warmup as rehearsal
    from memmon_systemd.resident.lock import settle

    def rehearse() -> None:
        rehearsal.walk_the_loop(settings, sink)
        rehearsal.walk_the_machine(settings)
        if resolver.systemd is not None:
            rehearsal.walk_the_cgroup(settings)
        resolver.rehearse()
        monitor.refresh_all()
        monitor.look_around()
        loop.waiter.wait(0.0, time.monotonic)

    reserve, problems = settle(Libc(), rehearse, crowds=resolver.follows_processes)
    for problem in problems:
        loop.report.warn(problem)
    return reserve


def _stop_on_signals(monitor: Monitor, waiter: Waiter) -> None:
    """Let a signal wake the wait: Python's own handler only runs once poll(2) returns by itself."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK) if hasattr(os, "pipe2") else _pipe()

    def stop(number: int, _frame: FrameType | None) -> None:
        monitor.stop(f"ended by {signal.Signals(number).name}")

    waiter.watch(wake_read, monitor)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    for number in _END_SIGNALS:
        signal.signal(number, stop)


def _pipe() -> Sequence[int]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def _allow_many_descriptors() -> None:
    """A process holds two descriptors, a unit four; the usual soft limit is 1,024."""
    if sys.platform == "linux":
        from memmon_systemd.linux import proc

        proc.raise_descriptor_limit()
