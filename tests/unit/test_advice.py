"""The threshold that `memmonctl suggest` gives, held against services of which all is known."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memmon_systemd.ctl.advice import SETTLED_S, Evidence, Past, advise

MIB = 1 << 20
POLL_S = 2.0


@dataclass(frozen=True)
class Service:
    """One that takes `start_bytes` for `start_s`, then `settled_bytes`, and leaks from there on."""

    start_bytes: int
    start_s: float
    settled_bytes: int
    leak_bytes_per_s: float
    cache_bytes: int

    def usage(self, age_s: float) -> int:
        if age_s < self.start_s:
            return self.start_bytes
        return self.settled_bytes + round(self.leak_bytes_per_s * (age_s - self.start_s))

    def peak(self, age_s: float) -> int:
        """The most up to this age, without page cache."""
        return max(self.start_bytes, self.usage(age_s))

    def past(self, threshold_bytes: int, first_s: float) -> Past | None:
        """The request that a monitor of this threshold makes, which polls every two seconds."""
        if self.start_bytes > threshold_bytes:
            age_s = first_s
        elif self.leak_bytes_per_s <= 0:
            return None
        else:
            over_s = (threshold_bytes - self.settled_bytes) / self.leak_bytes_per_s
            age_s = self.start_s + max(over_s, 0.0) + POLL_S
        usage_bytes = self.usage(age_s)
        growth = (usage_bytes - self.usage(first_s)) / max(age_s - first_s, 1.0)
        return Past(usage_bytes, age_s, growth) if usage_bytes > threshold_bytes else None


@st.composite
def services(draw: st.DrawFn) -> Service:
    sizes = st.integers(1, 4000).map(lambda mib: mib * MIB)
    return Service(
        draw(sizes),
        draw(st.floats(2.0, SETTLED_S)),
        draw(sizes),
        draw(st.one_of(st.just(0.0), st.floats(10.0, 50.0 * MIB))),
        draw(st.one_of(st.just(0), sizes)),
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[Service, Evidence]:
    """A service, and what is known of it at some age."""
    service = draw(services())
    age_s, first_s = draw(st.floats(1.0, 1e6)), draw(st.floats(0.0, POLL_S))
    limit_bytes = max(draw(st.integers(1, 8000)) * MIB, service.peak(min(age_s, service.start_s)))
    if service.leak_bytes_per_s:  # It lives: it hasn't come to its limit.
        longest_s = service.start_s + (limit_bytes - service.settled_bytes) / service.leak_bytes_per_s
        age_s = max(min(age_s, longest_s), 1.0)
    peak_bytes = min(service.peak(age_s) + service.cache_bytes, max(limit_bytes, service.peak(age_s)))
    begun_s = min(first_s, age_s)
    thresholds = draw(st.lists(st.integers(1, 8000).map(lambda mib: mib * MIB), max_size=5))
    pasts = [service.past(threshold, first_s) for threshold in thresholds]
    is_running = draw(st.booleans())
    known = Evidence(
        limit_bytes=limit_bytes,
        limit_of=draw(st.sampled_from([None, "app.service"])),
        stop_s=draw(st.floats(1.0, 1000.0)),
        usage_bytes=service.usage(age_s) if is_running else None,
        age_s=age_s if is_running else None,
        begun_bytes=draw(st.sampled_from([None, service.usage(begun_s)])) if is_running else None,
        measured_s=age_s - begun_s if is_running else None,
        peak_bytes=draw(st.sampled_from([None, peak_bytes])) if is_running else None,
        resident_peak_bytes=draw(st.sampled_from([None, service.peak(age_s)])) if is_running else None,
        requests=tuple(past for past in pasts if past is not None),
        oom_kills=draw(st.integers(0, 3)),
    )
    return service, known


@given(histories())
def test_a_threshold_is_never_below_what_the_service_needs_at_its_start(
    history: tuple[Service, Evidence],
) -> None:
    service, known = history
    advice = advise(known)
    if advice is None:
        return
    assert advice.need_bytes >= service.start_bytes
    if advice.threshold_bytes is not None:
        assert advice.threshold_bytes > service.start_bytes


@given(histories())
def test_a_threshold_leaves_room_below_the_limit_and_else_the_limit_is_to_be_raised(
    history: tuple[Service, Evidence],
) -> None:
    _, known = history
    advice = advise(known)
    if advice is None:
        return
    if advice.threshold_bytes is None:
        assert advice.memory_max is not None
        assert int(advice.memory_max[:-1]) * MIB > advice.need_bytes
    elif known.limit_of is not None:
        assert advice.threshold_bytes <= known.limit_bytes * 0.9
    else:
        assert advice.threshold_bytes <= known.limit_bytes / 2
        assert advice.memory_max is not None, "a limit is the backstop"


KNOWN = Evidence(
    limit_bytes=1000 * MIB,
    limit_of="app.service",
    stop_s=10.0,
    usage_bytes=300 * MIB,
    age_s=86400.0,
    begun_bytes=200 * MIB,
    measured_s=86400.0,
    peak_bytes=320 * MIB,
    resident_peak_bytes=310 * MIB,
)


@pytest.mark.parametrize(
    ("known", "threshold", "reason"),
    [
        (KNOWN, "90%", "it needs up to 320 MiB: the most of this invocation (memory.peak)"),
        (replace(KNOWN, limit_of=None), "480M", "it has no limit of its own"),
        (
            replace(KNOWN, limit_of=None, usage_bytes=MIB, begun_bytes=MIB, peak_bytes=2 * MIB),
            "66M",
            "it needs up to 2 MiB",
        ),
        (replace(KNOWN, peak_bytes=1000 * MIB), "90%", "memory.peak counts page cache"),
        (replace(KNOWN, oom_kills=2), "80%", "killed 2x: twice the room is left"),
        (replace(KNOWN, high_bytes=500 * MIB), "49%", "above MemoryHigh=500 MiB it is throttled"),
        (replace(KNOWN, requests=(Past(310 * MIB, 9e4, 20.0 * MIB),)), "80%", "it was asked 1x"),
        (
            replace(KNOWN, requests=(Past(310 * MIB, 9e4, 20.0 * MIB, ended_s=1.0),)),
            "90%",
            "and ended within 1 s",
        ),
        (
            replace(KNOWN, peak_bytes=990 * MIB, resident_peak_bytes=980 * MIB, usage_bytes=980 * MIB),
            None,
            "it needs up to 980 MiB",
        ),
        (
            replace(
                KNOWN,
                peak_bytes=990 * MIB,
                resident_peak_bytes=980 * MIB,
                usage_bytes=980 * MIB,
                requests=(Past(700 * MIB, 9e4),),
            ),
            "90%",
            "requests to invocations older than 10 min: their starts took less",
        ),
        (replace(KNOWN, requests=(Past(850 * MIB, 30.0),)), "90%", "what it used within 10 min of a start"),
    ],
)
def test_a_suggestion_has_its_reason(known: Evidence, threshold: str | None, reason: str) -> None:
    advice = advise(known)
    assert advice is not None
    assert advice.threshold == threshold, advice
    assert any(reason in one for one in advice.reasons), advice.reasons


def test_where_its_peak_is_unknown_nothing_is_suggested() -> None:
    assert advise(replace(KNOWN, peak_bytes=None, resident_peak_bytes=None)) is None


def test_requests_prove_nothing_of_a_start_that_was_above_and_not_asked() -> None:
    seen = replace(
        KNOWN, peak_bytes=990 * MIB, resident_peak_bytes=980 * MIB, requests=(Past(700 * MIB, 9e4),)
    )
    for was_over, threshold in ((False, "90%"), (True, None)):
        advice = advise(replace(seen, was_over_unasked=was_over))
        assert advice is not None
        assert advice.threshold == threshold
