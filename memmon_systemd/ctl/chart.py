"""A chart of what a unit has used, in characters or as a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from memmon_systemd.ctl import words
from memmon_systemd.ctl.call import CallError
from memmon_systemd.formatting import format_bytes

_HEIGHT: Final = 9
_LEAST_COLUMNS, _MOST_COLUMNS = 40, 100


@dataclass(frozen=True, slots=True)
class Point:
    """One reading."""

    time_s: float
    """In seconds since 1970."""
    usage_bytes: int


@dataclass(frozen=True, slots=True)
class Line:
    """A height that matters."""

    name: str
    size_bytes: int


def chart(points: Sequence[Point], lines: Sequence[Line], columns: int | None) -> list[str]:
    """The readings as `*`, straight lines between them as `.`; nothing where there are fewer than two.

    What is above all of `points` and `lines` isn't there; `columns` is the width of the terminal.
    """
    if len(points) < 2 or points[-1].time_s <= points[0].time_s:
        return []
    top_bytes = max([*(point.usage_bytes for point in points), *(line.size_bytes for line in lines), 1])
    width = min(max(columns or 80, _LEAST_COLUMNS), _MOST_COLUMNS)
    labels = {
        _height(line.size_bytes, top_bytes): f"{line.name} {format_bytes(line.size_bytes)}" for line in lines
    }
    labels.setdefault(0, "0 B")
    labels.setdefault(_HEIGHT - 1, format_bytes(top_bytes))
    margin = max(map(len, labels.values()))
    plot = max(width - margin - 5, 10)
    grid = [["-" if _is_line(row, lines, top_bytes) else " " for _ in range(plot)] for row in range(_HEIGHT)]
    begin_s, end_s = points[0].time_s, points[-1].time_s

    def column(time_s: float) -> int:
        return round((time_s - begin_s) / (end_s - begin_s) * (plot - 1))

    for before, after in pairwise(points):
        first, last = column(before.time_s), column(after.time_s)
        for place in range(first, last):
            share = (place - first) / (last - first)
            between = before.usage_bytes + (after.usage_bytes - before.usage_bytes) * share
            grid[_height(round(between), top_bytes)][place] = "."
    for point in points:
        grid[_height(point.usage_bytes, top_bytes)][column(point.time_s)] = "*"
    drawn = [
        f"{labels.get(row, ''):>{margin}} |{''.join(grid[row])}".rstrip() for row in reversed(range(_HEIGHT))
    ]
    begin, end = words.clock(begin_s), words.clock(end_s)
    if len(begin) + len(end) + 2 > plot:
        begin, end = "", words.clock(end_s)[-8:]
    axis = begin + end.rjust(plot - len(begin))
    return [*drawn, " " * (margin + 2) + axis]


def _height(size_bytes: int, top_bytes: int) -> int:
    return min(max(round(size_bytes / top_bytes * (_HEIGHT - 1)), 0), _HEIGHT - 1)


def _is_line(row: int, lines: Sequence[Line], top_bytes: int) -> bool:
    return any(_height(line.size_bytes, top_bytes) == row for line in lines)


def plot(name: str, points: Sequence[Point], lines: Sequence[Line], path: str) -> None:
    """Write it as a file, of the type that its suffix says; CallError."""
    # Imported here: only this needs it, and it isn't installed with memory-monitor.
    try:
        from matplotlib.figure import Figure
    except ImportError:
        install = "pip install 'memory-monitor[plot]', or apt install python3-matplotlib"
        raise CallError(f"--plot needs matplotlib, which isn't installed: {install}") from None
    mib = 1 << 20
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    begin_s = points[0].time_s if points else 0.0
    minutes = [(point.time_s - begin_s) / 60 for point in points]
    axes.plot(minutes, [point.usage_bytes / mib for point in points], marker="o", label="readings")
    for line in lines:
        axes.axhline(line.size_bytes / mib, linestyle="--", linewidth=1, color="grey")
        axes.annotate(
            f"{line.name} {format_bytes(line.size_bytes)}",
            (0, line.size_bytes / mib),
            textcoords="offset points",
            xytext=(4, 3),
        )
    axes.set_ylim(0, axes.get_ylim()[1] * 1.1)
    axes.set(title=name, xlabel="minutes of this invocation", ylabel="MiB")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise CallError(f"--plot: '{path}' can't be written: {error}") from None
