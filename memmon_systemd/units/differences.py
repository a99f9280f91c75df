"""What has changed between two settings of a unit, as a user writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from enum import Enum

from memmon_systemd.formatting import format_bytes, format_seconds, signal_name
from memmon_systemd.options import KEYS, OPTIONS
from memmon_systemd.settings import TargetSettings


def by_key() -> Mapping[str, str]:
    """How the section of a unit names each field."""
    return {option.field: key for key, option in KEYS.items()}


def by_option() -> Mapping[str, str]:
    """How the command line names each field; that which several options set has its own name."""
    return {option.field: option.flags[-1] for option in OPTIONS if option.flags and option.field != "action"}


def differences(before: TargetSettings, after: TargetSettings, names: Mapping[str, str]) -> list[str]:
    """The fields whose values differ, by their names, each with both values: "For=1s (was 0s)"."""
    found = []
    for field in fields(TargetSettings):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if old != new:
            name = field.name
            found.append(f"{names.get(name, name)}={_written(name, new)} (was {_written(name, old)})")
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
