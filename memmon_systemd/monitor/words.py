"""What the lines on a target say alike: its usage, its threshold, its growth, and the journal fields."""

from __future__ import annotations

from typing import Final

from memmon_systemd.formatting import format_bytes, signal_name
from memmon_systemd.monitor.log import Field
from memmon_systemd.monitor.target import Target
from memmon_systemd.settings import Action

_PLANS: Final = {Action.SIGNAL: "send {}", Action.RESTART: "restart it", Action.RELOAD: "reload it"}
_SHORTEST_GROWTH_S: Final = 1.0


def plan(action: Action, sent: str) -> str:
    """What a request does, as a sentence goes on after "would"; `sent` is the signal of one that signals."""
    return _PLANS[action].format(sent)


def grown(target: Target, now_s: float) -> tuple[int, float] | None:
    """How much it grew, and in which time, since it was first measured; None: too short a time."""
    gauge, measured_s = target.gauge, now_s - target.begun_s
    if gauge is None or measured_s < _SHORTEST_GROWTH_S or gauge.usage_bytes <= target.begun_bytes:
        return None
    return gauge.usage_bytes - target.begun_bytes, measured_s


def usage(target: Target) -> str:
    """The last reading, with its metric: "unreclaimable 64.5 MiB"."""
    if target.gauge is None:
        return "nothing measured"
    return f"{target.gauge.metric.value} {format_bytes(target.gauge.usage_bytes)}"


def threshold(target: Target) -> str:
    """The threshold in bytes, or as it was written while nothing is measured."""
    if target.gauge is None:
        return str(target.settings.threshold)
    return format_bytes(target.gauge.schedule.threshold_bytes)


def of_machine(target: Target) -> str:
    """What to say of a share that is one of all the memory of the machine, which may not have been meant."""
    if target.gauge is None or not target.gauge.schedule.is_of_machine:
        return ""
    return f", {target.settings.threshold} of the machine (no MemoryMax=)"


def above(target: Target) -> str:
    """That the usage is above the threshold."""
    return f"{usage(target)} is above {threshold(target)}"


def fields(target: Target) -> list[Field]:
    """The journal fields of the last reading; none while nothing is measured."""
    gauge = target.gauge
    if gauge is None:
        return []
    threshold_text = str(gauge.schedule.threshold_bytes)
    return [
        ("MEMORY_MONITOR_USAGE", str(gauge.usage_bytes)),
        ("MEMORY_MONITOR_THRESHOLD", threshold_text),
        # The name that this field had in 0.1, for whatever collects it.
        ("MEMORY_MONITOR_LIMIT", threshold_text),
        ("MEMORY_MONITOR_METRIC", gauge.metric.value),
        ("MEMORY_MONITOR_SIGNAL", signal_name(target.signal_number)),
    ]
