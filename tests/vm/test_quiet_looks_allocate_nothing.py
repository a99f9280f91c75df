"""1,000 looks at 1, 10 and 300 units with the real systemd: no allocator call, no page fault, no memory call.

Real: the monitor as a service, its watchdog and its status, the cgroups with their memory controller. Not
real: all of the units but one are cgroups made by mkdir(2), empty and unknown to systemd, since 300 services
take an emulated machine minutes to start.
"""

import mmap
import re
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kit import CGROUPS, MonitorUnit, Service, eventually, run

from tests.audit.counting import Asked

LOOKS = 1000
NUMBERS = (1, 10, 300)
LIBRARY = Path("/srv/count_calls.so")
SOURCE = Path(__file__).parents[1] / "audit" / "count_calls.c"
ALLOCATOR = ("malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc", "memalign")
DEADLINE_S = 240.0


class Counts:
    """What the preloaded library counts of one process, by name."""

    def __init__(self, path: Path) -> None:
        found = re.search(r'count_calls_names =\s*"([^"]*)"\s*"([^"]*)";', SOURCE.read_text())
        assert found is not None, f"no names in {SOURCE}"
        self._names = (found[1] + found[2]).split()
        path.write_bytes(bytes(mmap.PAGESIZE))
        path.chmod(0o666)
        with path.open("rb") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE, prot=mmap.PROT_READ)

    def read(self) -> dict[str, int]:
        return dict(zip(self._names, struct.unpack_from(f"={len(self._names)}Q", self._page), strict=True))


@contextmanager
def units(number: int) -> Iterator[str]:
    """So many below a slice of their own, and the pattern that names them."""
    group = f"quiet{number}.slice"
    with Service(f"quiet{number}@0.service", properties=(f"Slice={group}", "MemoryAccounting=yes")):
        made = [CGROUPS / group / f"quiet{number}@{instance}.service" for instance in range(1, number)]
        for directory in made:
            directory.mkdir()
        try:
            yield f"quiet{number}@*.service"
        finally:
            for directory in made:
                directory.rmdir()
            run("systemctl", "stop", group)


def started(number: int, stack: ExitStack) -> int:
    """The PID of a monitor of so many units, all of which it has found; what it calls is counted."""
    environment = f"LD_PRELOAD={LIBRARY} COUNT_CALLS_FILE={counted_in(number)} PYTHONMALLOC=malloc"
    options = ("-m", "1G", "-i", "10ms", stack.enter_context(units(number)))
    properties = (f"Environment={environment}", "WatchdogSec=20")
    monitor = stack.enter_context(MonitorUnit(f"quiet{number}.service", *options, properties=properties))
    monitor.wait_for(": ok: ", number)
    return monitor.pid


def counted_in(number: int) -> Path:
    return Path("/dev/shm", f"counts-{number}")


def mapped(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def test_1000_quiet_looks() -> None:
    """At all of them at the same time: one after the other they take three times as long."""
    counts = {number: Counts(counted_in(number)) for number in NUMBERS}
    with ExitStack() as monitors:
        pids = {number: started(number, monitors) for number in NUMBERS}
        maps = {number: mapped(pid) for number, pid in pids.items()}
        before = {number: counts[number].read() for number in NUMBERS}

        def calls(number: int) -> dict[str, int]:
            return {name: count - before[number][name] for name, count in counts[number].read().items()}

        def have_looked() -> bool:
            return all(calls(number)["read"] >= LOOKS * number for number in NUMBERS)

        with ExitStack() as counting:
            # strace stops the monitor at each call: with 300 units that is 600 times at each look. Where no
            # allocator is called and no mapping has changed, what could be missed is one that came and went.
            asked = {
                number: counting.enter_context(Asked(pid, traced=number == 1)) for number, pid in pids.items()
            }
            eventually(have_looked, f"{LOOKS} looks of each", DEADLINE_S)
        called = {number: calls(number) for number in NUMBERS}
        maps_after = {number: mapped(pid) for number, pid in pids.items()}
    for number in NUMBERS:
        looks = called[number]["read"] // number
        allocator_calls = sum(called[number][name] for name in ALLOCATOR)
        print(f"{looks} looks at {number}: {allocator_calls} allocator calls, {asked[number]}")
        assert allocator_calls == 0, called[number]
        assert asked[number].is_nothing, asked[number].detail
        assert called[number]["send"] >= 1, "no ping for the watchdog"
    assert maps_after == maps
