"""What a scrape of 1,000 units costs: python -m tests.bench.scrapes

The exporter is the whole program, its cgroups are plain files in memory with a memory.stat as long as that of
Linux 6.1: the kernel's work of summing up isn't in it.
"""

import os
import shutil
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

from memmon_systemd.output.record import Record
from tests.process.exporter import Exporter, make_state_file

UNITS: Final = 1000
SCRAPES: Final = 50
MIB: Final = 1 << 20
FORMS: Final = (
    # Of Prometheus 2, of Prometheus 3, and of others.
    "application/openmetrics-text;version=1.0.0",
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
    "text/plain;version=0.0.4",
)
KEYS: Final = (
    *("anon", "file", "kernel", "kernel_stack", "pagetables", "sec_pagetables", "percpu", "sock", "vmalloc"),
    *("shmem", "zswap", "zswapped", "file_mapped", "file_dirty", "file_writeback", "swapcached", "anon_thp"),
    *("file_thp", "shmem_thp", "inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable"),
    *("slab_reclaimable", "slab_unreclaimable", "slab", "workingset_refault_anon", "workingset_refault_file"),
    *("workingset_activate_anon", "workingset_activate_file", "workingset_restore_anon", "pgscan", "pgsteal"),
    *(
        "workingset_restore_file",
        "workingset_nodereclaim",
        "pgscan_kswapd",
        "pgscan_direct",
        "pgsteal_kswapd",
    ),
    *("pgsteal_direct", "pgfault", "pgmajfault", "pgrefill", "pgactivate", "pgdeactivate", "pglazyfree"),
    *("pglazyfreed", "zswpin", "zswpout", "thp_fault_alloc", "thp_collapse_alloc"),
)


def make_units(top: Path) -> list[Record]:
    """Files as those of cgroups, and the record of each."""
    stat = "".join(f"{key} {number * 4096}\n" for number, key in enumerate(KEYS))
    records = []
    for number in range(UNITS):
        directory = top / "system.slice" / f"worker@{number}.service"
        directory.mkdir(parents=True)
        (directory / "memory.current").write_text(f"{50 * MIB}\n")
        (directory / "memory.stat").write_text(stat)
        (directory / "memory.max").write_text(f"{100 * MIB}\n")
        records.append(
            Record(
                directory.name,
                state="ok",
                cgroup=str(directory),
                metric="unreclaimable",
                threshold_bytes=80 * MIB + number,
                action="signal",
                begun_s=1.0,
                requests=3,
                last_request_s=1795848738.25,
            )
        )
    return records


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(exporter: Exporter, accept: str) -> str:
    """A line for the table of docs/prometheus.md."""
    size = len(exporter.get(Accept=accept)[1])
    waited_ms = []
    begun_s = cpu_s(exporter.process.pid)
    for _ in range(SCRAPES):
        before_s = time.perf_counter()
        exporter.get(Accept=accept)
        waited_ms.append((time.perf_counter() - before_s) * 1000)
    spent_ms = (cpu_s(exporter.process.pid) - begun_s) / SCRAPES * 1000
    median, least, greatest = statistics.median(waited_ms), min(waited_ms), max(waited_ms)
    return (
        f"| {accept} | {median:.0f} ms ({least:.0f} to {greatest:.0f}) | {spent_ms:.0f} ms | {size:,} bytes |"
    )


def main() -> None:
    """Prints the table."""
    top = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        # As /run/memory-monitor: nothing else is below it, the exporter looks through its directories.
        states = top / "run"
        states.mkdir()
        kept = make_state_file(states / "memory-monitor.state", make_units(top))
        with Exporter(states, top / "log") as exporter:
            print(f"prometheus_client {version('prometheus_client')}, load {os.getloadavg()[0]:.1f}")
            for accept in FORMS:
                print(measure(exporter, accept))
        del kept
    finally:
        shutil.rmtree(top)


if __name__ == "__main__":
    main()
