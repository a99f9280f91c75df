"""A unit that hits its MemoryHigh= or MemoryMax= is looked at at once, however long the interval is."""

import time
from collections.abc import Iterator

import pytest
from kit import Monitor, Service, eventually, reads_of
from shipped import Monitored, Shipped, start, stop

LIMITS = ("MemoryHigh=45M", "MemoryMax=45M")
# The next look by the clock would be after 50 minutes.
CONFIGURATION = "MAX_MEMORY=24\nINTERVAL=1h\nSIGNAL=SIGUSR1\n"


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, Monitored]]:
    """A service for each of the limits, and the shipped monitor of both."""
    services = {
        limit: Monitored(f"evented-{number}", service=f"{limit}\n") for number, limit in enumerate(LIMITS)
    }
    monitor = Shipped.of_many("evented", "evented-*.service", CONFIGURATION)
    start(*services.values(), monitor)
    yield services
    stop(monitor, *services.values())


@pytest.mark.parametrize("limit", LIMITS)
def test_it_does_not_wait_for_the_interval(services: dict[str, Monitored], limit: str) -> None:
    service = services[limit]
    service.tell("grow 30")
    assert "SIGUSR1" not in service.said
    service.tell("cache 100")
    service.wait_for("SIGUSR1")
    at_the_limit_s, (signalled_s, *_) = service.times_s("cache 100")[0], service.times_s("SIGUSR1")
    print(f"{signalled_s - at_the_limit_s:.2f} s after it began to read")


def test_a_unit_full_of_page_cache_at_its_limit_does_not_keep_it_awake() -> None:
    with (
        Service("full.service", "cache 100", properties=("MemoryMax=45M",)) as service,
        Monitor("-m", "30", "-i", "1", "-s", "USR1", "full.service") as monitor,
    ):
        events = service.cgroup / "memory.events"

        def times_at_the_limit() -> int:
            words = events.read_text().split()
            return int(words[words.index("max") + 1])

        times, reads, begun_s = times_at_the_limit(), reads_of(monitor.pid), time.monotonic()
        # In 1 s at most: 3 for an event that proved nothing, 1 to end it, and 3 for a look by the clock.
        eventually(lambda: reads_of(monitor.pid) >= reads + 21, "it reads 21 times")
        assert time.monotonic() - begun_s > 1.5
        assert times_at_the_limit() - times > 100
        assert "SIGUSR1" not in service.said
