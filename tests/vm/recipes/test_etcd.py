"""docs/recipes/etcd.md: three machines under one etcd, which here are three services with a monitor each."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kit import MonitorUnit, Service, eventually, property_of, run, write_unit
from recipes.page import Page, install
from recipes.service import assert_page_shows_this_run, forget_log

from memmon_systemd.options import KEYS

PAGE = Page("recipes/etcd.md")
DROP_IN = "/etc/systemd/system/shop.service.d/memory-monitor.conf"
NAMES = ("shop1", "shop2", "shop3")
LOG = Path("/var/tmp/restarts")
GO = Path("/var/tmp/restarts.go")
DEADLINE_S = 600.0
"""A command that asks etcd takes seconds here, and the last one waits for two others."""
PATIENT_ETCD = """\
# An answer that takes ten times as long isn't one that is missing.
ETCD_HEARTBEAT_INTERVAL=1000
ETCD_ELECTION_TIMEOUT=10000
"""


def options() -> list[str]:
    """What the page's section says, for a monitor of one service that isn't called shop."""
    pairs = re.findall(r"^(\w+)=(.*)$", PAGE.file(DROP_IN).text, re.MULTILINE)
    return [word for key, value in pairs for word in (KEYS[key].flags[-1], value)]


def properties_of(name: str) -> tuple[str, ...]:
    """Of a service that writes down when it goes and when it is back, which waits for GO."""
    return (
        "MemoryMax=100M",
        f"TimeoutStartSec={DEADLINE_S:g}",
        f"ExecStartPre=/bin/sh -c 'until test -e {GO}; do sleep 0.5; done'",
        f"ExecStartPost=/bin/sh -c 'echo up {name} >>{LOG}'",
        f"ExecStopPost=/bin/sh -c 'echo down {name} >>{LOG}'",
    )


@contextmanager
def etcd() -> Iterator[None]:
    """etcd runs."""
    Path("/etc/default/etcd").write_text(PATIENT_ETCD)
    write_unit("etcd.service.d/slow.conf", f"[Service]\nTimeoutStartSec={DEADLINE_S:g}\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "etcd")
    try:
        yield
    finally:
        run("systemctl", "stop", "etcd")


def say_what_happened() -> str:
    return run("journalctl", "--no-hostname", "-u", "shop*", "-u", "*restart-lock@*", "-u", "monitor-of-*")


def test_one_of_three_machines_restarts_at_a_time() -> None:
    install(*(file for file in PAGE.files if file.path != DROP_IN))
    forget_log()
    GO.touch()
    with etcd(), ExitStack() as stack:
        services = [
            stack.enter_context(Service(f"{name}.service", properties=properties_of(name), restart=True))
            for name in NAMES
        ]
        for name in NAMES:
            stack.enter_context(MonitorUnit(f"monitor-of-{name}", *options(), f"{name}.service"))
        LOG.write_text("")
        GO.unlink()
        for service in services:
            service.tell("grow 65")
        eventually(all_are_in_the_queue, "each has the lock or waits for it", DEADLINE_S, say_what_happened)
        GO.touch()
        eventually(
            lambda: LOG.read_text().count("up") == len(NAMES),
            "all three were restarted",
            DEADLINE_S,
            say_what_happened,
        )
        print(happened := say_what_happened(), LOG.read_text(), sep="\n")
        assert "it still runs" not in happened, "who waits is not refused"
        words = LOG.read_text().split()
        restarts = [words[at : at + 4] for at in range(0, len(words), 4)]
        assert sorted(restart[1] for restart in restarts) == sorted(NAMES)
        assert all(restart == ["down", restart[1], "up", restart[1]] for restart in restarts)
        for name in NAMES:
            wait_until_it_gave_the_lock_back(name)
        assert_page_shows_this_run(PAGE, "journalctl --no-hostname -u 'shop*' -u 'holds-restart-lock@*'")


def all_are_in_the_queue() -> bool:
    states = {property_of(f"holds-restart-lock@{name}.service", "ActiveState") for name in NAMES}
    return states <= {"activating", "active"}


def wait_until_it_gave_the_lock_back(name: str) -> None:
    holder = f"holds-restart-lock@{name}.service"
    eventually(
        lambda: property_of(holder, "ActiveState") == "inactive", holder, DEADLINE_S, say_what_happened
    )


def test_without_etcd_nobody_is_asked() -> None:
    install(*(file for file in PAGE.files if file.path != DROP_IN))
    with Service("shop1.service", properties=("MemoryMax=100M",), restart=True) as service:
        service.tell("grow 65")
        with MonitorUnit("monitor-of-shop1", *options(), "shop1.service") as monitor:
            monitor.wait_for(
                r"not asked: restart-lock@shop1\.service doesn't permit it: it failed", deadline_s=DEADLINE_S
            )
            assert "SIGTERM" not in service.said
