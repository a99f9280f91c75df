"""The real monitor on the files of several units below a directory, without systemd.

    python -m tests.bench.file_units DIRECTORY COUNT LIMIT_BYTES INTERVAL_S

All is as `run` builds it, settled and READY, but for the source: each unit is a directory with plain files in
the place of a cgroup's. Where the kernel has no memory controller of cgroup v2, this is as near as it gets.
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
from memmon_systemd.target import Roster, Waiter
from memmon_systemd.unitgauge import UnitGauge
from tests.audit.quiet_monitor import FileTarget, NoSource


def main() -> None:
    directory, count, limit_bytes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    interval_s = float(sys.argv[4])
    settings = Settings(("bench.service",), Size(limit_bytes), interval_s=interval_s)
    notifier = Notifier.from_environment(os.environ)
    loop = Loop(Roster(), Waiter(), Report(settings, open_sink(os.environ), notifier))
    monitor = Monitor(settings, [NoSource()], loop, notifier)
    for number in range(count):
        target = FileTarget(f"bench@{number}.service", None, 60.0)
        ladder = Ladder.climb(limit_bytes, interval_s, None)
        target.begin(UnitGauge(directory / str(number), Metric.UNRECLAIMABLE, False, ladder), 0.0)
        loop.roster.add(target)
    reserve, problem = settle(Libc(), lambda: rehearsal.walk_the_loop(settings))
    if problem:
        loop.report.warn(problem)
    notifier.ready("bench")
    monitor.run()
    del reserve


if __name__ == "__main__":
    main()
