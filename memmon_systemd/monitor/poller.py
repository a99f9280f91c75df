"""The one place where the monitor waits."""

from __future__ import annotations

import select
from typing import Final, Protocol

LONGEST_WAIT_S: Final = 3600.0
"""poll(2) takes milliseconds in an int: 24 days at most."""
NO_DESCRIPTOR: Final = -1


class Clock(Protocol):
    """Seconds that only go forward."""

    def __call__(self) -> float: ...


class Wakeable(Protocol):
    """The owner of a polled descriptor."""

    def wake(self, now_s: float) -> None:
        """The descriptor has something; raises nothing."""


class Poller:
    """One poll(2) for all descriptors, with a time-out."""

    __slots__ = ("_owners", "_poll", "is_interrupted")

    def __init__(self) -> None:
        self._poll = select.poll()
        self._owners: dict[int, Wakeable] = {}
        self.is_interrupted = False
        """Set when the monitor is told to end: whoever works through a long list leaves the rest undone."""

    def watch(self, descriptor: int, owner: Wakeable, *, urgent: bool = False) -> None:
        """Wake `owner` when there is something to read, or `urgent`: at an exceptional condition."""
        self._owners[descriptor] = owner
        self._poll.register(descriptor, select.POLLPRI if urgent else select.POLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Forget a descriptor; one that isn't watched is no error."""
        if self._owners.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def wait(self, longest_s: float, clock: Clock) -> bool:
        """Wait for a descriptor or the time-out, whichever is first; whether it was a descriptor."""
        ready = self._poll.poll((longest_s if longest_s < LONGEST_WAIT_S else LONGEST_WAIT_S) * 1000.0)
        if not ready:
            return False
        now_s = clock()
        for descriptor, _ in ready:
            self._owners[descriptor].wake(now_s)
        return True
