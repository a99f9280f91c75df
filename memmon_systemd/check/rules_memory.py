"""What `--check` judges of limits and readings: pure, from facts to findings."""

from __future__ import annotations

from typing import Final

from memmon_systemd.check.facts import SWAP, Case, CgroupKind, Finding, Id, Level, Remedy
from memmon_systemd.check.rules_restart import LEAK_BYTES_PER_S, edit
from memmon_systemd.formatting import format_bytes, format_seconds
from memmon_systemd.settings import Metric

_SHORTEST_END_S: Final = 1.0
"""Less time than this for a graceful end is a warning, whatever TimeoutStopSec= says."""
_MIB: Final = 1 << 20
_MOSTLY: Final = 0.5
_MOST: Final = 0.75


def above_physical(case: Case) -> Finding | None:
    """The threshold can't be reached: the machine hasn't got so much."""
    limit_bytes, physical_bytes = case.target.limit_bytes, case.machine.physical_bytes
    if limit_bytes < physical_bytes:
        return None
    text = (
        f"the threshold of {format_bytes(limit_bytes)} is no less than the machine's memory"
        f" ({format_bytes(physical_bytes)}): the kernel kills before it is reached"
    )
    return Finding(Id.ABOVE_PHYSICAL, Level.ERROR, text, Remedy(option="-m 80%"))


def memory_max(case: Case) -> Finding | None:
    """The kernel kills before the signal, or while the service ends."""
    bound, limit_bytes = case.target.maximum, case.target.limit_bytes
    if bound is None:
        return None
    limits = f"MemoryMax= of {bound.unit} ({format_bytes(bound.size_bytes)})"
    if bound.size_bytes <= limit_bytes:
        text = (
            f"{limits} is at or below the threshold of {format_bytes(limit_bytes)}: the kernel kills it"
            " before it is asked"
        )
        return Finding(Id.MEMORY_MAX_BELOW, Level.ERROR, text, Remedy(option="-m 80%"))
    room_bytes = bound.size_bytes - limit_bytes
    room_s = room_bytes / LEAK_BYTES_PER_S
    properties = case.target.properties
    if properties is None or case.target.is_process or room_s >= properties.timeout_stop_s:
        return None
    stop = (
        "without end"
        if properties.timeout_stop_s == float("inf")
        else format_seconds(properties.timeout_stop_s)
    )
    text = (
        f"a leak of 100 MB/s gets from the threshold to {limits} in {format_seconds(room_s)}, and it may take"
        f" TimeoutStopSec= ({stop}) to end: after that the kernel kills it"
    )
    if room_s < _SHORTEST_END_S:
        return Finding(Id.MEMORY_MAX_CLOSE, Level.WARNING, text, _more_room(case, bound.size_bytes))
    way = Remedy(
        advice=f"nothing, if it ends within {format_seconds(room_s)}; else raise MemoryMax= or lower -m"
    )
    return Finding(Id.MEMORY_MAX_CLOSE, Level.NOTE, text, way)


def _more_room(case: Case, maximum_bytes: int) -> Remedy:
    """Room for a second: by a lower threshold where that leaves most of the memory, else a higher limit."""
    second_bytes = int(_SHORTEST_END_S * LEAK_BYTES_PER_S)
    lower_mib = (maximum_bytes - second_bytes) // _MIB
    if lower_mib * _MIB >= maximum_bytes * _MOST:
        return Remedy(option=f"-m {lower_mib}M")
    higher_mib = -(-(case.target.limit_bytes + second_bytes) // _MIB)
    return edit(case, "Service", f"MemoryMax={higher_mib}M")


def memory_high(case: Case) -> Finding | None:
    """The kernel slows it down before it is asked."""
    bound, limit_bytes = case.target.high, case.target.limit_bytes
    if bound is None or bound.size_bytes > limit_bytes:
        return None
    text = (
        f"MemoryHigh= of {bound.unit} ({format_bytes(bound.size_bytes)}) is at or below the threshold of"
        f" {format_bytes(limit_bytes)}: the kernel throttles it before it is asked, and it may never get"
        " there"
    )
    lower_mib = bound.size_bytes * 9 // 10 // _MIB
    return Finding(Id.MEMORY_HIGH_BELOW, Level.WARNING, text, Remedy(option=f"-m {max(lower_mib, 1)}M"))


def oom_policy(case: Case) -> Finding | None:
    """What follows where the kernel kills nonetheless."""
    service = case.target.service
    if service is None or case.target.is_process:
        return None
    if service.oom_policy == "continue":
        text = (
            "OOMPolicy=continue: should the kernel kill one of its processes for want of memory, the others"
            " go on without it"
        )
        return Finding(Id.OOM_POLICY, Level.NOTE, text, edit(case, "Service", "OOMPolicy=stop"))
    if service.restart.restart in ("on-success", "on-abort", "on-watchdog"):
        text = (
            f"OOMPolicy={service.oom_policy} with Restart={service.restart.restart}: should the kernel"
            " kill it for want of memory, it stays down"
        )
        return Finding(Id.OOM_POLICY, Level.WARNING, text, edit(case, "Service", "Restart=always"))
    return None


def page_cache(case: Case) -> Finding | None:
    """Most of what is compared is what the kernel can drop by itself."""
    reading = case.target.readings.get(case.target.metric.value)
    kept = case.target.readings.get(Metric.UNRECLAIMABLE.value)
    if case.target.metric not in (Metric.CURRENT, Metric.WORKING_SET) or not reading or kept is None:
        return None
    share = 1 - kept / reading
    if share <= _MOSTLY:
        return None
    text = (
        f"{share:.0%} of what --metric {case.target.metric.value} counts is page cache and the like, which"
        " the kernel drops by itself: it would be restarted for nothing"
    )
    return Finding(Id.PAGE_CACHE, Level.WARNING, text, Remedy(option="--metric unreclaimable"))


def swap_hides(case: Case) -> Finding | None:
    """What is in swap isn't counted."""
    if case.settings.swap or not case.machine.swap_bytes or case.target.swap_max_bytes == 0:
        return None
    swapped_bytes = case.target.readings.get(SWAP, 0)
    if swapped_bytes:
        text = f"{format_bytes(swapped_bytes)} of it is in swap, which isn't counted: a leak hides there"
        return Finding(Id.SWAP_HIDES, Level.WARNING, text, Remedy(option="--swap"))
    text = "the machine has swap, which isn't counted: a leak may hide there"
    return Finding(Id.SWAP_HIDES, Level.NOTE, text, Remedy(option="--swap"))


def no_memory_files(case: Case) -> Finding | None:
    """The RSS of the unit's processes is added up, for there is no better number."""
    if case.target.is_process:
        return None
    instead = "the RSS of its processes is added up instead, what they share more than once"
    kernel = "on the kernel's command line (GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub)"
    if case.machine.cgroups in (CgroupKind.V1, CgroupKind.NONE):
        text = f"cgroup v1: {instead}"
        way = Remedy(advice=f"systemd.unified_cgroup_hierarchy=1 {kernel}")
        return Finding(Id.CGROUP_V1, Level.WARNING, text, way)
    if case.machine.cgroups is CgroupKind.WITHOUT_MEMORY:
        text = f"the kernel has no memory controller: {instead}"
        way = Remedy(advice=f"cgroup_enable=memory {kernel}")
        return Finding(Id.NO_MEMORY_CONTROLLER, Level.WARNING, text, way)
    if case.target.is_running and case.target.metric is Metric.RSS:
        text = f"it has no memory controller (no memory.current in its cgroup): {instead}"
        return Finding(
            Id.NO_MEMORY_CONTROLLER, Level.WARNING, text, edit(case, "Service", "MemoryAccounting=yes")
        )
    return None


def over_now(case: Case) -> Finding | None:
    """It would be signalled at once."""
    usage_bytes = case.usage_bytes
    if usage_bytes is None or usage_bytes <= case.target.limit_bytes:
        return None
    what = "restarted" if case.settings.restart else "signalled"
    text = f"it is above the threshold now: it would be {what} as soon as a monitor starts"
    return Finding(Id.OVER_NOW, Level.NOTE, text)


def unreadable(case: Case) -> Finding | None:
    """There is no number to compare."""
    if not case.target.trouble:
        return None
    return Finding(Id.UNREADABLE, Level.ERROR, f"its memory can't be read: {case.target.trouble}")


RULES: Final = (
    unreadable,
    above_physical,
    memory_max,
    memory_high,
    oom_policy,
    page_cache,
    swap_hides,
    no_memory_files,
    over_now,
)
