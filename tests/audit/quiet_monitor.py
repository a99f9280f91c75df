"""The real monitor on a unit's files below a directory, without systemd: for the audit to count.

    python3 quiet_monitor.py DIRECTORY LIMIT_BYTES INTERVAL_S

Everything is as `run` builds it, settled and READY, but for the source: a target whose gauge is
opened on the directory's memory.current, which on any machine may be a plain file.
"""

import os
import sys
from pathlib import Path

from memmon_systemd import rehearsal
from memmon_systemd.ladder import Ladder
from memmon_systemd.libc import Libc
from memmon_systemd.monitor import Monitor
from memmon_systemd.notify import Notifier
from memmon_systemd.report import Report
from memmon_systemd.settings import Metric, Settings, Size
from memmon_systemd.settle import settle
from memmon_systemd.sink import open_sink
from memmon_systemd.source import Loop
from memmon_systemd.target import NEVER, Outcome, Roster, Target, Waiter
from memmon_systemd.unitgauge import UnitGauge


class FileTarget(Target):
    """A unit that nobody can ask to go."""

    def is_same(self) -> bool:
        return True

    def act(self, now_s: float) -> Outcome:
        return Outcome(done=True, what="counted as asked")

    def lost(self, now_s: float) -> None:
        self.ended = True


class NoSource:
    """Nothing comes and nothing goes."""

    due_s = NEVER

    def refresh(self, now_s: float) -> None:
        """Nothing comes."""

    def is_finished(self) -> bool:
        return False

    def has_targets(self) -> bool:
        return True


def main() -> None:
    directory, limit_bytes, interval_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    settings = Settings(("audit.service",), Size(limit_bytes), interval_s=interval_s)
    notifier = Notifier.from_environment(os.environ)
    sink = open_sink(os.environ)
    loop = Loop(Roster(), Waiter(), Report(settings, sink, notifier))
    monitor = Monitor(settings, [NoSource()], loop, notifier)
    ladder = Ladder.climb(limit_bytes, interval_s, None)
    target = FileTarget("audit.service", None, 60.0)
    target.begin(UnitGauge(directory, Metric.UNRECLAIMABLE, False, ladder), 0.0)
    loop.roster.add(target)
    reserve, problem = settle(Libc(), lambda: rehearsal.walk_the_loop(settings, sink))
    if problem:
        loop.report.warn(problem)
    notifier.ready("audit")
    monitor.run()
    del reserve


if __name__ == "__main__":
    main()
