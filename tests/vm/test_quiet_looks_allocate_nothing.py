"""1,000 looks at 1, 10 and 300 units with the real systemd: no allocator call, no page fault, no memory call.

Real: the monitor as a service, its watchdog and its status, the cgroups with their memory controller. Not
real: all of the units but one are cgroups made by mkdir(2), empty and unknown to systemd, since 300 services
take an emulated machine minutes to start.
"""

import mmap
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit import CGROUPS, MonitorUnit, Service, eventually, run

from tests.audit.counting import Asked

LOOKS = 1000
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


@pytest.mark.parametrize("number", [1, 10, 300])
def test_1000_quiet_looks(number: int) -> None:
    counts = Counts(Path("/dev/shm", f"counts-{number}"))
    environment = f"LD_PRELOAD={LIBRARY} COUNT_CALLS_FILE=/dev/shm/counts-{number} PYTHONMALLOC=malloc"
    properties = (f"Environment={environment}", "WatchdogSec=20")
    options = ("-m", "1G", "-i", "10ms")
    with (
        units(number) as pattern,
        MonitorUnit(f"quiet{number}.service", *options, pattern, properties=properties) as monitor,
    ):
        pid = monitor.pid
        eventually(
            lambda: len([line for line in monitor.lines if ": ok: " in line]) >= number, "all are found"
        )
        maps, before = Path(f"/proc/{pid}/maps").read_text(), counts.read()

        def looked() -> bool:
            return counts.read()["read"] - before["read"] >= LOOKS * number

        # With 300, strace stops the monitor 600 times at each look: minutes here. Where no allocator is
        # called and no mapping has changed, only a mapping that came and went could be missed.
        with Asked(pid, traced=number < 300) as asked:
            eventually(looked, f"{LOOKS} looks", DEADLINE_S)
        after, maps_after = counts.read(), Path(f"/proc/{pid}/maps").read_text()
    calls = {name: after[name] - before[name] for name in after}
    looks = calls["read"] // number
    allocator_calls = sum(calls[name] for name in ALLOCATOR)
    print(f"{looks} looks at {number}: {allocator_calls} allocator calls, {asked}")
    assert allocator_calls == 0, calls
    assert asked.is_nothing, asked.detail
    assert maps_after == maps
    assert calls["send"] >= 1, "no ping for the watchdog"
