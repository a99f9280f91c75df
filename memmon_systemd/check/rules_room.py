"""What `--check` judges of the room around the threshold: MemoryMax= above, what it needs below; pure."""

from __future__ import annotations

from typing import Final

from memmon_systemd.check.facts import Case
from memmon_systemd.check.findings import Finding, Id, Level, Remedy
from memmon_systemd.check.growth import growth_of
from memmon_systemd.check.rules_restart import systemctl
from memmon_systemd.check.shape import MaximumState
from memmon_systemd.formatting import format_bytes, format_seconds
from memmon_systemd.settings import Threshold

_MIB: Final = 1 << 20
_START_S: Final = 600.0
"""What it has used up to this age is what it needs to start."""
_SPARE: Final = 1.5
"""A threshold of so many times what it needs at the start leaves room to work."""


def over_now(case: Case) -> Finding | None:
    """It would be signalled at once."""
    usage_bytes, age_s, shape = case.usage_bytes, case.subject.age_s, case.subject.shape
    if usage_bytes is None or usage_bytes <= case.subject.threshold_bytes:
        return None
    asked = "signalled" if case.sends_signal else "restarted"
    text = f"it is above the threshold now: it would be {asked} as soon as a monitor starts"
    if case.reaches_nobody:
        text = "it is above the threshold now, but nobody would be signalled"
        return Finding(Id.OVER_NOW, Level.ERROR, text)
    if case.subject.is_process:
        return Finding(Id.OVER_NOW, Level.ERROR, text, Remedy(advice="restart it first, or raise -m"))
    if shape.peak_bytes is None or age_s is None or age_s > _START_S:
        return Finding(Id.OVER_NOW, Level.ERROR, text, Remedy(systemctl(case, "restart", case.subject.name)))
    need = f"needs {format_bytes(shape.peak_bytes)} at the start, by memory.peak"
    text = f"it is above the threshold now, {format_seconds(age_s)} after its start: it {need}"
    return Finding(Id.OVER_NOW, Level.ERROR, text, _above_need(case, shape.peak_bytes))


def _above_need(case: Case, need_bytes: int) -> Remedy:
    mib = -(-int(need_bytes * _SPARE) // _MIB)
    bound = case.subject.maximum
    if bound is not None and mib * _MIB >= bound.size_bytes:
        return Remedy(advice=f"raise MemoryMax= of {bound.unit} above {mib} MiB, then use -m {mib}M")
    return Remedy(option=f"-m {mib}M")


def no_memory_max(case: Case) -> Finding | None:
    """A share is one of the whole machine, which all of its services use."""
    subject = case.subject
    if not case.settings.follows_limit or subject.maximum is not None or subject.is_process:
        return None
    share = f"{_share(case)} is a share of the machine's {format_bytes(case.machine.physical_bytes)}"
    if subject.shape.maximum_state is MaximumState.NOT_IN_FORCE:
        return None  # That is said.
    own_bytes = subject.properties.memory_max_bytes if subject.properties else None
    if subject.shape.maximum_state is MaximumState.BY_V1 and own_bytes is not None:
        text = f"MemoryMax= ({format_bytes(own_bytes)}) is kept by cgroup v1, and isn't read there: {share}"
        option = "-m" if case.settings.threshold.follows_limit else "--hard"
        size_mib = _share(case).threshold_bytes(own_bytes) // _MIB
        return Finding(Id.NO_MEMORY_MAX, Level.WARNING, text, Remedy(option=f"{option} {size_mib}M"))
    advice = f"set MemoryMax= in {subject.name}, or give -m as a size"
    if subject.shape.peak_bytes is not None:
        advice += f" (it has used {format_bytes(subject.shape.peak_bytes)} at most)"
    text = f"neither it nor a slice above it has MemoryMax=: {share}"
    if own_bytes is not None:
        text = f"MemoryMax= ({format_bytes(own_bytes)}) isn't below the machine's memory: {share}"
    return Finding(Id.NO_MEMORY_MAX, Level.WARNING, text, Remedy(advice=advice))


def _share(case: Case) -> Threshold:
    """The threshold that is a share, or the hard one."""
    hard, usual = case.settings.hard_threshold, case.settings.threshold
    return usual if usual.follows_limit or hard is None else hard


def not_in_force(case: Case) -> Finding | None:
    """MemoryMax= is set, and the kernel doesn't know of it."""
    subject = case.subject
    if subject.is_process or subject.shape.maximum_state is not MaximumState.NOT_IN_FORCE:
        return None
    own_bytes = subject.properties.memory_max_bytes if subject.properties else None
    if own_bytes is None:
        return None
    text = f"MemoryMax= ({format_bytes(own_bytes)}) isn't in force: its cgroup has no memory controller"
    if case.settings.follows_limit:
        text += f", and {_share(case)} is a share of the machine's memory"
    advice = "have the slices above it use the controller (DisableControllers=, Delegate=), or use cgroup v2"
    return Finding(Id.MEMORY_MAX_NOT_IN_FORCE, Level.WARNING, text, Remedy(advice=advice))


def for_too_long(case: Case) -> Finding | None:
    """With the growth that was seen it is at its limit before `--for` is over."""
    settings, bound, growth = case.settings, case.subject.maximum, growth_of(case)
    if not settings.for_s or bound is None or not growth.is_seen:
        return None
    room_bytes = bound.size_bytes - case.subject.threshold_bytes
    if room_bytes <= 0 or _has_hard_below(case, bound.size_bytes):
        return None
    way_s = growth.time_s(room_bytes)
    if settings.for_s < way_s:
        return None
    text = (
        f"{growth.words} it gets from the threshold"
        f" to MemoryMax= of {bound.unit} in {format_seconds(way_s)}, within --for"
        f" ({format_seconds(settings.for_s)}): the kernel kills it first"
    )
    return Finding(Id.FOR_TOO_LONG, Level.WARNING, text, Remedy(option=f"--for {int(way_s / 2)}"))


def _has_hard_below(case: Case, limit_bytes: int) -> bool:
    """Whether above `--hard` it is asked without waiting, and that is below the limit."""
    hard = case.settings.hard_threshold
    return hard is not None and hard.threshold_bytes(limit_bytes) < limit_bytes


RULES: Final = (over_now, no_memory_max, not_in_force, for_too_long)
