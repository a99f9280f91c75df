"""The properties of units, as the bus has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Properties: TypeAlias = Mapping[bytes, Any]
"""By name. Any: the types are those that pystemd makes of D-Bus'; text is bytes, a struct a tuple."""
UNLIMITED: Final = 2**64 - 1
"""How systemd writes "infinity" and "unset" as a number."""
LOADED: Final = "loaded"
"""The LoadState of a unit that can be started."""


def seconds(microseconds: int) -> float | None:
    """A time of systemd's in seconds; None where it never ends."""
    return None if microseconds == UNLIMITED else microseconds / 1e6


def moment_s(microseconds: int) -> float | None:
    """A time of the monotonic clock; None where it hasn't come yet."""
    return microseconds / 1e6 if microseconds else None
