"""What `--check` judges of limits and readings: pure, from facts to findings."""

from __future__ import annotations

import math
from typing import Final

from memmon_systemd.check.facts import SWAP, Bound, Case, CgroupKind
from memmon_systemd.check.findings import Finding, Id, Level, Remedy
from memmon_systemd.check.growth import Growth, growth_of
from memmon_systemd.check.rules_restart import edit, edit_file
from memmon_systemd.formatting import format_bytes, format_seconds
from memmon_systemd.settings import Metric, Share, Size, Threshold

_SHORTEST_END_S: Final = 1.0
"""Less time than this for a graceful end is a warning, whatever TimeoutStopSec= says."""
_LONGEST_END_S: Final = 90.0
"""More time than this (systemd's default of TimeoutStopSec=) nothing is expected to take."""
_MIB: Final = 1 << 20
_MOSTLY: Final = 0.5
_MOST: Final = 0.5


def above_physical(case: Case) -> Finding | None:
    """The threshold can't be reached: the machine hasn't got so much."""
    threshold_bytes, physical_bytes = case.subject.threshold_bytes, case.machine.physical_bytes
    if threshold_bytes < physical_bytes:
        return None
    text = (
        f"the threshold of {format_bytes(threshold_bytes)} isn't below the machine's memory"
        f" ({format_bytes(physical_bytes)}): the kernel kills processes before it is reached"
    )
    return Finding(Id.ABOVE_PHYSICAL, Level.ERROR, text, Remedy(option="-m 80%"))


def memory_max(case: Case) -> Finding | None:
    """The kernel kills before the signal, or while the service stops."""
    bound, threshold_bytes = case.subject.maximum, case.subject.threshold_bytes
    if bound is None:
        return None
    limit = f"MemoryMax= of {bound.unit} ({format_bytes(bound.size_bytes)})"
    if bound.size_bytes <= threshold_bytes:
        text = f"{limit} is at or below {_threshold(case)}: the kernel kills it before it is {_asked(case)}"
        # A share of next to nothing is nothing.
        advice = f"raise MemoryMax= of {bound.unit}"
        way = Remedy(option="-m 80%") if bound.size_bytes >= _MIB else Remedy(advice=advice)
        return Finding(Id.MEMORY_MAX_BELOW, Level.ERROR, text, way)
    return _close(case, bound, limit)


def _close(case: Case, bound: Bound, limit: str) -> Finding | None:
    """It gets from the threshold to the limit before it has stopped."""
    properties = case.subject.properties
    if properties is None or case.subject.is_process:
        return None
    growth, stop_s = growth_of(case), properties.timeout_stop_s
    room_s = growth.time_s(bound.size_bytes - case.subject.threshold_bytes)
    # Few services take as long as they may; and what rests on an assumption is only said where it is worst.
    needed_s = min(stop_s, _LONGEST_END_S if growth.is_seen else _SHORTEST_END_S)
    if room_s >= needed_s:
        return None
    stop = "infinity" if stop_s == float("inf") else format_seconds(stop_s)
    text = (
        f"{growth.words} it gets from the threshold to {limit} in {format_seconds(room_s)}, but stopping may"
        f" take TimeoutStopSec= ({stop}): the kernel may kill it first"
    )
    level = Level.WARNING if room_s < _SHORTEST_END_S else Level.NOTE
    return Finding(Id.MEMORY_MAX_CLOSE, level, text, _more_room(case, bound, growth, needed_s))


def _threshold(case: Case) -> str:
    return f"the threshold of {format_bytes(case.subject.threshold_bytes)}"


def _asked(case: Case) -> str:
    return "restarted" if not case.sends_signal else "signalled"


def _more_room(case: Case, bound: Bound, growth: Growth, needed_s: float) -> Remedy:
    """Room for the time of a stop: by a lower threshold where half of the memory is left, or a higher limit.

    None where neither can be.
    """
    needed_bytes = math.ceil(growth.bytes_per_s * needed_s)
    most_bytes = bound.size_bytes - needed_bytes
    if most_bytes >= bound.size_bytes * _MOST and most_bytes > (case.usage_bytes or 0):
        return _lower_threshold(case, bound, most_bytes)
    given = (case.settings.threshold, case.settings.hard_threshold)
    # The lower of the two is the one that counts: room below one of them is enough.
    limit_bytes = min(_limit_bytes(asked, needed_bytes) for asked in given if asked is not None)
    if limit_bytes >= case.machine.physical_bytes - _MIB:
        return Remedy()
    return _raise_maximum(case, bound, int(limit_bytes) // _MIB + 1)


def _limit_bytes(asked: Threshold, needed_bytes: int) -> float:
    """The lowest limit that leaves so much above a threshold; a share of it moves along with it."""
    if isinstance(asked, Size):
        return asked.size_bytes + needed_bytes
    left = 1 - asked.percent / 100
    return needed_bytes / left if left else math.inf


def _lower_threshold(case: Case, bound: Bound, most_bytes: int) -> Remedy:
    """The option for a threshold of at most so much: a share where one was given."""
    if isinstance(case.settings.threshold, Share):
        percent = math.floor(100 * most_bytes / bound.size_bytes)
        return Remedy(option=f"-m {percent}%")
    return Remedy(option=f"-m {most_bytes // _MIB}M") if most_bytes >= _MIB else Remedy()


def _raise_maximum(case: Case, bound: Bound, limit_mib: int) -> Remedy:
    line = f"MemoryMax={limit_mib}M"
    section = bound.unit.rpartition(".")[2].capitalize()
    if bound.unit.startswith("/"):
        return Remedy(advice=f"raise memory.max of {bound.unit} to at least {limit_mib}M")
    if bound.unit == case.subject.unit:
        return edit(case, section, line)
    return edit_file(case, bound.unit, section, line)


def memory_high(case: Case) -> Finding | None:
    """The kernel throttles it before it is signalled."""
    bound, threshold_bytes = case.subject.high, case.subject.threshold_bytes
    if bound is None or bound.size_bytes > threshold_bytes:
        return None
    text = (
        f"MemoryHigh= of {bound.unit} ({format_bytes(bound.size_bytes)}) is at or below {_threshold(case)}:"
        f" the kernel throttles it before it is {_asked(case)}, and it may never get there"
    )
    lower_mib = bound.size_bytes * 9 // 10 // _MIB
    if not lower_mib:
        return Finding(
            Id.MEMORY_HIGH_BELOW, Level.WARNING, text, Remedy(advice=f"raise MemoryHigh= of {bound.unit}")
        )
    return Finding(Id.MEMORY_HIGH_BELOW, Level.WARNING, text, Remedy(option=f"-m {lower_mib}M"))


def oom_policy(case: Case) -> Finding | None:
    """What follows where the kernel kills nonetheless."""
    service = case.subject.service
    if service is None or case.subject.is_process:
        return None
    restart = service.restart.restart
    lines: tuple[str, ...] = ()
    if restart in ("on-success", "on-abort", "on-watchdog"):
        lines = ("Restart=on-failure" if service.restart.is_oneshot else "Restart=always",)
    if service.oom_policy == "continue":
        text = "OOMPolicy=continue: if the OOM killer kills one of its processes, the others go on without it"
        return Finding(Id.OOM_POLICY, Level.NOTE, text, edit(case, "Service", "OOMPolicy=stop", *lines))
    if lines:
        policy = f"OOMPolicy={service.oom_policy} with Restart={restart}"
        text = f"{policy}: if the OOM killer kills it, it stays down"
        return Finding(Id.OOM_POLICY, Level.WARNING, text, edit(case, "Service", *lines))
    return None


def page_cache(case: Case) -> Finding | None:
    """Most of what is compared is what the kernel can drop by itself."""
    reading = case.subject.readings.get(case.subject.metric.value)
    kept = case.subject.readings.get(Metric.UNRECLAIMABLE.value)
    if case.subject.metric not in (Metric.CURRENT, Metric.WORKING_SET) or not reading or kept is None:
        return None
    share = 1 - kept / reading
    if share <= _MOSTLY:
        return None
    text = (
        f"{share:.0%} of what --metric {case.subject.metric.value} counts now can be reclaimed by the kernel"
        f" (page cache, slab): it would be {_asked(case)} needlessly"
    )
    return Finding(Id.PAGE_CACHE, Level.WARNING, text, Remedy(option="--metric unreclaimable"))


def swap_hides(case: Case) -> Finding | None:
    """What is in swap isn't counted."""
    if case.settings.swap or not case.machine.swap_bytes or case.subject.swap_max_bytes == 0:
        return None
    swapped_bytes = case.subject.readings.get(SWAP, 0)
    if swapped_bytes:
        swapped = format_bytes(swapped_bytes)
        text = f"{swapped} of it is in swap, which isn't counted: a leak goes unnoticed there"
        return Finding(Id.SWAP_HIDES, Level.WARNING, text, Remedy(option="--swap"))
    text = "the machine has swap, which isn't counted: a leak can go unnoticed there"
    return Finding(Id.SWAP_HIDES, Level.NOTE, text, Remedy(option="--swap"))


def no_memory_files(case: Case) -> Finding | None:
    """The RSS of the unit's processes is added up, for there is no better number."""
    if case.subject.is_process:
        return None
    instead = "the RSS of its processes is added up, which counts shared memory more than once"
    kernel = "on the kernel's command line (GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub)"
    if case.machine.cgroups in (CgroupKind.V1, CgroupKind.NONE):
        text = f"cgroup v1: {instead}"
        way = Remedy(advice=f"systemd.unified_cgroup_hierarchy=1 {kernel}")
        return Finding(Id.CGROUP_V1, Level.WARNING, text, way)
    if case.machine.cgroups is CgroupKind.WITHOUT_MEMORY:
        text = f"the kernel has no memory controller: {instead}"
        way = Remedy(advice=f"cgroup_enable=memory {kernel}")
        return Finding(Id.NO_MEMORY_CONTROLLER, Level.WARNING, text, way)
    properties = case.subject.properties
    if properties is not None and case.subject.is_running and case.subject.metric is Metric.RSS:
        text = f"it has no memory controller (no memory.current in its cgroup): {instead}"
        way = edit(case, case.subject.name.rpartition(".")[2].capitalize(), "MemoryAccounting=yes")
        if properties.memory_accounting:
            way = Remedy(advice="take memory out of DisableControllers= of the slices above it")
        return Finding(Id.NO_MEMORY_CONTROLLER, Level.WARNING, text, way)
    return None


def unreadable(case: Case) -> Finding | None:
    """There is no number to compare."""
    if case.subject.trouble is None:
        return None
    return Finding(Id.UNREADABLE, Level.ERROR, f"its memory can't be read: {case.subject.trouble}")


RULES: Final = (
    unreadable,
    above_physical,
    memory_max,
    memory_high,
    oom_policy,
    page_cache,
    swap_hides,
    no_memory_files,
)
