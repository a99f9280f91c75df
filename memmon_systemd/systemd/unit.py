"""A unit as the bus knows it, and its state as systemd answers it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

DESTINATION: Final = b"org.freedesktop.systemd1"
PATH: Final = b"/org/freedesktop/systemd1"
MANAGER: Final = (DESTINATION, PATH, b"org.freedesktop.systemd1.Manager")
"""Where the manager itself is on the bus: destination, path, interface."""


def one_of_each_template(names: Iterable[str]) -> Collection[str]:
    """Of these units one for each template, whose instances are alike, and all others."""
    return {name.partition("@")[0]: name for name in names}.values()


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as the bus knows it."""

    name: str
    path: bytes
    """Of its object; where its properties are is made of it each time, which is 300 bytes less to keep."""

    @property
    def common(self) -> tuple[bytes, bytes, bytes]:
        """Where its properties of every type of unit are."""
        return DESTINATION, self.path, DESTINATION + b".Unit"

    @property
    def typed(self) -> tuple[bytes, bytes, bytes]:
        """Where those of its type are."""
        kind = self.name.rpartition(".")[2].capitalize()
        return DESTINATION, self.path, DESTINATION + b"." + kind.encode()

    @property
    def all_properties(self) -> tuple[bytes, bytes, bytes]:
        """Where several of its properties are asked for at once."""
        return DESTINATION, self.path, b"org.freedesktop.DBus.Properties"

    @property
    def is_service(self) -> bool:
        """Only services have a main and a control process."""
        return self.name.endswith(".service")


@dataclass(frozen=True, slots=True)
class UnitState:
    """What decides about a request to a unit."""

    invocation_id: bytes = b""
    """New at each start; empty before the first, or where systemd couldn't be asked."""
    main_pid: int | None = None
    """The main process of a service; 0: it has none now; None: unknown, or a unit that is no service."""
    had_main: bool = False
    """Whether the service has, or had, a main process since it was last started."""
    active_state: str = ""
    """ActiveState: active, reloading, inactive, failed, activating, deactivating; "" where unknown."""
    sub_state: str = ""
    """SubState: what that is in the terms of its type; "" where unknown."""
    freezer_state: str = ""
    """FreezerState: running, freezing, frozen, thawing; "" where unknown."""
    started_s: float | None = None
    """When it last began to start, on the monotonic clock; None: unknown."""
    active_since_s: float | None = None
    """When it last became active, likewise."""
    stop_began_s: float | None = None
    """When it last began to stop, likewise."""
    stopped_s: float | None = None
    """When it last had stopped, likewise."""
    job_id: int = 0
    """The job that is queued for it or runs (a start, stop, reload or restart); 0: none, or unknown."""

    def unanswered(self) -> UnitState:
        """What is still known when systemd doesn't answer: a main process that wasn't there yet may be."""
        return replace(self, main_pid=None) if self.main_pid == 0 and not self.had_main else self


UNKNOWN: Final = UnitState()
