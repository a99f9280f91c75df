"""The chart of an invocation."""

import re
import sys
from pathlib import Path

import pytest

from memmon_systemd.ctl.call import CallError
from memmon_systemd.ctl.chart import Line, Point, chart, plot

MIB = 1 << 20
POINTS = [Point(1e9 + minute * 60, (100 + minute) * MIB) for minute in (0, 30, 300)]
LINES = [Line("threshold", 800 * MIB), Line("limit", 1000 * MIB)]


def test_it_shows_each_reading_between_its_lines() -> None:
    drawn = chart(POINTS, LINES, 80)
    assert max(map(len, drawn)) <= 80
    assert drawn[0].startswith("   limit 1000 MiB |---")
    assert drawn[2].startswith("threshold 800 MiB |---")
    assert sum(line.count("*") for line in drawn) == 3
    places = sorted(
        (line.index("*", at) - 19, number)
        for number, line in enumerate(drawn)
        for at in range(len(line))
        if line[at] == "*"
    )
    (first_at, first), (second_at, second), (third_at, third) = places
    assert first_at == 0
    assert second_at == pytest.approx(third_at / 10, abs=1)
    assert first == second > third, "the larger is higher"
    assert len(re.findall(r"2001-09-09 \d\d:\d\d:40", drawn[-1])) == 2


@pytest.mark.parametrize("points", [[], POINTS[:1], [POINTS[0], POINTS[0]]])
def test_less_than_two_moments_are_no_chart(points: list[Point]) -> None:
    assert chart(points, LINES, 80) == []


@pytest.mark.parametrize("columns", [None, 1, 40, 1000])
def test_it_fits(columns: int | None) -> None:
    assert max(map(len, chart(POINTS, LINES, columns))) <= min(max(columns or 80, 40), 100)


def test_without_matplotlib_a_file_is_refused_with_what_helps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(CallError, match=r"needs matplotlib, .* apt install python3-matplotlib"):
        plot("app.service", POINTS, LINES, str(tmp_path / "x.svg"))


def test_a_file_is_drawn_where_there_is_matplotlib(tmp_path: Path) -> None:
    file = tmp_path / "x.svg"
    plot("app.service", POINTS, LINES, str(file))
    assert "<svg" in file.read_text()
    with pytest.raises(CallError, match="can't be written"):
        plot("app.service", POINTS, LINES, str(tmp_path / "missing" / "x.svg"))
    with pytest.raises(CallError, match="can't be written"):
        plot("app.service", POINTS, LINES, str(tmp_path / "x.nonsense"))
