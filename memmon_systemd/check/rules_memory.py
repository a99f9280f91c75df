"""What `--check` judges of limits and readings: pure, from facts to findings."""

from __future__ import annotations

from typing import Final

from memmon_systemd.check.facts import SWAP, Bound, Case, CgroupKind
from memmon_systemd.check.findings import Finding, Id, Level, Remedy
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
        way = Remedy(option="-m 80%") if bound.size_bytes >= _MIB else _raise_maximum(bound)
        return Finding(Id.MEMORY_MAX_BELOW, Level.ERROR, text, way)
    room_s = (bound.size_bytes - threshold_bytes) / LEAK_BYTES_PER_S
    properties = case.subject.properties
    if properties is None or case.subject.is_process or room_s >= properties.timeout_stop_s:
        return None
    stop_s = properties.timeout_stop_s
    stop = "infinity" if stop_s == float("inf") else format_seconds(stop_s)
    text = (
        f"a leak of 100 MB/s gets from the threshold to {limit} in {format_seconds(room_s)}, but stopping may"
        f" take TimeoutStopSec= ({stop}): the kernel may kill it first"
    )
    if room_s < _SHORTEST_END_S:
        return Finding(Id.MEMORY_MAX_CLOSE, Level.WARNING, text, _more_room(case, bound))
    advice = f"nothing, if it stops within {format_seconds(room_s)}; else raise MemoryMax= or lower -m"
    return Finding(Id.MEMORY_MAX_CLOSE, Level.NOTE, text, Remedy(advice=advice))


def _threshold(case: Case) -> str:
    return f"the threshold of {format_bytes(case.subject.threshold_bytes)}"


def _asked(case: Case) -> str:
    return "restarted" if not case.sends_signal else "signalled"


def _more_room(case: Case, bound: Bound) -> Remedy:
    """Room for a second: by a lower threshold where that leaves most of the memory, else a higher limit."""
    second_bytes = int(_SHORTEST_END_S * LEAK_BYTES_PER_S)
    lower_mib = (bound.size_bytes - second_bytes) // _MIB
    if lower_mib * _MIB >= bound.size_bytes * _MOST:
        return Remedy(option=f"-m {lower_mib}M")
    if bound.unit != case.subject.unit:
        return _raise_maximum(bound)
    higher_mib = -(-(case.subject.threshold_bytes + second_bytes) // _MIB)
    return edit(case, "Service", f"MemoryMax={higher_mib}M")


def _raise_maximum(bound: Bound) -> Remedy:
    return Remedy(advice=f"raise MemoryMax= of {bound.unit}")


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
    if service.oom_policy == "continue":
        text = "OOMPolicy=continue: if the OOM killer kills one of its processes, the others go on without it"
        return Finding(Id.OOM_POLICY, Level.NOTE, text, edit(case, "Service", "OOMPolicy=stop"))
    if service.restart.restart in ("on-success", "on-abort", "on-watchdog"):
        text = (
            f"OOMPolicy={service.oom_policy} with Restart={service.restart.restart}: if the OOM killer kills"
            " it, it stays down"
        )
        return Finding(Id.OOM_POLICY, Level.WARNING, text, edit(case, "Service", "Restart=always"))
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
    if case.subject.is_running and case.subject.metric is Metric.RSS:
        text = f"it has no memory controller (no memory.current in its cgroup): {instead}"
        return Finding(
            Id.NO_MEMORY_CONTROLLER, Level.WARNING, text, edit(case, "Service", "MemoryAccounting=yes")
        )
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
