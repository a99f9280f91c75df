"""`memmonctl top`: the list, drawn again each second."""

from __future__ import annotations

import locale
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Final

from memmon_systemd.ctl import list_targets, words
from memmon_systemd.ctl.call import Call, CallError
from memmon_systemd.ctl.state import States, read_states
from memmon_systemd.ctl.trend import READINGS, Trends
from memmon_systemd.ctl.view import Row, problems_of, rows_of
from memmon_systemd.ctl.words import Column, Terminal
from memmon_systemd.errors import EXIT_OK

if TYPE_CHECKING:
    import curses

_REDRAW_S: Final = 1.0
_WITHOUT: Final = "use memmonctl list, or watch memmonctl"
_KEYS: Final = "q quit  s share  u used  g growth  a asked  n name  up/down scroll"
_COLUMNS: Final = (
    *list_targets.COLUMNS[:5],
    Column("TREND", weight=1),
    *list_targets.COLUMNS[5:],
)
_SORTS: Final[Mapping[str, tuple[str, Callable[[Row], float | str]]]] = {
    "s": ("share", lambda row: -1.0 if row.share is None else row.share),
    "u": ("used", lambda row: row.usage_bytes or 0),
    "g": ("growth", lambda row: row.growth_bytes_per_h or 0.0),
    "a": ("asked", lambda row: row.record.requests),
    "n": ("name", lambda row: row.record.name),
}
_QUIT: Final = (ord("q"), ord("Q"), 27)
_COLOURED: Final = {"over": 1, "held": 1, "signalled": 1, "problem": 2}


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture: the lines and what kind of news each is."""

    lines: Sequence[str]
    kinds: Sequence[str]


def run(call: Call) -> int:
    """Draw until it is ended by a key; the exit status. CallError where there is no terminal to draw on."""
    if call.is_json:
        raise CallError("top has no JSON form: use memmonctl list --json")
    if not (os.isatty(0) and os.isatty(1)):
        raise CallError(f"top draws on a terminal, and this is none: {_WITHOUT}")
    try:
        import curses
    except ImportError as error:
        raise CallError(f"top needs Python's module curses ({error}): {_WITHOUT}") from None
    call.states()  # Says how to start a monitor where there is none.
    locale.setlocale(locale.LC_ALL, "")
    for name in ("COLUMNS", "LINES"):  # curses would take them for the size, whatever that becomes.
        os.environ.pop(name, None)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)  # The terminal is to be left as it was.
    try:
        curses.wrapper(lambda window: _draw_on(window, call))
    except curses.error as error:
        term = call.environ.get("TERM", "")
        raise CallError(f"top can't draw on this terminal (TERM={term}: {error}): {_WITHOUT}") from None
    except KeyboardInterrupt:
        pass
    return EXIT_OK


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _draw_on(window: curses.window, call: Call) -> None:
    import curses

    has_colours = _prepare(call)
    trends = Trends(is_plain=locale.getpreferredencoding(do_setlocale=False).upper() != "UTF-8")
    sort, first, due_s = "s", 0, 0.0
    while True:
        now_s = time.monotonic()
        if now_s >= due_s:
            states = read_states(call.directories)
            rows = rows_of(states)
            trends.note(rows)
            due_s = now_s + _REDRAW_S
        height, width = window.getmaxyx()
        first = max(min(first, len(rows) - 1), 0)
        picture = frame(states, rows, trends, sort, first, width, height)
        _show(window, picture, has_colours=has_colours)
        window.timeout(max(int((due_s - time.monotonic()) * 1000), 1))
        pressed = window.getch()
        if pressed in _QUIT:
            return
        if pressed in (curses.KEY_DOWN, ord("j"), curses.KEY_UP, ord("k")):
            first += 1 if pressed in (curses.KEY_DOWN, ord("j")) else -1
        elif 0 <= pressed < 128 and chr(pressed) in _SORTS:
            sort = chr(pressed)


def _prepare(call: Call) -> bool:
    """Set up the terminal; whether it has colours that are wanted."""
    import curses

    if curses.tigetstr("civis"):
        curses.curs_set(0)
    if not (call.terminal.has_colours and curses.has_colors()):
        return False
    curses.use_default_colors()
    for pair, colour in ((1, curses.COLOR_YELLOW), (2, curses.COLOR_RED)):
        curses.init_pair(pair, colour, -1)
    return True


def _show(window: curses.window, picture: Frame, *, has_colours: bool) -> None:
    import curses

    window.erase()
    height, width = window.getmaxyx()
    for number, (line, kind) in enumerate(zip(picture.lines, picture.kinds, strict=True)):
        look = curses.A_REVERSE if kind == "head" else curses.A_BOLD if kind == "signalled" else 0
        if has_colours and kind in _COLOURED:
            look |= curses.color_pair(_COLOURED[kind])
        if number < height:
            # The last cell of the last line can't be written without scrolling.
            window.addnstr(number, 0, line, width - (number == height - 1), look)
    window.refresh()


def frame(
    states: States, rows: Sequence[Row], trends: Trends, sort: str, first: int, width: int, height: int
) -> Frame:
    """The picture for a terminal of this size, from the row of number `first` on."""
    problems = problems_of(states, rows)
    title, key = _SORTS[sort]
    ordered = sorted(rows, key=key, reverse=sort != "n")
    clock = time.strftime("%H:%M:%S")
    lines = [f"{clock}  {list_targets.summary(states, rows, [], problems)}"]
    kinds = [""]
    said = [f"! {words.safe(problem)}" for problem in problems][: max(height // 3, 1)]
    room = max(height - len(said) - 3, 1)
    shown = ordered[first : first + room]
    cells = []
    for row in shown:
        plain = list_targets.cells(row)
        cells.append([*plain[:5], trends.line(row).rjust(READINGS), *plain[5:]])
    row_kinds = [list_targets.kind(row) for row in shown]
    table = words.table(_COLUMNS, cells, row_kinds, Terminal(width, has_colours=False))
    lines += [table[0].ljust(width), *table[1:]]
    kinds += ["head", *row_kinds]
    lines += [*said, f"by {title}; {_KEYS}"]
    kinds += [*("problem" for _ in said), ""]
    return Frame([line[:width] for line in lines], kinds)
