"""`memmonctl top` in a terminal, which tmux is: the test reads the screen."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.kit import MINE, ROOT, MonitorProcess
from tests.process.leaker import Leaker
from tests.process.waiting import eventually

SOON_S = 30.0
pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux isn't installed: .ci/setup test")
# Any: the options are those of the class that is started, which checks their names itself.
Start = Callable[..., MonitorProcess]


class Screen:
    """A terminal that runs `memmonctl top`."""

    def __init__(self, socket: Path, states: Path, columns: int = 110, lines: int = 20) -> None:
        self._tmux = ("tmux", "-S", os.fspath(socket), "-f", "/dev/null")
        top = f"{sys.executable} -m memmon_systemd.ctl.command --directory {states} top"
        size = ("-x", str(columns), "-y", str(lines))
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "COLUMNS": str(columns), "LINES": str(lines)}
        command = f"cd {ROOT}; {top}; echo ended with $?; sleep 1d"
        subprocess.run((*self._tmux, "new-session", "-d", *size, command), env=environment, check=True)

    def __call__(self, *words: str) -> str:
        return subprocess.run((*self._tmux, *words), capture_output=True, text=True, check=False).stdout

    @property
    def text(self) -> str:
        """What stands on it."""
        return self("capture-pane", "-p")

    def wait_for(self, what: str) -> str:
        eventually(lambda: what in self.text, SOON_S, f"the screen shows {what!r}", lambda: self.text)
        return self.text

    def press(self, key: str) -> None:
        self("send-keys", key)


@pytest.fixture
def shown(
    start_monitor: Start, start_leaker: Callable[..., Leaker], tmp_path: Path
) -> Iterator[tuple[Screen, Leaker, Leaker]]:
    """A screen, and two processes that use 10 and 30 of 100 MiB."""
    small, large = (start_leaker(f"{MINE}-top", mib=mib) for mib in (10, 30))
    monitor = start_monitor("-m", "100", "-i", "0.2", "--as", "process", f"{MINE}-top")
    monitor.wait_ready()
    screen = Screen(tmp_path / "tmux", monitor.runtime)
    yield screen, small, large
    screen("kill-server")


def order(text: str) -> list[int]:
    """The PIDs in the order of the screen."""
    return [int(line.split("[")[1].split("]")[0]) for line in text.splitlines() if line.startswith(MINE)]


def used_mib(text: str, pid: int) -> float:
    (line,) = (line for line in text.splitlines() if f"[{pid}]" in line)
    return float(line.split()[2])


def test_it_shows_what_is_monitored_and_what_changes(shown: tuple[Screen, Leaker, Leaker]) -> None:
    screen, small, large = shown
    text = screen.wait_for("2 ok")
    assert "TREND" in text
    assert order(text) == [large.pid, small.pid], "the nearest first"
    small.grow(50)
    eventually(lambda: used_mib(screen.text, small.pid) > 55, SOON_S, "what it uses now", lambda: screen.text)
    eventually(lambda: order(screen.text) == [small.pid, large.pid], SOON_S, "the nearest first")
    screen.wait_for("▁█")


def test_keys_sort_it_and_end_it_and_the_terminal_is_left_as_it_was(
    shown: tuple[Screen, Leaker, Leaker],
) -> None:
    screen, small, large = shown
    screen.wait_for("by share; q quit")
    screen.press("n")
    screen.wait_for("by name; q quit")
    by_name = sorted((small.pid, large.pid), key=str)
    eventually(lambda: order(screen.text) == by_name, SOON_S, "by name", lambda: screen.text)
    screen.press("Down")
    eventually(lambda: order(screen.text) == by_name[1:], SOON_S, "the next one", lambda: screen.text)
    screen.press("q")
    assert "TREND" not in screen.wait_for("ended with 0")


@pytest.mark.parametrize(("columns", "lines"), [(60, 8), (200, 40), (20, 4)])
def test_it_follows_the_size_of_the_terminal(
    shown: tuple[Screen, Leaker, Leaker], columns: int, lines: int
) -> None:
    screen, _, large = shown
    screen.wait_for("2 ok")
    screen("resize-window", "-x", str(columns), "-y", str(lines))
    name = f"{MINE}-top[{large.pid}]"[: 7 if columns < 40 else 99]
    eventually(
        lambda: name in screen.text and ("MONITOR" in screen.text) == (columns == 200),
        SOON_S,
        "it is drawn anew",
        lambda: screen.text,
    )
    assert max(map(len, screen.text.splitlines())) <= columns
    screen.press("q")
    screen.wait_for("ended with")


def test_it_ends_by_control_c_without_a_traceback(shown: tuple[Screen, Leaker, Leaker]) -> None:
    screen, *_ = shown
    screen.wait_for("2 ok")
    screen.press("C-c")
    assert "Traceback" not in screen.wait_for("ended with 0")


def test_without_a_terminal_it_says_what_works(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "memmon_systemd.ctl.command", "--directory", os.fspath(tmp_path), "top")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "memmonctl: top draws on a terminal, and this is none: use memmonctl list, or watch memmonctl\n"
    )
