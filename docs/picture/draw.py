"""Draws docs/leak.svg and docs/leak-dark.svg from docs/picture/leak.csv, which was recorded on real systemd.

`make picture` does this. To record again, in the test machine (machine.py):

    python3 tests/vm/machine.py --run 'PYTHONPATH=tests/vm python3 docs/picture/record.py' >leak.csv
"""

import csv
import hashlib
from dataclasses import dataclass
from math import nan
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

DOCS = Path(__file__).parents[1]
RECORD = Path(__file__).with_name("leak.csv")
MIB = 1 << 20
LIMIT_MIB = 200
THRESHOLD_MIB = 160

mpl.rcParams.update(
    {
        # Text stays text: sharp, small, and searchable.
        "svg.fonttype": "none",
        # The same data give the same file.
        "svg.hashsalt": "memory-monitor",
        # The first comes with matplotlib, and is wider than what a reader without it will see.
        "font.sans-serif": ["DejaVu Sans", "Verdana", "Helvetica", "Arial"],
        "font.size": 9.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
    }
)


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of one picture."""

    file: str
    text: str
    faint: str
    cache: str
    memory: str
    threshold: str
    limit: str


# Text and lines have a contrast of at least 4.5 to GitHub's backgrounds, #ffffff and #0d1117.
THEMES = (
    Theme("leak.svg", "#1f2328", "#656d76", "#d8dee4", "#0969da", "#9a6700", "#cf222e"),
    Theme("leak-dark.svg", "#e6edf3", "#8b949e", "#30363d", "#58a6ff", "#d29922", "#ff7b72"),
)


@dataclass(frozen=True, slots=True)
class Recording:
    """What record.py wrote; sizes in MiB, not a number where there was no cgroup."""

    times_s: list[float]
    current: list[float]
    unreclaimable: list[float]
    signals_s: list[float]
    starts_s: list[float]


def read() -> Recording:
    """The recorded data."""
    with RECORD.open(newline="") as file:
        rows = list(csv.DictReader(file))
    samples = [row for row in rows if not row["event"]]

    def column(name: str) -> list[float]:
        return [int(row[name]) / MIB if row[name] else nan for row in samples]

    def times_s(event: str) -> list[float]:
        return [float(row["time_s"]) for row in rows if row["event"] == event]

    return Recording(
        [float(row["time_s"]) for row in samples],
        column("current_bytes"),
        column("unreclaimable_bytes"),
        times_s("SIGTERM"),
        times_s("started"),
    )


def draw(recording: Recording, theme: Theme) -> None:
    """Writes the picture in the colours of one theme."""
    figure, axes = plt.subplots(figsize=(8.4, 3.9), layout="constrained")
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    draw_memory(axes, recording, theme)
    draw_limits(axes, recording, theme)
    draw_events(axes, recording, theme)
    set_axes(axes, recording, theme)
    digest = hashlib.sha256(RECORD.read_bytes()).hexdigest()
    about = {"Date": None, "Creator": None, "Title": "A leak, the signal, and the restart", "Source": digest}
    figure.savefig(DOCS / theme.file, transparent=True, metadata=about)
    plt.close(figure)


def draw_memory(axes: Axes, recording: Recording, theme: Theme) -> None:
    """What the kernel can't drop, and above it the rest of memory.current."""
    times_s, kept = recording.times_s, recording.unreclaimable
    axes.fill_between(times_s, kept, recording.current, color=theme.cache, linewidth=0)
    axes.fill_between(times_s, kept, color=theme.memory, alpha=0.15, linewidth=0)
    axes.plot(times_s, kept, color=theme.memory, linewidth=2.2)
    first_s = recording.signals_s[0]
    axes.text(0.28 * first_s, 181, "page cache:\nthe kernel can drop it", color=theme.text, va="center")
    axes.text(0.62 * first_s, 30, "memory that\nit can't drop", color=theme.memory, va="center")


def draw_limits(axes: Axes, recording: Recording, theme: Theme) -> None:
    """The threshold and the limit, each with its name above it."""
    lines = (
        (LIMIT_MIB, theme.limit, "-", "MemoryMax=: here the kernel would kill"),
        (THRESHOLD_MIB, theme.threshold, "--", "80%: memory-monitor asks"),
    )
    for height, colour, style, name in lines:
        axes.axhline(height, color=colour, linestyle=style, linewidth=1.4)
        axes.text(restart_s(recording) + 0.8, height + 3, name, color=colour, va="bottom")


def draw_events(axes: Axes, recording: Recording, theme: Theme) -> None:
    """The signals and the new starts; the first of each has words."""
    for at_s in recording.signals_s:
        axes.plot(at_s, height_at(recording, at_s), "o", color=theme.threshold, markersize=8)
    signal_s, start_s = recording.signals_s[0], restart_s(recording)
    arrow = {"arrowstyle": "-", "color": theme.text, "linewidth": 0.9, "shrinkA": 2, "shrinkB": 5}
    words = (
        ("SIGTERM: it\nfinishes its\nwork, and exits", (signal_s, height_at(recording, signal_s)), (38, -34)),
        ("systemd starts\nit afresh", (start_s, 4), (46, 22)),
    )
    for text, point, offset in words:
        axes.annotate(
            text, point, offset, textcoords="offset points", color=theme.text, va="center", arrowprops=arrow
        )


def restart_s(recording: Recording) -> float:
    """When it started after the first signal."""
    return next(at_s for at_s in recording.starts_s if at_s > recording.signals_s[0])


def height_at(recording: Recording, at_s: float) -> float:
    """The unreclaimable memory at the sample that is next to a time, in MiB."""
    nearest = min(range(len(recording.times_s)), key=lambda i: abs(recording.times_s[i] - at_s))
    return recording.unreclaimable[nearest]


def set_axes(axes: Axes, recording: Recording, theme: Theme) -> None:
    """Scales and their words."""
    axes.set_xlim(0, recording.times_s[-1])
    axes.set_ylim(0, 222)
    axes.set_yticks(range(0, 201, 50), [f"{mib} MiB" for mib in range(0, 201, 50)])
    axes.set_xticks(range(0, int(recording.times_s[-1]) + 1, 15))
    axes.xaxis.set_major_formatter("{x:.0f} s")
    axes.tick_params(colors=theme.faint, length=0)
    axes.spines["bottom"].set_color(theme.faint)


def main() -> None:
    """Both pictures."""
    recording = read()
    for theme in THEMES:
        draw(recording, theme)


main()
