"""A service that fills its MemoryMax= with page cache is in no danger, and isn't signalled by default."""

import pytest
from kit import MIB, Monitor, Service


@pytest.mark.parametrize("order", ["cache 45", "write 100"])
def test_only_memory_current_has_it_signalled_until_it_really_grows(order: str) -> None:
    options = ("-m", "30", "-i", "0.5", "--repeat", "1", "caching.service")
    with (
        Service("caching.service", order, properties=("MemoryMax=60M",)) as service,
        Monitor("-s", "USR1", "--metric", "current", *options),
        Monitor("-s", "USR2", *options),
    ):
        service.wait_for("SIGUSR1", 4)
        assert int((service.cgroup / "memory.current").read_text()) > 40 * MIB
        assert "SIGUSR2" not in service.said
        service.tell("grow 40")
        service.wait_for("SIGUSR2")
