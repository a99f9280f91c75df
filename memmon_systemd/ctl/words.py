"""How answers are written: tables that fit the terminal, colours where they are wanted, times."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from memmon_systemd.formatting import format_bytes, format_seconds, one_line
from memmon_systemd.output.record import Record

_MINUTE_S, _HOUR_S, _DAY_S = 60.0, 3600.0, 86400.0
_COLOURS: Final = {"over": "33", "held": "33", "signalled": "1;33", "problem": "31"}
NOTHING: Final = "-"


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where the answer goes."""

    columns: int | None
    """None: it is no terminal, and lines may be as long as they are."""
    has_colours: bool

    @classmethod
    def of(cls, environ: Mapping[str, str], descriptor: int = 1) -> Terminal:
        """That of a descriptor; NO_COLOR (no-color.org) and TERM=dumb are respected."""
        if not os.isatty(descriptor):
            return cls(None, has_colours=False)
        try:
            columns = int(environ.get("COLUMNS", "")) or os.get_terminal_size(descriptor).columns
        except (OSError, ValueError):
            columns = _terminal_columns(descriptor)
        has_colours = not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"
        return cls(columns or 80, has_colours=has_colours)

    def colour(self, kind: str, text: str) -> str:
        """The text in the colour of this kind of news; it says the same without."""
        code = _COLOURS.get(kind)
        return f"\x1b[{code}m{text}\x1b[0m" if code and self.has_colours else text


def _terminal_columns(descriptor: int) -> int:
    try:
        return os.get_terminal_size(descriptor).columns
    except OSError:
        return 80


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    is_right: bool = False
    """Numbers stand to the right."""
    weight: int = 0
    """Where the terminal is too narrow, columns go in this order, the highest first; 0: never."""


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], kinds: Sequence[str], terminal: Terminal
) -> list[str]:
    """The lines of a table; `kinds` are those of the rows, for their colours."""
    shown = list(range(len(columns)))
    widths = [
        max([len(column.title), *(len(row[number]) for row in rows)]) for number, column in enumerate(columns)
    ]
    while terminal.columns is not None and _width(widths, shown) > terminal.columns:
        number = max(shown, key=lambda number: columns[number].weight)
        if not columns[number].weight:
            break
        shown.remove(number)
    if terminal.columns is not None and (excess := _width(widths, shown) - terminal.columns) > 0:
        widths[0] = max(widths[0] - excess, 8)
    lines = [_line(columns, [column.title for column in columns], widths, shown)]
    for row, kind in zip(rows, kinds, strict=True):
        lines.append(terminal.colour(kind, _line(columns, row, widths, shown)))
    return lines


def _width(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[number] for number in shown) + 2 * (len(shown) - 1)


def _line(
    columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int], shown: Sequence[int]
) -> str:
    parts = []
    for number in shown:
        text, width = cells[number], widths[number]
        if len(text) > width:
            text = text[: width - 1] + "…"
        parts.append(text.rjust(width) if columns[number].is_right else text.ljust(width))
    return "  ".join(parts).rstrip()


def span(time_s: float) -> str:
    """A time by its two largest units: "1 d 2 h", "5 min"; below a minute, seconds."""
    if time_s < _MINUTE_S:
        return format_seconds(max(round(time_s), 0)) or "0 s"
    for unit_s, next_s in ((_DAY_S, _HOUR_S), (_HOUR_S, _MINUTE_S), (_MINUTE_S, _MINUTE_S)):
        if time_s >= unit_s:
            return format_seconds(time_s // next_s * next_s)
    return NOTHING


def ago(time_s: float | None) -> str:
    """How long ago a time since 1970 is."""
    return NOTHING if time_s is None else f"{span(time.time() - time_s)} ago"


def clock(time_s: float) -> str:
    """A time since 1970, as a reader's clock shows it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))


def size(size_bytes: int | None) -> str:
    """A size, if there is one."""
    return NOTHING if size_bytes is None else format_bytes(size_bytes)


def growth(bytes_per_h: float | None) -> str:
    """A growth for an hour."""
    if bytes_per_h is None:
        return NOTHING
    return ("+" if bytes_per_h >= 0 else "-") + format_bytes(round(abs(bytes_per_h)))


def state(record: Record) -> str:
    """The state of a target and why it is held."""
    paused = pause(record)
    if record.state == "held" and record.hold == "paused":
        return f"held: {paused or 'paused'}"
    held = f"{record.state}: {record.hold}" if record.state == "held" and record.hold else record.state
    return f"{held}, {paused}" if paused else held


def pause(record: Record) -> str | None:
    """Until when it is paused, if it is."""
    if record.paused_until_s is None:
        return None
    rest_s = record.paused_until_s - time.monotonic()
    return "paused" if rest_s == float("inf") else f"paused for {span(rest_s)}"


def plural(count: int, noun: str) -> str:
    """A number and what it counts."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def safe(name: str) -> str:
    """A name that can't steer a terminal."""
    return one_line(name)
