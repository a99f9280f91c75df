"""memory-monitor, altered in one thing or another for the audit; the rest of it is the real one.

    python3 altered.py CHANGE,... ARGUMENTS...

The arguments are memory-monitor's. A CHANGE is one of

    no-rehearsal        no path is walked before READY
    no-reserve          no memory is taken and kept for later
    no-lock             nothing is locked
    evicted-start-up    what start-up touched is evicted before the rehearsal: only what that needs comes back
    plants-an-object    each look at a unit makes an object that stays
    plants-a-page       each look at a unit maps a page and touches it
    units-in=DIRECTORY  the units' cgroups are below this directory, on any file system
    runtime-in=DIRECTORY  the manager's runtime directory, which a reload shows in, is below this directory
    own-service=UNIT    this process is the main process of that unit
    collects-soon       garbage is collected after 50 new objects, not 700
    collects-when-told  at SIGUSR2 all garbage is collected, which it says
    clock-times=N       its clock runs so many times as fast, and its waits are as much shorter
"""

import ctypes
import gc
import mmap
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

# Any: what is replaced are functions of any kind.

_MADV_RANDOM: Final = 1
_MADV_PAGEOUT: Final = 21
COLLECTED: Final = "collected"
kept: list[object] = []


def replace(owner: object, name: str, value: object) -> None:
    """Put something else in the place of what must be there."""
    getattr(owner, name)
    setattr(owner, name, value)


def nothing(*_: object) -> None:
    """Instead of what is gone without."""


def no_rehearsal() -> None:
    from memmon_systemd.resident import lock

    real: Callable[..., object] = lock.reserve_and_lock
    replace(lock, "reserve_and_lock", lambda libc, _, small_bytes: real(libc, nothing, small_bytes))


def no_reserve() -> None:
    from memmon_systemd.linux.libc import Libc
    from memmon_systemd.resident import lock

    replace(lock, "Reserve", nothing)
    replace(Libc, "keep_freed_memory", lambda _: True)


def no_lock() -> None:
    from memmon_systemd.linux.libc import Libc

    replace(Libc, "lock_memory", nothing)
    replace(Libc, "lock_range", nothing)


def evicted_start_up() -> None:
    from memmon_systemd.resident import lock

    real: Callable[..., object] = lock.reserve_and_lock

    def evict_and_settle(*arguments: object, **options: object) -> object:
        evict_this_process()
        return real(*arguments, **options)

    replace(lock, "reserve_and_lock", evict_and_settle)


def evict_this_process() -> None:
    """Have the kernel take all that can be read again from files, and read none of it ahead.

    Anonymous memory stays where there is no swap.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for line in Path("/proc/self/maps").read_text().splitlines():
        if re.search(r"\[v\w+\]$", line):
            continue
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        for advice in (_MADV_RANDOM, _MADV_PAGEOUT):
            if libc.madvise(start, end - start, advice) != 0:
                raise OSError(ctypes.get_errno(), f"{line}: {os.strerror(ctypes.get_errno())}")


def plants(plant: Callable[[], None]) -> None:
    from memmon_systemd.units.gauge import UnitGauge

    real: Callable[[Any], Any] = UnitGauge.look

    def look(gauge: object) -> object:
        plant()
        return real(gauge)

    replace(UnitGauge, "look", look)


def plant_page() -> None:
    page = mmap.mmap(-1, mmap.PAGESIZE)
    page[0] = 1
    kept.append(page)


def units_in(directory: str) -> None:
    from memmon_systemd.linux import cgroup

    hierarchy = cgroup.Hierarchy(directory, memory=True)
    replace(cgroup, "find_hierarchy", lambda: hierarchy)


def runtime_in(directory: str) -> None:
    from memmon_systemd.units import reload_watch

    replace(reload_watch, "runtime_directory", lambda _environ, **_: directory)


def own_service(unit: str) -> None:
    from memmon_systemd import own_settings

    replace(own_settings, "own_service", lambda _: unit)


def collect_when_told() -> None:
    def collect(*_: object) -> None:
        gc.collect()
        os.write(2, f"{COLLECTED}\n".encode())

    signal.signal(signal.SIGUSR2, collect)


def clock_times(times_text: str) -> None:
    """Before the monitor is imported: its functions take time.monotonic for a default."""
    times, real_clock = float(times_text), time.monotonic
    origin_s = real_clock()
    replace(time, "monotonic", lambda: origin_s + (real_clock() - origin_s) * times)
    from memmon_systemd.monitor.poller import Poller

    real_wait: Callable[..., bool] = Poller.wait
    replace(Poller, "wait", lambda self, longest_s, clock: real_wait(self, longest_s / times, clock))


CHANGES: Final[dict[str, Callable[..., None]]] = {
    "clock-times": clock_times,  # the first, see there
    "no-rehearsal": no_rehearsal,
    "no-reserve": no_reserve,
    "no-lock": no_lock,
    "evicted-start-up": evicted_start_up,
    "plants-an-object": partial(plants, lambda: kept.append(object())),
    "plants-a-page": partial(plants, plant_page),
    "units-in": units_in,
    "runtime-in": runtime_in,
    "own-service": own_service,
    "collects-soon": partial(gc.set_threshold, 50, 1, 1),
    "collects-when-told": collect_when_told,
}


def main() -> int:
    """memory-monitor's exit status."""
    asked = {name: value for name, _, value in (text.partition("=") for text in sys.argv[1].split(","))}
    unknown = asked.keys() - CHANGES.keys()
    if unknown:
        sys.exit(f"altered.py: {', '.join(unknown)}: use {', '.join(CHANGES)}")
    for name, change in CHANGES.items():
        if name in asked:
            change(*([asked[name]] if asked[name] else []))
    del sys.argv[1]
    from memmon_systemd import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
