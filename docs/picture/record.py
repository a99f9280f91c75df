"""Records what the picture shows: the memory of a service that leaks and is asked to restart.

Run in the test machine, which has a real systemd (see draw.py). The service has MemoryMax=200M, reads a
file of 300 MB again and again, leaks 4 MiB every half second, and takes 2 s to finish its work;
memory-monitor@ has MAX_MEMORY=80%. Each line is the time in seconds, memory.current and what of it is
unreclaimable in bytes, and what happened (SIGTERM: the service got it; started: it started afresh).
Nothing is measured while there is no cgroup.
"""

import csv
import sys
import time
from pathlib import Path

from kit import Service, run

SECONDS = 75.0
SAMPLE_S = 0.2
LEAK_S = 0.5
UNIT = "photos"
RECLAIMABLE = ("inactive_file", "active_file", "slab_reclaimable")


def sample(cgroup: Path) -> tuple[int, int] | None:
    """memory.current and its unreclaimable part, in bytes; None where the cgroup is gone."""
    try:
        current = int((cgroup / "memory.current").read_text())
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except OSError:
        return None
    return current, max(0, current - sum(int(stat[key]) for key in RECLAIMABLE))


def record(service: Service) -> list[tuple[float, str, str, str]]:
    """The lines of the file, by time."""
    rows = []
    cgroup = service.cgroup
    begun_s = now_s = time.monotonic()
    leak_at_s = begun_s + LEAK_S
    while now_s < begun_s + SECONDS:
        values = sample(cgroup)
        current, unreclaimable = map(str, values) if values else ("", "")
        rows.append((now_s - begun_s, current, unreclaimable, ""))
        if now_s >= leak_at_s:
            leak_at_s += LEAK_S
            leak(service)
        time.sleep(SAMPLE_S)
        now_s = time.monotonic()
    events = (("SIGTERM", at_s) for at_s in service.times_s("SIGTERM"))
    starts = (("started", at_s) for at_s in service.times_s("started")[1:])
    rows += [(at_s - begun_s, "", "", what) for what, at_s in (*events, *starts)]
    return sorted(rows)


def leak(service: Service) -> None:
    """Orders 4 MiB more, and doesn't wait: while it finishes its work nobody obeys."""
    with (service.directory / "orders").open("r+b", buffering=0) as orders:
        orders.write(b"grow 4\n")


def main() -> None:
    """Writes the file to stdout."""
    Path("/etc/memory-monitor").mkdir(exist_ok=True)
    Path(f"/etc/memory-monitor/{UNIT}.conf").write_text("MAX_MEMORY=80%\n")
    limit = ("MemoryMax=200M",)
    with Service(f"{UNIT}.service", "drain 2", "cache 300", properties=limit, restart=True) as service:
        run("systemctl", "start", f"memory-monitor@{UNIT}")
        rows = record(service)
    write = csv.writer(sys.stdout, lineterminator="\n")
    write.writerow(("time_s", "current_bytes", "unreclaimable_bytes", "event"))
    write.writerows((f"{at_s:.2f}", *rest) for at_s, *rest in rows)


main()
