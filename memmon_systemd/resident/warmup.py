"""Every path that the monitor may take, walked once with nobody there: nothing new is met later."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from itertools import count

from memmon_systemd.linux import cgroup
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.loop import Monitor
from memmon_systemd.monitor.policy import State
from memmon_systemd.monitor.report import Report
from memmon_systemd.monitor.schedule import Ladder
from memmon_systemd.monitor.source import Loop
from memmon_systemd.monitor.target import Outcome, Roster, Target, Waiter
from memmon_systemd.output.notify import Notifier
from memmon_systemd.output.sink import Sink
from memmon_systemd.processes.table import process_table
from memmon_systemd.settings import Metric, Settings

_GIB = 1 << 30
_LIMITS_BYTES = count(1000 * _GIB)
"""Another limit each time: a ladder that is known already would not be made."""
_READINGS = (10 * _GIB, 900 * _GIB, 2000 * _GIB, 2000 * _GIB, 2000 * _GIB, 900 * _GIB, -1)
"""Far below, near, over, signalled, over again, within again, gone.

Python goes other ways with small numbers.
"""
_STEP_S = 10.0


class _Unwritten:
    """A log whose lines go all the way to the real one and aren't written."""

    dropped = 0

    def __init__(self, sink: Sink) -> None:
        self.write = self.rehearse = sink.rehearse


class _Script(Gauge):
    """Readings from a list; -1 is a cgroup that was removed."""

    __slots__ = ("readings",)

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            settings.metric or Metric.CURRENT,
            Ladder.climb(next(_LIMITS_BYTES), settings.interval_s, settings.growth_bytes_per_s),
        )
        self.readings = list(_READINGS)

    def measure(self) -> int:
        reading = self.readings[0]
        if reading < 0:
            raise FileNotFoundError(2, "gone")
        return reading


class _Actor(Target):
    """A target that fails, then does as asked."""

    __slots__ = ("asked",)

    def __init__(self) -> None:
        super().__init__("rehearsal.service", "rehearsal.service", _STEP_S)
        self.asked = 0

    def is_same(self) -> bool:
        return True

    def act(self, now_s: float) -> Outcome:
        self.asked += 1
        return Outcome(done=self.asked > 1, what="a rehearsal")

    def lost(self, now_s: float) -> None:
        self.ended = True
        self.enter(State.WAITING, now_s)


class _NoSource:
    due_s = float("inf")
    slack_s = 0.0

    def refresh(self, now_s: float) -> None:
        """Nothing comes."""

    def is_finished(self) -> bool:
        return False

    def has_targets(self) -> bool:
        return True


def walk_the_loop(settings: Settings, sink: Sink) -> None:
    """A target's whole life by the real monitor, with a clock of its own and a log to nowhere."""
    notifier = Notifier(None, None, None)
    loop = Loop(Roster(), Waiter(), Report(settings, _Unwritten(sink), notifier))
    clock = [0.0]
    monitor = Monitor(settings, [_NoSource()], loop, notifier, clock=lambda: clock[0])
    target, gauge = _Actor(), _Script(settings)
    loop.report.waiting(target.name, target.unit, "rehearsal")
    loop.report.warn("rehearsal")
    loop.report.bug(OSError("rehearsal"))
    loop.roster.add(target)
    target.begin(gauge, clock[0])
    loop.report.began(target)
    while gauge.readings:
        target.look_at(clock[0])
        monitor.look_around()
        clock[0] += _STEP_S
        del gauge.readings[0]


def walk_the_machine(settings: Settings) -> None:
    """This very process and its cgroup, measured and (with signal 0) signalled like a target."""
    table = process_table()
    table.ancestors()
    process = table.open(os.getpid())
    process.rss_bytes()
    if settings.metric is Metric.PSS:
        process.pss_bytes()
    if settings.swap:
        process.swap_bytes()
    cgroup.limit_above(process.pid, cgroup.find_hierarchy())
    process.is_still(os.fsencode(process.name))
    process.send(0)
    process.close()
    with suppress(OSError):
        table.open(2**22 + 1)  # No PID is as high; the way of a process that has ended.
    for number in errno.errorcode:
        os.strerror(number)  # The C library has these texts on three pages, and any error may come.


def walk_the_cgroup(settings: Settings) -> None:
    """A unit's gauge on the cgroup that this process runs in, whichever files it has."""
    from memmon_systemd.units.gauge import open_sum_gauge, open_unit_gauge

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
