"""`--check` of processes: what it says of them, and that it does nothing to them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.process.kit import MINE, MONITOR, ROOT, WITHOUT_CAP_KILL, MonitorProcess
from tests.process.leaker import Leaker
from tests.process.stuck import Stuck

NAME = f"{MINE}-check"
AS_ON_MACOS = (sys.executable, str(Path(__file__).with_name("as_on_macos.py")))

LONGEST_S = 60.0

Start = Callable[..., Leaker]


def check(
    *arguments: str, prefix: tuple[str, ...] = (), command: tuple[str, ...] = MONITOR
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [*prefix, *command, "--check", "--as", "process", *arguments]
    return subprocess.run(
        line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=LONGEST_S
    )


def found(*arguments: str, **options: Any) -> tuple[int, dict[str, str]]:
    """The exit status, and the level of each finding by its id."""
    done = check("--json", *arguments, **options)
    assert done.stderr == ""
    (name,) = json.loads(done.stdout)["names"]
    findings = [finding for target in name["targets"] for finding in target["findings"]]
    return done.returncode, {finding["id"]: finding["level"] for finding in findings}


def test_each_process_is_shown_against_the_limit_and_none_is_signalled(start_leaker: Start) -> None:
    leakers = [start_leaker(NAME, mib=30), start_leaker(NAME, mib=2)]
    done = check("-m", "20", NAME)
    assert done.returncode == 3, done.stderr
    shown = [line for line in done.stdout.splitlines() if line.startswith(f"  {NAME}")]
    assert all(line.endswith(" yes") or " yes    " in line for line in shown)
    (over,) = [line for line in shown if f"{NAME}[{leakers[0].pid}] " in line]
    (within,) = [line for line in shown if f"{NAME}[{leakers[1].pid}] " in line]
    assert "############>" in over
    assert ".|" in within
    assert "SIGTERM to each process above the threshold" in done.stdout
    assert [leaker.lines for leaker in leakers] == [["ready"], ["ready"]]


def test_a_process_above_the_threshold_is_an_error_and_that_nobody_starts_it_again_a_note(
    start_leaker: Start,
) -> None:
    start_leaker(NAME, mib=30)
    status, findings = found("-m", "20", NAME)
    assert status == 3
    assert (findings["over-now"], findings["no-restart"]) == ("error", "note")


def test_a_process_that_may_not_be_signalled_is_an_error(another_uid: int, start_leaker: Start) -> None:
    foreign = start_leaker(NAME, uid=another_uid)
    status, findings = found("-m", "20", NAME, prefix=WITHOUT_CAP_KILL)
    assert (status, findings["not-permitted"]) == (3, "error")
    assert "not-permitted" not in found("-m", "20", NAME)[1]
    assert foreign.lines == ["ready"]


def test_a_process_that_ignores_the_signal_is_an_error() -> None:
    code = f"import signal, time; open('/proc/self/comm', 'w').write('{NAME}'); "
    code += "signal.signal(signal.SIGUSR1, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        assert found("-m", "20", "-s", "USR1", NAME)[1]["signal-ignored"] == "error"
        assert "signal-ignored" not in found("-m", "20", "-s", "USR2", NAME)[1]
        deaf.kill()


def test_a_monitor_that_already_monitors_them_is_a_warning(
    start_leaker: Start, start_monitor: Callable[..., MonitorProcess]
) -> None:
    start_leaker(NAME)
    assert "already-monitored" not in found("-m", "20", NAME)[1]
    start_monitor("-m", "500", NAME).wait_ready()
    status, findings = found("-m", "20", NAME)
    assert (status, findings["already-monitored"]) == (3, "warning")


def test_the_nearest_names_are_said_where_there_is_none(start_leaker: Start) -> None:
    start_leaker(NAME)
    wrong = NAME.replace("check", "chekc")
    done = check("-m", "20", wrong)
    assert (done.returncode, done.stdout) == (4, "")
    said = f"memory-monitor: '{wrong}': no process has a name that starts with it; did you mean {NAME}"
    # Another run of the tests has processes of names like these.
    assert re.fullmatch(rf"{re.escape(said)}( or \S+)*\?\n", done.stderr)


def test_a_process_whose_name_steers_a_terminal_is_shown_and_suggested_harmlessly() -> None:
    evil = MINE.encode() + b"\x1b[2J\r\x9b"
    code = f"import time; open('/proc/self/comm', 'wb').write({evil!r}); print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        shown = check("-m", "500", MINE)
        suggested = check("-m", "500", f"{MINE}-[2J-")
        process.kill()
    assert shown.returncode == 0, shown.stderr
    assert suggested.returncode == 4
    said = rf"{MINE}\x1b[2J\r\x9b"
    assert said in shown.stdout
    assert said in suggested.stderr
    for text in (shown.stdout, shown.stderr, suggested.stderr):
        assert all(line.isprintable() for line in text.split("\n"))


def test_of_several_names_those_that_there_are_are_reported(start_leaker: Start) -> None:
    start_leaker(NAME)
    done = check("-m", "20", NAME, f"{MINE}-none")
    assert done.returncode == 4
    assert f"{NAME}: 1 process (--as process)\n" in done.stdout
    assert f"'{MINE}-none': no process" in done.stderr


def test_what_runs_it_is_left_out_and_said(start_leaker: Start) -> None:
    leaker = start_leaker(NAME)
    shell = f'printf {NAME} >/proc/$$/comm; "$@"; exit $?'
    done = check("-m", "20", NAME, prefix=("sh", "-c", shell, "sh"))
    assert re.fullmatch(
        r"warning: process \d+ is skipped: it is memory-monitor or an ancestor of it\n", done.stderr
    )
    assert f"{NAME}[{leaker.pid}]" in done.stdout
    assert f"{NAME}: 1 process (" in done.stdout


@pytest.mark.parametrize("name", ["memory-monitor", "python3-stuck"])
def test_a_process_that_may_be_a_monitor_and_cant_be_read_is_a_note_and_holds_up_nothing(
    start_leaker: Start, start_stuck: Callable[..., Stuck], name: str
) -> None:
    start_leaker(NAME)
    with start_stuck(name) as stuck:
        done = check("-m", "20", NAME)
        status, findings = found("-m", "20", NAME)
    assert (status, findings["monitors-unknown"]) == (0, "note")
    assert f"{name}[{stuck.pid}]" in done.stdout
    assert "monitors-unknown" not in found("-m", "20", NAME)[1]


def test_a_process_whose_pss_cant_be_read_holds_up_nothing(start_stuck: Callable[..., Stuck]) -> None:
    with start_stuck(NAME):
        status, findings = found("-m", "20", "-s", "HUP", NAME)
        assert (status, findings["no-restart"]) == (0, "note"), findings
        assert "unreadable" not in findings
        status, findings = found("-m", "20", "-s", "HUP", "--metric", "pss", NAME)
        assert (status, findings["unreadable"]) == (3, "error")


def test_a_process_whose_long_name_cant_be_read_is_said_and_the_others_are_reported(
    start_leaker: Start, start_stuck: Callable[..., Stuck]
) -> None:
    name = f"{NAME}-with-a-long-name"
    leaker = start_leaker(name)
    with start_stuck(name) as stuck:
        done = check("-m", "20", name)
    assert f"[{leaker.pid}]" in done.stdout
    assert f"[{stuck.pid}]" not in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"memory-monitor: '{name}': the name of a process can't be read (")


@pytest.mark.parametrize("mode", ["--check", "--once"])
def test_one_that_is_ended_by_a_signal_says_nothing_by_its_status(tmp_path: Path, mode: str) -> None:
    """While it waits for a bus that says nothing."""
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(str(tmp_path / "bus"))
        bus.listen()
        environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path}/bus"}
        command = [*MONITOR, mode, "-m", "20", "x.service"]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as process:
            bus.settimeout(30.0)
            with bus.accept()[0]:
                process.terminate()
                process.wait()
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_report_that_cant_be_written_is_one_line(start_leaker: Start, form: tuple[str, ...]) -> None:
    start_leaker(NAME)
    command = [*MONITOR, "--check", *form, "--as", "process", "-m", "20", NAME]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "memory-monitor: the standard output can't be written: No space left on device\n"


def test_without_proc_and_systemd_it_says_what_there_is_to_say(start_leaker: Start) -> None:
    leaker = start_leaker(NAME, mib=30)
    status, findings = found("-m", "20", NAME, command=AS_ON_MACOS)
    assert (status, findings) == (3, {"no-restart": "note", "over-now": "error"})
    assert leaker.lines == ["ready"]


def test_the_running_monitor_carries_nothing_of_it(start_leaker: Start) -> None:
    start_leaker(NAME)
    code = (
        "import sys; from memmon_systemd.cli import main; main(sys.argv[1:]);"
        "print([name for name in sys.modules if '.check' in name or name in ('json', 'difflib', 'textwrap')])"
    )
    command = [sys.executable, "-c", code, "--once", "--as", "process", "-m", "500", NAME]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
