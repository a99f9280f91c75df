"""How values are written for a reader: sizes, times, signals, and text that may hold anything."""

from __future__ import annotations

import signal
from collections.abc import Sequence


def one_line(text: str) -> str:
    r"""The text with whatever isn't printable written as an escape such as \n or \x1b.

    A process chooses its own name: this keeps it from forging a line or steering a terminal.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def few(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are: it could be thousands."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def signal_name(number: int) -> str:
    """The name of a signal: "SIGTERM", "SIGRTMIN+3"; "signal 99" for one that has none."""
    first: int | None = getattr(signal, "SIGRTMIN", None)
    if number not in signal.valid_signals():
        return f"signal {number}"
    if first is None or number <= first:
        return signal.Signals(number).name
    return f"SIGRTMIN+{number - first}"


def format_bytes(size_bytes: int) -> str:
    """A size for a log line: "500 MiB" when it is whole, else one decimal, "512.3 MiB"."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    for power, letter in enumerate("KMGTPE", start=1):
        unit = 1 << (10 * power)
        tenths = (size_bytes * 10 + unit // 2) // unit
        if tenths < 10240 or letter == "E":
            break
    if size_bytes % unit == 0:
        return f"{size_bytes // unit} {letter}iB"
    return f"{tenths // 10}.{tenths % 10} {letter}iB"


def format_growth(grown_bytes: int, time_s: float) -> str:
    """A growth for a log line, per hour, minute or second, whichever keeps it below a GiB: "+41 MiB/h"."""
    per_s = grown_bytes / time_s
    unit, unit_s = "h", 3600
    if per_s * 3600 >= 1 << 30:
        unit, unit_s = ("min", 60) if per_s * 60 < 1 << 30 else ("s", 1)
    return f"+{format_bytes(round(per_s * unit_s))}/{unit}"


def percent(part: int, whole: int) -> int:
    """How many whole percent of `whole` it is; a part of nothing is all of it (MemoryMax=0)."""
    return 100 * part // whole if whole else 100


def format_seconds(time_s: float) -> str:
    """A time for a log line, rounded to what is worth reading: "500 ms", "2 s", "1 min 30 s"."""
    if 0 < time_s < 0.0009995:
        return f"{round(time_s * 1_000_000)} us"
    if 0 < time_s < 0.00995:
        return f"{round(time_s * 1000, 1):g} ms"
    if 0 < time_s < 0.9995:
        return f"{round(time_s * 1000)} ms"
    if time_s < 59.95:
        return f"{round(time_s, 1):g} s"
    minutes, seconds = divmod(round(time_s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s"))
    return " ".join(f"{value} {unit}" for value, unit in parts if value)
