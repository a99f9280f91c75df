"""Services at their MemoryMax= with page cache are in no danger, and the shipped unit never signals them."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from kit import MIB, eventually
from shipped import RESTARTS, Monitored, Shipped, start, stop

NAMES = ("reading", "writing")
BOTH = "reading.service writing.service"
LIMIT_MIB = 80


@dataclass(frozen=True)
class Caches:
    """One service that reads a file again and again, one that writes one, and two monitors of both."""

    services: tuple[Monitored, Monitored]
    default: Shipped
    current: Shipped


@pytest.fixture(scope="module")
def caches() -> Iterator[Caches]:
    """Both services at their limit, and both monitors ready."""
    service = f"MemoryMax={LIMIT_MIB}M\n{RESTARTS}"
    services = Monitored("reading", service=service), Monitored("writing", service=service)
    default = Shipped.of_many("default", BOTH)
    current = Shipped.of_many("current", BOTH, "SIGNAL=SIGUSR1\nOPTIONS=--metric current --repeat 1\n")
    start(*services, default, current)
    # A file that fits, and so is part of the working set, and one that is longer than that.
    services[0].tell(f"cache {LIMIT_MIB - 6}")
    services[1].tell(f"write {2 * LIMIT_MIB}")
    yield Caches(services, default, current)
    stop(default, current, *services)


def test_by_memory_current_they_are_signalled_again_and_again(caches: Caches) -> None:
    for service in caches.services:
        service.wait_for("SIGUSR1", 3)
        assert int((service.cgroup / "memory.current").read_text()) > 0.9 * LIMIT_MIB * MIB
        caches.current.wait_for(rf"^{service.unit}: signalled: current .* is above 72 MiB.*: sent SIGUSR1")


def test_by_default_they_never_are_until_they_really_grow(caches: Caches) -> None:
    for service in caches.services:
        assert service.said.count("SIGUSR1") >= 3
        assert service.said.count("SIGTERM") == 0
    assert not caches.default.lines_with(": (over|signalled): ")
    for service in caches.services:
        # Its file is cut short: dirty pages can't be dropped at once, and growth could end in an OOM kill.
        service.tell("cache 1")
        service.tell(f"grow {LIMIT_MIB - 11}")
    for service in caches.services:
        service.wait_for("started", 2)
        assert service.said.count("SIGTERM") == 1
    signalled = r"service: signalled: unreclaimable .* is above 72 MiB.*: sent SIGTERM to the main process"
    eventually(lambda: len(caches.default.lines_with(signalled)) == 2, "the lines that say so")
