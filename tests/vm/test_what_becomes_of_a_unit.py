"""A service that is never restarted, masked, deleted, defined anew: the shipped monitor of it knows."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import DEADLINE_S, Leaky, eventually, property_of, run
from shipped import RESTARTS, Monitored, Shipped, start, stop

INSTALLED = Path("/usr/lib/systemd/system")
NAMES = ("final", "crashing", "hidden", "deleted", "redefined")
LIMIT = "MemoryMax=40M\n"


class Pair:
    """A service that runs, and the monitor of it that is shipped."""

    def __init__(self, name: str, service: str = LIMIT + RESTARTS) -> None:
        # Not in /run, where a unit file would be before the mask of systemctl mask --runtime.
        self.service = Monitored(name, service=service, units=INSTALLED)
        self.monitor = Shipped(name)


@pytest.fixture(scope="module")
def pairs() -> Iterator[dict[str, Pair]]:
    """All the services and their monitors, started at the same time."""
    services = {"final": LIMIT, "crashing": "", "redefined": LIMIT + "ExecReload=/bin/kill -HUP $MAINPID\n"}
    pairs = {name: Pair(name, services.get(name, LIMIT + RESTARTS)) for name in NAMES}
    run("systemctl", "enable", "--runtime", *(pair.monitor.unit for pair in pairs.values()))
    start(*(pair.service for pair in pairs.values()))
    eventually(
        lambda: all(property_of(pair.monitor.unit, "ActiveState") == "active" for pair in pairs.values()),
        "all monitors are ready",
        deadline_s=2 * DEADLINE_S,
    )
    yield pairs
    run("systemctl", "disable", "--runtime", *(pair.monitor.unit for pair in pairs.values()))
    for pair in pairs.values():
        stop(pair.monitor, pair.service)
        pair.service.file.unlink(missing_ok=True)
    run("systemctl", "reset-failed", pairs["crashing"].service.unit)


def grow_until_asked(service: Leaky) -> None:
    asked = service.said.count("SIGTERM")
    service.tell("grow 35")
    service.wait_for("SIGTERM", asked + 1)


def test_with_restart_no_it_is_asked_and_stays_down_and_the_monitor_ends(pairs: dict[str, Pair]) -> None:
    pair = pairs["final"]
    grow_until_asked(pair.service)
    pair.monitor.wait_until_ended()
    assert pair.service.said == ["started", "grow 35", "SIGTERM"]
    assert property_of(pair.service.unit, "ActiveState") == "inactive"


def test_without_a_limit_the_threshold_is_a_share_of_the_machines_memory(pairs: dict[str, Pair]) -> None:
    total_kib = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines())
    begun = pairs["crashing"].monitor.wait_for(r"^crashing\.service: ok: unreclaimable ")
    said = re.search(r" of ([\d.]+) (MiB|GiB), 90% of the machine \(no MemoryMax=\)$", begun)
    assert said is not None, begun
    limit, unit = said.groups()
    limit_mib = float(limit) * {"MiB": 1, "GiB": 1024}[unit]
    # One digit behind the point is shown.
    assert limit_mib == pytest.approx(0.9 * total_kib / 1024, abs=0.1 * {"MiB": 1, "GiB": 1024}[unit])


def test_one_that_crashes_and_is_not_restarted_ends_it(pairs: dict[str, Pair]) -> None:
    pair = pairs["crashing"]
    os.kill(pair.service.pid, signal.SIGKILL)
    pair.monitor.wait_until_ended()
    assert property_of(pair.service.unit, "ActiveState") == "failed"


def test_one_masked_while_it_runs_is_asked_all_the_same_and_ends_it(pairs: dict[str, Pair]) -> None:
    pair = pairs["hidden"]
    run("systemctl", "mask", "--runtime", pair.service.unit)
    try:
        grow_until_asked(pair.service)
        pair.monitor.wait_for(r"^hidden\.service: signalled: .*\(KillUnit\)$")
        pair.monitor.wait_until_ended()
    finally:
        run("systemctl", "unmask", "--runtime", pair.service.unit)
    run("systemctl", "start", pair.service.unit)
    pair.monitor.wait_for(r"^hidden\.service: ok: ", 2)


def test_one_deleted_while_it_runs_is_asked_all_the_same_and_ends_it(pairs: dict[str, Pair]) -> None:
    pair = pairs["deleted"]
    text = pair.service.file.read_text()
    pair.service.file.unlink()
    run("systemctl", "daemon-reload")
    grow_until_asked(pair.service)
    pair.monitor.wait_for(r"^deleted\.service: signalled: .*\(KillUnit\)$")
    pair.monitor.wait_until_ended()
    pair.service.file.write_text(text)
    run("systemctl", "daemon-reload")
    run("systemctl", "start", pair.service.unit)
    pair.monitor.wait_for(r"^deleted\.service: ok: ", 2)


def test_a_reload_leaves_it_alone_and_a_new_limit_is_followed(pairs: dict[str, Pair]) -> None:
    pair = pairs["redefined"]
    before = pair.monitor.process
    run("systemctl", "reload", pair.service.unit)
    pair.service.wait_for("SIGHUP")
    pair.service.define(service="MemoryMax=80M\n")
    run("systemctl", "daemon-reload")
    # On Debian 13 the unit that runs didn't get its new limit from that alone.
    run("systemctl", "set-property", "--runtime", pair.service.unit, "MemoryMax=80M")
    pair.monitor.wait_for(r"^redefined\.service: the threshold is now 72 MiB")
    assert pair.service.said == ["started", "SIGHUP"]
    assert pair.monitor.process == before
