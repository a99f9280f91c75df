"""From settings to the lines of a section [X-MemoryMonitor] that make them: exact, to be pasted; pure."""

from __future__ import annotations

import signal
from enum import Enum

from memmon_systemd.formatting import signal_name
from memmon_systemd.options import KEYS
from memmon_systemd.settings import Rate, Size, TargetSettings

_MIB = 1 << 20


def section_lines(wanted: TargetSettings, present: TargetSettings) -> tuple[str, ...]:
    """A line for each key whose value has to change; without a value it resets the key to its default."""
    return tuple(
        f"{key}={_written(option.field, value)}"
        for key, option in KEYS.items()
        if (value := getattr(wanted, option.field)) != getattr(present, option.field)
    )


def _written(field: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Size):
        return _size(value.size_bytes)
    if isinstance(value, Rate):
        return "infinity" if value.count is None else f"{value.count}/{value.window_s!r}s"
    if isinstance(value, float):
        return "infinity" if value == float("inf") else repr(value).removesuffix(".0")
    if field == "signal_number" and isinstance(value, int):
        return signal_name(value) if value in signal.valid_signals() else str(value)
    if field == "growth_bytes_per_s" and isinstance(value, int):
        return _size(value)
    return str(value)


def _size(size_bytes: int) -> str:
    return f"{size_bytes}B" if size_bytes % _MIB else f"{size_bytes // _MIB}M"
