"""What has changed between two settings of a unit, by the keys of its section."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum

from memmon_systemd.formatting import format_bytes, format_seconds, signal_name
from memmon_systemd.options import KEYS
from memmon_systemd.settings import TargetSettings


def differences(before: TargetSettings, after: TargetSettings) -> list[str]:
    """The keys whose values differ, each with both values, as a user writes them."""
    keys = {option.field: key for key, option in KEYS.items()}
    found = []
    for field in fields(TargetSettings):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if old != new:
            name = field.name
            found.append(f"{keys.get(name, name)}={_written(name, new)} (was {_written(name, old)})")
    return found


def _written(field: str, value: object) -> str:
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Enum):
        return str(value.value)
    if field == "signal_number" and isinstance(value, int):
        return signal_name(value)
    if field.endswith("_s") and isinstance(value, int | float):
        return "infinity" if value == float("inf") else format_seconds(value).replace(" ", "")
    if field == "growth_bytes_per_s" and isinstance(value, int):
        return format_bytes(value).replace(" ", "")
    return str(value).replace(" ", "")
