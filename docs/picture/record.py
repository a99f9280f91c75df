"""Records what the picture shows: the memory of a service that leaks and is asked to restart.

Run in the test machine, which has a real systemd (see draw.py). The service is photos.py, with
MemoryMax=200M; memory-monitor@ has MAX_MEMORY=80%. Each line is the time in seconds, memory.current and what
of it is unreclaimable in bytes, and what happened (SIGTERM: the service got it; started: it started afresh).
Nothing is measured while there is no cgroup.
"""

import csv
import sys
import time
from pathlib import Path

from kit import CGROUPS, eventually, journal, property_of, run, write_unit

SECONDS = 75.0
SAMPLE_S = 0.2
UNIT = "photos.service"
SERVICE = f"""\
[Service]
ExecStart=/usr/bin/python3 {Path(__file__).with_name("photos.py")} /var/tmp/photos
MemoryMax=200M
Restart=always
"""
RECLAIMABLE = ("inactive_file", "active_file", "slab_reclaimable")

Row = tuple[float, str, str, str]


def sample(cgroup: Path) -> tuple[str, str]:
    """memory.current and its unreclaimable part, in bytes; empty where there is no cgroup."""
    try:
        current = int((cgroup / "memory.current").read_text())
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except OSError:
        return "", ""
    return str(current), str(max(0, current - sum(int(stat[key]) for key in RECLAIMABLE)))


def record(begun_s: float) -> list[Row]:
    """The samples of SECONDS."""
    cgroup = CGROUPS / property_of(UNIT, "ControlGroup").strip("/")
    rows = []
    while time.monotonic() < begun_s + SECONDS:
        rows.append((time.monotonic() - begun_s, *sample(cgroup), ""))
        time.sleep(SAMPLE_S)
    return rows


def events(begun_s: float) -> list[Row]:
    """What the service said since then."""
    said = journal(f"_SYSTEMD_UNIT={UNIT}", "SYSLOG_IDENTIFIER=python3")
    times = [(int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6 - begun_s, entry["MESSAGE"]) for entry in said]
    return [(at_s, "", "", what) for at_s, what in times if 0 < at_s < SECONDS]


def main() -> None:
    """Writes the file to stdout."""
    Path("/etc/memory-monitor").mkdir(exist_ok=True)
    Path("/etc/memory-monitor/photos.conf").write_text("MAX_MEMORY=80%\n")
    write_unit(UNIT, SERVICE)
    monitor = "memory-monitor@photos.service"
    run("systemctl", "start", monitor)
    run("systemctl", "start", UNIT)
    begun_s = time.monotonic()
    eventually(lambda: "ok: " in property_of(monitor, "StatusText"), "it is measured")
    rows = record(begun_s)
    run("systemctl", "stop", UNIT)
    write = csv.writer(sys.stdout, lineterminator="\n")
    write.writerow(("time_s", "current_bytes", "unreclaimable_bytes", "event"))
    write.writerows((f"{at_s:.2f}", *rest) for at_s, *rest in sorted(rows + events(begun_s)))


main()
