"""What the soak looks at: its services, and what the monitor holds."""

from dataclasses import dataclass

import kit

from tests.audit.counting import held_by
from tests.bench.gauging import cpu_s, footprint


class Soaked(kit.Leaky):
    """One of the services, and what has been done to it."""

    def __init__(self, number: int) -> None:
        """soak@NUMBER.service, not started yet."""
        super().__init__(f"soak-{number}")
        self.unit = f"soak@{number}.service"
        self.expected = 0
        """So many SIGTERM it must have got by now."""

    def is_back(self, started: int) -> bool:
        return self.said.count("started") > started

    def grow_above(self) -> int:
        """Leak until it is above; how often it had started."""
        started = self.said.count("started")
        self.expected += 1
        self.tell("grow 35")
        return started


@dataclass(frozen=True, slots=True)
class Sample:
    """What the monitor holds."""

    rss_kib: int
    descriptors: int
    watches: int
    faults: int
    cpu_s: float

    @classmethod
    def of(cls, pid: int) -> "Sample":
        return cls(footprint(pid).rss, *held_by(pid), sum(kit.faults_of(pid)), cpu_s(pid))
