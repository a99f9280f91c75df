"""1,000 looks at 1, 10 and 300 units with the real systemd: no allocator call, no page fault, no memory call.

Real: the monitor as a service, its watchdog and its status, the cgroups with their memory controller. Not
real: all of the units but one are cgroups made by mkdir(2), empty and unknown to systemd, since 300 services
take an emulated machine minutes to start.
"""

import mmap
import re
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit import CGROUPS, WORK, MonitorUnit, Service, eventually, faults_of, run

LOOKS = 1000
LIBRARY = Path("/srv/count_calls.so")
SOURCE = Path(__file__).parents[1] / "audit" / "count_calls.c"
ALLOCATOR = ("malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc", "memalign")
MEMORY_CALLS = ("mmap", "munmap", "mremap", "brk", "madvise")
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


@contextmanager
def traced(pid: int) -> Iterator[list[str]]:
    """The memory calls of a process meanwhile; complete after it."""
    path, calls = WORK / f"strace-{pid}", list[str]()
    trace = ("strace", "-f", "-qq", "-e", f"trace={','.join(MEMORY_CALLS)}", "-o", str(path), "-p", str(pid))
    with subprocess.Popen(trace, stderr=subprocess.DEVNULL) as tracer:
        try:
            tracing = f"TracerPid:\t{tracer.pid}\n"
            eventually(lambda: tracing in Path(f"/proc/{pid}/status").read_text(), "strace is attached")
            yield calls
        finally:
            tracer.terminate()
    calls += re.findall(rf"\b(?:{'|'.join(MEMORY_CALLS)})\(.*", path.read_text())


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
        maps, faults, before = Path(f"/proc/{pid}/maps").read_text(), faults_of(pid), counts.read()

        def looked() -> bool:
            return counts.read()["read"] - before["read"] >= LOOKS * number

        # With 300, strace stops the monitor 600 times at each look: minutes here. Where no allocator is
        # called and no mapping has changed, only a mapping that came and went could be missed.
        calls: list[str] = []
        if number < 300:
            with traced(pid) as calls:
                eventually(looked, f"{LOOKS} looks", DEADLINE_S)
        else:
            eventually(looked, f"{LOOKS} looks", DEADLINE_S)
        after = counts.read()
        faults_after, maps_after = faults_of(pid), Path(f"/proc/{pid}/maps").read_text()
    asked = {name: after[name] - before[name] for name in after}
    looks = asked["read"] // number
    allocator_calls = sum(asked[name] for name in ALLOCATOR)
    print(
        f"{looks} looks at {number}: {allocator_calls} allocator calls, {faults} -> {faults_after}, {calls}"
    )
    assert allocator_calls == 0, asked
    assert faults_after == faults
    assert calls == []
    assert maps_after == maps
    assert asked["send"] >= 1, "no ping for the watchdog"
