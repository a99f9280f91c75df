"""Every path that the monitor may take, gone once before READY=1, so that it finds all it needs in memory."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from itertools import count

from memmon_systemd.linux import cgroup, limits, slow_read
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.log import Log
from memmon_systemd.monitor.loop import Monitor
from memmon_systemd.monitor.policy import Activity, State
from memmon_systemd.monitor.poller import Poller
from memmon_systemd.monitor.report import Report
from memmon_systemd.monitor.schedule import schedule_for
from memmon_systemd.monitor.source import Context, Source
from memmon_systemd.monitor.target import NEVER, Outcome, Presence, Target, TargetList
from memmon_systemd.output import state_file
from memmon_systemd.output.notify import Notifier
from memmon_systemd.output.record import MonitorRecord
from memmon_systemd.output.sink import Sink
from memmon_systemd.pause_watch import PauseWatch
from memmon_systemd.processes.table import process_table
from memmon_systemd.settings import Metric, Settings, TargetSettings

_GIB = 1 << 30
_THRESHOLDS_BYTES = count(1000 * _GIB)
"""Another one each time: a schedule that is known already would not be made."""
_READINGS = (10 * _GIB, 900 * _GIB, 2000 * _GIB, 2000 * _GIB, 2000 * _GIB, 900 * _GIB, -1)
"""Far below, near, over, signalled, over again, within again, gone.

Python goes other ways with small numbers.
"""
_NEAR = (900 * _GIB,)
_STEP_S = 10.0


class _Unwritten:
    """A log whose lines go all the way to the real one and aren't written."""

    dropped = 0

    def __init__(self, sink: Sink) -> None:
        self.write = self.rehearse = sink.rehearse


class _Script(Gauge):
    """Readings from a list; -1 is a cgroup that was removed."""

    __slots__ = ("readings",)

    def __init__(self, settings: TargetSettings, readings: Sequence[int] = _READINGS) -> None:
        super().__init__(
            settings.metric or Metric.CURRENT,
            schedule_for(next(_THRESHOLDS_BYTES), settings.interval_s, settings.growth_bytes_per_s),
        )
        self.readings = list(readings)

    def measure(self) -> int:
        reading = self.readings[0]
        if reading < 0:
            raise FileNotFoundError(2, "gone")
        return reading


class _Actor(Target):
    """A target that fails, then does as asked."""

    __slots__ = ("asked",)

    def __init__(self, settings: TargetSettings) -> None:
        super().__init__("rehearsal.service", "rehearsal.service", settings, _STEP_S)
        self.asked = 0

    def presence(self, now_s: float) -> Presence:
        return Presence(Activity.RUNNING, now_s)

    def request(self, now_s: float) -> Outcome:
        self.asked += 1
        return Outcome(is_done=self.asked > 1, sentence="a rehearsal")

    def lost(self, now_s: float) -> None:
        self.has_ended = True
        self.state = State.WAITING


class _NoSource(Source):
    def __init__(self) -> None:
        super().__init__()
        self.due_s = NEVER
        self.is_stale = False

    def refresh(self, now_s: float) -> None:
        """Nothing comes."""

    def is_finished(self) -> bool:
        return False

    def has_targets(self) -> bool:
        return True


def rehearse_the_loop(settings: Settings, sink: Sink) -> None:
    """A target's whole life by the real monitor, with a clock of its own and a log to nowhere.

    Once alone, and once beside another one, with a service manager that takes nothing.
    """
    _rehearse_a_life(settings, sink, Notifier(None, None, None))
    ours, managers = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    managers.close()
    with ours:
        _rehearse_a_life(settings, sink, Notifier(ours, _STEP_S, None), _Script(settings.target, _NEAR))


def _rehearse_a_life(
    settings: Settings, sink: Sink, notifier: Notifier, beside: _Script | None = None
) -> None:
    log = Log(_Unwritten(sink), is_quiet=settings.verbosity < 0)
    kept = state_file.rehearsal(MonitorRecord("rehearsal", "", 0, 0, bytes(16), 0, False, 0.0))
    context = Context(TargetList(), Poller(), Report(log), kept)
    pauses = PauseWatch("/proc/self/rehearsal.pause", None, context, _STEP_S)
    clock = [0.0]
    monitor = Monitor(settings, [_NoSource()], context, notifier, clock=lambda: clock[0])
    target, gauge = _Actor(settings.target), _Script(settings.target)
    context.report.waiting(target.name, target.unit, "rehearsal")
    context.report.warn.systemd_unavailable("rehearsal")
    context.report.warn.bug(OSError("rehearsal"))
    context.targets.add(target)
    target.begin(gauge, clock[0])
    context.report.began(target)
    if beside is not None:
        another = _Actor(settings.target)
        context.targets.add(another)
        another.begin(beside, clock[0])
    while gauge.readings:
        target.look_at(clock[0])
        monitor.look_around()
        pauses.rehearse(clock[0])
        clock[0] += _STEP_S
        del gauge.readings[0]
    kept.past(target.name)


def rehearse_the_machine(settings: TargetSettings) -> None:
    """This very process and its cgroup, measured and (with signal 0) signalled like a target."""
    table = process_table()
    table.ancestors()
    process = table.open(os.getpid())
    process.rss_bytes()
    if settings.metric is Metric.PSS:
        slow_read.start()
        with suppress(TimeoutError):  # On a machine that is very busy.
            process.pss_bytes()
    slow_read.rehearse()
    if settings.swap:
        process.swap_bytes()
    limits.limit_above(process.pid, cgroup.find_hierarchy())
    process.is_still(os.fsencode(process.name))
    process.send(0)
    process.close()
    with suppress(OSError):
        table.open(2**22 + 1)  # No PID is as high; the way of a process that has ended.
    for number in errno.errorcode:
        os.strerror(number)  # The C library has these texts on three pages, and any error may come.


def rehearse_the_cgroup(settings: TargetSettings) -> None:
    """A unit's gauge on the cgroup that this process runs in, whichever files it has."""
    from memmon_systemd.units.gauge import open_file, open_sum_gauge, open_unit_gauge

    open_file("/proc/self", "stat").close()  # As it opens those of a cgroup, where this process has none.
    hierarchy = cgroup.find_hierarchy()
    group = cgroup.control_group_of("self")
    if hierarchy is None or group is None:
        return
    for open_gauge in (open_unit_gauge, open_sum_gauge):
        try:
            gauge: Gauge = open_gauge(hierarchy.directory(group), hierarchy, settings)
        except OSError:
            continue
        gauge.look()
        gauge.look_closer()
        gauge.close()
