"""What `--check` judges of options that don't fit the unit, or each other: pure, from facts to findings."""

from __future__ import annotations

from typing import Final

from memmon_systemd.check.facts import Case
from memmon_systemd.check.findings import Finding, Id, Level, Remedy
from memmon_systemd.check.growth import growth_of
from memmon_systemd.check.rules_restart import by_job
from memmon_systemd.formatting import format_bytes, format_seconds
from memmon_systemd.settings import Action, Share

_MIB: Final = 1 << 20
_LONGEST_S: Final = 365 * 86400.0
"""More than this, no option can be."""


def hard_threshold(case: Case) -> Finding | None:
    """The hard threshold isn't between the other one and the limit."""
    asked, bound = case.settings, case.subject.maximum
    if asked.hard_threshold is None:
        return None
    limit_bytes, limit = case.machine.physical_bytes, "the machine's memory"
    if bound is not None and bound.size_bytes <= limit_bytes:
        limit_bytes, limit = bound.size_bytes, f"MemoryMax= of {bound.unit}"
    threshold_bytes = asked.threshold.threshold_bytes(limit_bytes)
    hard_bytes = asked.hard_threshold.threshold_bytes(limit_bytes)
    hard = f"--hard ({format_bytes(hard_bytes)})"
    way = _between(asked.threshold, threshold_bytes, limit_bytes)
    if hard_bytes <= threshold_bytes:
        text = (
            f"{hard} isn't above the threshold of {format_bytes(threshold_bytes)}: the lower one is both, and"
            " --for, --min-age and --at-most hold nothing back"
        )
        return Finding(Id.HARD_NOT_ABOVE, Level.WARNING, text, way)
    if hard_bytes >= limit_bytes > threshold_bytes:
        text = f"{hard} isn't below {limit} ({format_bytes(limit_bytes)}): the kernel kills it before that"
        return Finding(Id.HARD_ABOVE_MAX, Level.WARNING, text, way)
    return None


def _between(threshold: object, threshold_bytes: int, limit_bytes: int) -> Remedy:
    """A hard threshold halfway to the limit, in the form of the other one; none where there is no room."""
    if isinstance(threshold, Share):
        percent = int(threshold.percent + 100) // 2
        if threshold.percent < percent < 100 and limit_bytes >= _MIB:
            return Remedy(option=f"--hard {percent}%")
    half_mib = (threshold_bytes + limit_bytes) // 2 // _MIB
    if threshold_bytes < half_mib * _MIB < limit_bytes:
        return Remedy(option=f"--hard {half_mib}M")
    return Remedy(advice="leave --hard out")


def min_age(case: Case) -> Finding | None:
    """It is killed before it is old enough to be asked, at the growth that was seen."""
    bound, growth = case.subject.maximum, growth_of(case)
    if bound is None or not growth.is_seen or case.subject.hard_bytes is not None:
        return None
    reached_s = growth.time_s(bound.size_bytes)
    if reached_s >= case.settings.min_age_s:
        return None
    text = (
        f"{growth.words} it gets to MemoryMax= of {bound.unit} ({format_bytes(bound.size_bytes)}) in"
        f" {format_seconds(reached_s)}: the kernel kills it before it is as old as --min-age"
        f" ({format_seconds(case.settings.min_age_s)})"
    )
    shorter_s = int(growth.time_s(case.subject.threshold_bytes))
    way = Remedy(option=f"--min-age {min(shorter_s, int(reached_s))}s")
    return Finding(Id.MIN_AGE_LONG, Level.WARNING, text, way)


def no_reload(case: Case) -> Finding | None:
    """Systemd refuses to reload it."""
    properties = case.subject.properties
    if case.settings.action is not Action.RELOAD or case.subject.is_process or properties is None:
        return None
    if properties.can_reload:
        return None
    text = "it has no ExecReload=: systemd refuses to reload it"
    return Finding(Id.NO_RELOAD, Level.ERROR, text, by_job(case))


def then_restart(case: Case) -> Finding | None:
    """It is restarted while it still does what the signal asked for."""
    properties, then_s = case.subject.properties, case.settings.then_restart_s
    if then_s is None or properties is None or not then_s < properties.timeout_stop_s <= _LONGEST_S:
        return None
    stop = format_seconds(properties.timeout_stop_s)
    text = (
        f"stopping may take TimeoutStopSec= ({stop}), but --then-restart {format_seconds(then_s)} has systemd"
        " restart it in the middle of that: many programs quit at once when asked again"
    )
    way = Remedy(option=f"--then-restart {int(properties.timeout_stop_s) + 1}s")
    return Finding(Id.THEN_RESTART_EARLY, Level.NOTE, text, way)


RULES: Final = (hard_threshold, min_age, no_reload, then_restart)
