"""What `memmonctl suggest` prints, and what it makes of the journal."""

from typing import Any

import pytest

from memmon_systemd.ctl import evidence, history, journal, suggest
from memmon_systemd.ctl.advice import Advice, Evidence, Past
from memmon_systemd.ctl.call import Call, CallError
from memmon_systemd.ctl.chart import Point
from memmon_systemd.ctl.evidence import Read
from memmon_systemd.ctl.journal import Entry
from memmon_systemd.ctl.words import Terminal
from memmon_systemd.monitor.events import Event
from memmon_systemd.output.record import Record

MIB = 1 << 20
CALL = Call({}, [], is_json=False, terminal=Terminal(80, has_colours=False))
KNOWN = Evidence(1000 * MIB, "app.service", usage_bytes=300 * MIB)
POINTS = [Point(1e9, 100 * MIB), Point(1e9 + 3600, 300 * MIB)]


def text(advice: Advice, known: Evidence = KNOWN, *, is_users: bool = False) -> str:
    return "\n".join(
        suggest._lines(CALL, "app.service", advice, Read(known, POINTS, None), is_users=is_users)
    )


def test_it_ends_with_what_to_paste() -> None:
    shown = text(Advice("90%", 900 * MIB, 320 * MIB, None, ("it needs up to 320 MiB",)))
    assert shown.startswith("app.service: Threshold=90% (900 MiB)\n  it needs up to 320 MiB\n")
    assert shown.endswith("  systemctl edit app.service\n\n  [X-MemoryMonitor]\n  Threshold=90%")
    assert "threshold 900 MiB |" in shown
    assert "limit 1000 MiB |" in shown


def test_a_user_edits_an_own_unit_and_a_limit_stands_in_the_section_of_its_type() -> None:
    shown = text(Advice("480M", 480 * MIB, 320 * MIB, "600M", ()), is_users=True)
    assert (
        "  systemctl --user edit app.service\n\n  [Service]\n  MemoryMax=600M\n\n  [X-MemoryMonitor]\n"
        in shown
    )


def test_where_no_threshold_would_do_it_says_what_the_limit_should_be() -> None:
    shown = text(Advice(None, None, 980 * MIB, "1300M", ()))
    assert "no threshold would do below its limit: raise MemoryMax= to 1300M or more" in shown
    assert "Threshold=" not in shown
    assert "ask again" in shown


def test_without_a_systemd_it_says_so() -> None:
    with pytest.raises(CallError, match="suggest asks systemd, and none is running here"):
        suggest.run(CALL, "app", None)


def entry(event: Event, line: str, **fields: str) -> Entry:
    return Entry(5.0, event, "app.service", line, fields)


def test_of_the_journal_those_requests_count_that_were_made() -> None:
    said = {"MEMORY_MONITOR_USAGE": "100", "MEMORY_MONITOR_AGE_SEC": "60", "MEMORY_MONITOR_GROWTH": "3600"}
    request = entry(Event.REQUESTED, "signalled", **said)
    back = entry(Event.CAME_BACK, "ended after 2 s", MEMORY_MONITOR_ENDED_SEC="2.0")
    killed = entry(Event.CAME_BACK, "was OOM-killed (the threshold is too near to the limit) after 1 s")
    asked = [
        history.Asked(request, back),
        history.Asked(request, killed),
        history.Asked(request, None),
        history.Asked(entry(Event.FAILED, "failed", **said), None),
        history.Asked(entry(Event.REQUESTED, "signalled"), None),
    ]
    assert evidence._pasts(asked) == [
        Past(100, 60.0, 1.0, 2.0),
        Past(100, 60.0, 1.0, None, was_killed=True),
        Past(100, 60.0, 1.0),
    ]


def test_a_chart_has_the_first_reading_those_of_the_journal_and_the_present_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[Any, ...]] = []

    def readings(unit: str, since_s: float, *, is_users: bool) -> list[tuple[float, int]]:
        asked.append((unit, is_users))
        return [(since_s + 5, 20)]

    monkeypatch.setattr(journal, "readings", readings)
    record = Record("app.service", begun_s=1.0, begun_bytes=10)
    points = evidence.points_of(record, "app.service", 30, is_users=False)
    assert [point.usage_bytes for point in points] == [10, 20, 30]
    assert points == sorted(points, key=lambda point: point.time_s)
    assert asked == [("app.service", False)]
    assert evidence.points_of(None, "app.service", 30, is_users=False)[0].usage_bytes == 30
