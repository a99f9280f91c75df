"""Which threshold a unit should have: a pure function of what is known of it, with its reasons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from memmon_systemd.formatting import format_bytes, format_growth, format_seconds, percent

SETTLED_S: Final = 600.0
"""From this age on what an invocation uses isn't taken for what its start needs."""
_SHORTEST_GROWTH_S: Final = 60.0
_MARGIN: Final = 0.1
"""Of the limit is left between it and the threshold, at least."""
_LONGEST_STOP_S: Final = 90.0
_TIMES_SLOWER: Final = 3.0
"""So much longer than at the slowest request so far it may take to end."""
_MIB: Final = 1 << 20
_LEAST_ROOM_BYTES: Final = 64 * _MIB
"""Above what a unit without a limit is known to need: a small one may double for a moment."""


@dataclass(frozen=True, slots=True)
class Past:
    """A request that was made."""

    usage_bytes: int
    age_s: float
    growth_bytes_per_s: float = 0.0
    ended_s: float | None = None
    """How long it took to end."""
    was_killed: bool = False
    """The kernel killed it before it had ended: it was OOM-killed."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a unit. Sizes in bytes; None where that is unknown."""

    limit_bytes: int
    """The tightest that applies to it, or the machine's memory."""
    limit_of: str | None = None
    """The unit that has that limit; None: it is the machine's memory."""
    high_bytes: int | None = None
    stop_s: float = _LONGEST_STOP_S
    """How long it may take to stop."""
    usage_bytes: int | None = None
    age_s: float | None = None
    begun_bytes: int | None = None
    """What it used when this invocation was first measured."""
    measured_s: float | None = None
    """Since when that was."""
    peak_bytes: int | None = None
    """The most memory of this invocation, page cache included (memory.peak)."""
    resident_peak_bytes: int | None = None
    """The most that each of its processes had resident, together (VmHWM)."""
    requests: tuple[Past, ...] = ()
    was_over_unasked: bool = False
    """Whether it was ever above its threshold and not asked (For=, MinAge=): then a peak may be unseen."""
    oom_kills: int = 0

    @property
    def growth_bytes_per_s(self) -> float:
        """How fast it grows, by this invocation and by the requests; 0: it doesn't, or that is unknown."""
        rates = [past.growth_bytes_per_s for past in self.requests]
        is_long_enough = self.measured_s is not None and self.measured_s >= _SHORTEST_GROWTH_S
        if is_long_enough and self.usage_bytes is not None and self.begun_bytes is not None:
            rates.append((self.usage_bytes - self.begun_bytes) / (self.measured_s or 1.0))
        return max([0.0, *rates])


@dataclass(frozen=True, slots=True)
class Advice:
    """What to set."""

    threshold: str | None
    """As Threshold= takes it; None: there is none that would do."""
    threshold_bytes: int | None
    need_bytes: int
    """What it is taken to need, at its start or later: no threshold is below that."""
    memory_max: str | None
    """What MemoryMax= should be at least, where the limit is too low, or where there is none."""
    reasons: tuple[str, ...]


def advise(known: Evidence) -> Advice | None:
    """The threshold for what is known; None where it isn't known what it needs."""
    ceiling_bytes, why_ceiling = _ceiling(known)
    need = _need(known, ceiling_bytes)
    if need is None:
        return None
    need_bytes, why_need = need
    reasons = [*_seen(known), why_need, why_ceiling]
    least_bytes = need_bytes + need_bytes // 20
    if least_bytes > ceiling_bytes:
        wanted = _rounded_up(need_bytes * 5 // 4)
        return Advice(None, None, need_bytes, _written(wanted), tuple(reasons))
    if known.limit_of is None:
        roomy_bytes = max(need_bytes * 3 // 2, need_bytes + _LEAST_ROOM_BYTES)
        wanted_bytes = min(_rounded_up(roomy_bytes), ceiling_bytes)
        backstop = _written(_rounded_up(wanted_bytes * 2))
        return Advice(_written(wanted_bytes), wanted_bytes, need_bytes, backstop, tuple(reasons))
    whole = percent(ceiling_bytes, known.limit_bytes)
    if known.limit_bytes * whole // 100 >= least_bytes:
        return Advice(f"{whole}%", known.limit_bytes * whole // 100, need_bytes, None, tuple(reasons))
    return Advice(_written(ceiling_bytes), ceiling_bytes, need_bytes, None, tuple(reasons))


def _ceiling(known: Evidence) -> tuple[int, str]:
    """The highest threshold that leaves it time to stop, and why."""
    if known.limit_of is None:
        return (
            known.limit_bytes // 2,
            f"it has no limit of its own; half of {format_bytes(known.limit_bytes)}",
        )
    stop_s = min(known.stop_s, _LONGEST_STOP_S)
    ended = [past.ended_s for past in known.requests if past.ended_s is not None]
    if ended:
        stop_s = min(stop_s, max(ended) * _TIMES_SLOWER)
    room_bytes = max(known.limit_bytes * _MARGIN, known.growth_bytes_per_s * stop_s)
    why = f"the limit is {format_bytes(known.limit_bytes)} (MemoryMax= of {known.limit_of})"
    kills = known.oom_kills + sum(past.was_killed for past in known.requests)
    if kills:
        room_bytes *= 2
        why += f", at which it was killed {kills}x: twice the room is left"
    ceiling_bytes = max(int(known.limit_bytes - room_bytes), known.limit_bytes // 4)
    if known.high_bytes is not None and known.high_bytes * 49 // 50 < ceiling_bytes:
        ceiling_bytes = known.high_bytes * 49 // 50
        why += f"; above MemoryHigh={format_bytes(known.high_bytes)} it is throttled, and hardly grows"
    return ceiling_bytes, f"{why}: at most {format_bytes(ceiling_bytes)}"


def _need(known: Evidence, ceiling_bytes: int) -> tuple[int, str] | None:
    """What it needs at least, and how that is known: never less than its start does."""
    seen = [size for size in (known.usage_bytes, known.begun_bytes) if size is not None]
    bounds: list[tuple[int, str]] = []
    if known.peak_bytes is not None:
        bounds.append((max(known.peak_bytes, *seen, 0), "the most of this invocation (memory.peak)"))
    if known.resident_peak_bytes is not None and (not bounds or bounds[0][0] > ceiling_bytes):
        most = max(known.resident_peak_bytes, *seen, 0)
        bounds.append((most, "the most that its processes had resident; memory.peak counts page cache, too"))
    settled = [past.usage_bytes for past in known.requests if past.age_s >= SETTLED_S and not past.was_killed]
    if settled and not known.was_over_unasked:
        text = f"requests to invocations older than {format_seconds(SETTLED_S)}: their starts took less"
        bounds.append((min(settled), text))
    if not bounds:
        return None  # What it uses now may be less than its start took.
    need_bytes, why = min(bounds)
    young = [past.usage_bytes for past in known.requests if past.age_s < SETTLED_S]
    least = [*([known.begun_bytes] if known.begun_bytes is not None else []), *young]
    if least and max(least) > need_bytes:
        need_bytes, why = max(least), "what it used within 10 min of a start"
    return need_bytes, f"it needs up to {format_bytes(need_bytes)}: {why}"


def _seen(known: Evidence) -> Iterator[str]:
    """What it uses, and what was asked."""
    if known.usage_bytes is not None:
        age = "" if known.age_s is None else f", {format_seconds(round(known.age_s))} after its start"
        yield f"it uses {format_bytes(known.usage_bytes)} now{age}"
    if known.age_s is not None and known.age_s < SETTLED_S:
        yield "it is young: ask again when it has had a day of work"
    if known.begun_bytes is not None and known.growth_bytes_per_s > 0:
        growth = format_growth(round(known.growth_bytes_per_s * 3600), 3600.0)
        yield f"it used {format_bytes(known.begun_bytes)} when it was first measured, and grows by {growth}"
    if known.requests:
        ages = [past.age_s for past in known.requests]
        spans = f"{format_seconds(round(min(ages)))} to {format_seconds(round(max(ages)))}"
        ended = [past.ended_s for past in known.requests if past.ended_s is not None]
        how = f", and ended within {format_seconds(max(ended))}" if ended else ""
        yield f"it was asked {len(known.requests)}x, at an age of {spans}{how}"
    if known.oom_kills:
        yield f"the kernel has killed processes of it {known.oom_kills}x (OOM)"


def _rounded_up(size_bytes: int) -> int:
    """To whole MiB, with two digits that count."""
    mib = -(-size_bytes // _MIB)
    step: int = 10 ** max(len(str(mib)) - 2, 0)
    return -(-mib // step) * step * _MIB


def _written(size_bytes: int) -> str:
    return f"{size_bytes // _MIB}M" if size_bytes >= _MIB else f"{size_bytes // 1024}K"
