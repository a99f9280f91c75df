"""The command memmonctl over monitors of processes."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.process.kit import MINE, ROOT, MonitorProcess
from tests.process.leaker import Leaker
from tests.process.waiting import eventually

SOON_S = 20.0
MEMMONCTL = (sys.executable, "-m", "memmon_systemd.ctl.command")
# Root without the right to write where another user may.
WITHOUT_OVERRIDE = ("setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", "--")
# Any: the options are those of the class that is started, which checks their names itself.
Start = Callable[..., MonitorProcess]


def memmonctl(directory: Path, *words: str, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (*prefix, *MEMMONCTL, "--directory", os.fspath(directory), *words),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def targets(monitor: MonitorProcess) -> list[dict[str, Any]]:
    """The one that `list --json` shows."""
    found: list[dict[str, Any]] = json.loads(memmonctl(monitor.runtime, "--json").stdout)["targets"]
    return found


@pytest.fixture
def monitored(start_monitor: Start, start_leaker: Callable[..., Leaker]) -> tuple[MonitorProcess, Leaker]:
    """A monitor with a threshold of 50 MiB, and a process of 10 that ignores its signal."""
    leaker = start_leaker(f"{MINE}-ctl", mib=10, ignore=True)
    monitor = start_monitor("-m", "50", "-i", "0.2", "--repeat", "1h", "--as", "process", f"{MINE}-ctl")
    monitor.wait_ready()
    return monitor, leaker


def test_what_is_monitored_is_shown_with_what_it_uses_now(
    monitored: tuple[MonitorProcess, Leaker],
) -> None:
    monitor, leaker = monitored
    name = f"{MINE}-ctl[{leaker.pid}]"
    done = memmonctl(monitor.runtime)
    assert done.returncode == 0, done.stderr
    summary, head, line = done.stdout.splitlines()
    assert summary == "1 target, 1 monitor: 1 ok"
    assert head.split()[:4] == ["NAME", "STATE", "USED", "THRESHOLD"]
    assert line.split()[:2] == [name, "ok"]
    (before,) = targets(monitor)
    leaker.grow(20)
    (after,) = targets(monitor)
    assert after["usage_bytes"] - before["usage_bytes"] == pytest.approx(20 << 20, rel=0.1)
    assert (after["kind"], after["threshold_bytes"]) == ("process", 50 << 20)
    shown = memmonctl(monitor.runtime, "status", name).stdout
    assert shown.startswith(f"{name}: ok: ")
    assert re.search(r"^  rss +\S+ MiB  <- counts$", shown, re.MULTILINE)


def test_a_request_is_counted(monitored: tuple[MonitorProcess, Leaker]) -> None:
    monitor, leaker = monitored
    leaker.grow(60)
    leaker.wait_for_signals("SIGTERM", 1, SOON_S)
    eventually(lambda: targets(monitor)[0]["requests"] == 1, SOON_S, "one request")
    (shown,) = targets(monitor)
    assert shown["state"] == "signalled"
    assert shown["share"] > 1
    assert shown["last_request_s"] == pytest.approx(os.stat(monitor.log.path).st_mtime, abs=5)


def test_a_paused_process_is_held_until_it_is_resumed(monitored: tuple[MonitorProcess, Leaker]) -> None:
    monitor, leaker = monitored
    done = memmonctl(monitor.runtime, "pause", f"{MINE}-ctl*")
    assert done.stdout == f"{MINE}-ctl*: paused until it is resumed: {MINE}-ctl[{leaker.pid}]\n"
    leaker.grow(60)
    monitor.wait_for_line("held: .*: paused; asked once the pause has ended", SOON_S)
    assert "SIGTERM" not in leaker.lines
    assert memmonctl(monitor.runtime, "resume", "--all").returncode == 0
    leaker.wait_for_signals("SIGTERM", 1, SOON_S)
    resumed = monitor.wait_for_line("resumed: asked at the next poll", SOON_S)
    asked = monitor.wait_for_line("sent SIGTERM", SOON_S)
    assert monitor.lines.index(resumed) < monitor.lines.index(asked)
    again = memmonctl(monitor.runtime, "resume", "--all")
    assert (again.returncode, again.stderr) == (4, "memmonctl: '*' is not paused\n")


def test_a_pause_ends_by_itself(monitored: tuple[MonitorProcess, Leaker]) -> None:
    monitor, leaker = monitored
    assert memmonctl(monitor.runtime, "pause", "--all", "5").returncode == 0
    leaker.grow(60)
    held = monitor.wait_for_line("held: .*: paused; asked once the pause has ended", SOON_S)
    leaker.wait_for_signals("SIGTERM", 1, SOON_S)
    said = monitor.wait_for_line("the pause has ended: asked at the next poll", SOON_S)
    asked = monitor.wait_for_line("sent SIGTERM", SOON_S)
    lines = monitor.lines
    assert lines.index(held) < lines.index(said) < lines.index(asked), "said first, then asked"


def test_who_may_not_write_there_may_not_pause(
    monitored: tuple[MonitorProcess, Leaker], another_uid: int
) -> None:
    monitor, _ = monitored
    monitor.runtime.chmod(0o755)
    os.chown(monitor.runtime, another_uid, -1)
    done = memmonctl(monitor.runtime, "pause", "--all", prefix=WITHOUT_OVERRIDE)
    assert (done.returncode, done.stdout) == (1, "")
    assert "not permitted: " in done.stderr
    assert done.stderr.endswith(" is paused by root only\n")
    assert targets(monitor)[0]["paused_until_s"] is None
    assert memmonctl(monitor.runtime, prefix=WITHOUT_OVERRIDE).returncode == 0


def test_without_a_monitor_it_says_how_to_start_one(tmp_path: Path) -> None:
    for words in ((), ("status", "myapp"), ("pause", "myapp"), ("check",)):
        done = memmonctl(tmp_path, *words)
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith("memmonctl: no monitor is running: start one with systemctl enable")


def test_a_state_file_of_another_version_is_said_and_the_others_are_shown(
    monitored: tuple[MonitorProcess, Leaker],
) -> None:
    monitor, _ = monitored
    (own,) = monitor.runtime.glob("*.state")
    other = bytearray(own.read_bytes())
    other[8] += 1  # The number of its form.
    (monitor.runtime / "other.state").write_bytes(other)
    (monitor.runtime / "cut.state").write_bytes(own.read_bytes()[:100])
    done = memmonctl(monitor.runtime)
    assert done.returncode == 0
    assert done.stdout.startswith("1 target, 1 monitor: 1 ok; 2 problems, see below\n")
    assert "other.state: it is of form 2, which another version of memory-monitor writes" in done.stdout
    assert "cut.state: it is cut off: 100 of " in done.stdout


def test_an_unknown_name_is_answered_with_the_nearest(monitored: tuple[MonitorProcess, Leaker]) -> None:
    monitor, leaker = monitored
    name = f"{MINE}-ctl[{leaker.pid}]"
    for verb in ("status", "pause", "resume", "check"):
        done = memmonctl(monitor.runtime, verb, f"{MINE}-xtl")
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr == f"memmonctl: '{MINE}-xtl' is not monitored: did you mean {name}?\n"


def test_a_monitor_that_was_killed_is_said_and_one_that_has_ended_is_not(
    monitored: tuple[MonitorProcess, Leaker],
) -> None:
    monitor, leaker = monitored
    monitor.process.kill()
    monitor.process.wait()
    done = memmonctl(monitor.runtime)
    assert done.returncode == 3
    name = f"{MINE}-ctl[{leaker.pid}]"
    assert f"(PID {monitor.pid}) was killed; it monitored {name}\n" in done.stdout
    assert "1 problem, see below" in done.stdout


def test_a_monitor_that_was_stopped_is_no_problem(monitored: tuple[MonitorProcess, Leaker]) -> None:
    monitor, _ = monitored
    monitor.stop()
    assert memmonctl(monitor.runtime).returncode == 3
    assert "no monitor is running" in memmonctl(monitor.runtime).stderr


def test_a_reader_that_goes_away_ends_it_without_a_word(monitored: tuple[MonitorProcess, Leaker]) -> None:
    monitor, _ = monitored
    reader, writer = os.pipe()
    os.close(reader)
    command = (*MEMMONCTL, "--directory", os.fspath(monitor.runtime))
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def on_a_terminal(directory: Path, columns: int, **environment: str) -> str:
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            (*MEMMONCTL, "--directory", os.fspath(directory)),
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns), **environment},
            stdout=theirs,
            check=True,
        )
        return os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def test_it_fits_the_terminal_and_has_colours_only_where_they_are_wanted(
    monitored: tuple[MonitorProcess, Leaker],
) -> None:
    monitor, leaker = monitored
    leaker.grow(60)
    leaker.wait_for_signals("SIGTERM", 1, SOON_S)
    eventually(lambda: targets(monitor)[0]["state"] == "signalled", SOON_S, "it is signalled")
    for columns in (60, 80, 200):
        text = on_a_terminal(monitor.runtime, columns)
        assert "\x1b[1;33m" in text
        plain = re.sub(r"\x1b\[[\d;]*m", "", text)
        assert max(map(len, plain.splitlines())) <= columns, plain
        assert "signalled" in plain
        assert "%" in plain
    assert "\x1b" not in on_a_terminal(monitor.runtime, 80, NO_COLOR="1")
    assert "\x1b" not in on_a_terminal(monitor.runtime, 80, TERM="dumb")
    assert "MONITOR" in on_a_terminal(monitor.runtime, 200)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("nonsense",), "VERB: invalid choice: 'nonsense'"),
        (("pause",), "pause takes a NAME"),
        (("pause", "a", "1h", "b"), "pause takes a NAME"),
        (("pause", "a", "soon"), "'soon' is not a time"),
        (("resume",), "resume takes a NAME"),
        (("history", "-n", "0"), "-n/--lines: "),
        (("list", "--wrong"), "unrecognized arguments: --wrong"),
    ],
)
def test_wrong_usage_is_one_line_with_status_2(tmp_path: Path, words: tuple[str, ...], error: str) -> None:
    done = memmonctl(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert error in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_check_reports_on_the_processes_with_the_settings_of_their_monitor(
    monitored: tuple[MonitorProcess, Leaker],
) -> None:
    monitor, leaker = monitored
    done = memmonctl(monitor.runtime, "check")
    assert f"{MINE}-ctl" in done.stdout
    assert "threshold  50 MiB (rss)" in done.stdout, done.stdout + done.stderr
    assert str(leaker.pid) in done.stdout
    assert "already-monitored" not in done.stdout, "it is this monitor that is checked"
