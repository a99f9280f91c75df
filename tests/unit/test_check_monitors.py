"""What `--check` knows of other monitors, by command lines in which strangers may write what they like."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memmon_systemd.arguments import parse
from memmon_systemd.check.facts import OtherMonitor
from memmon_systemd.check.read_monitors import MonitorReader, RunningMonitor, settings_of
from memmon_systemd.settings import Settings
from tests.unit.trees import linux_only

pytestmark = linux_only


def settings(arguments: str) -> Settings:
    return parse(["-m", "5", *arguments.split()])


@pytest.mark.parametrize(
    ("arguments", "unit", "user", "expected"),
    [
        ("myapp", "myapp.service", False, True),
        ("myapp.service", "myapp.service", False, True),
        ("other myapp", "myapp.service", False, True),
        ("worker@*", "worker@7.service", False, True),
        ("--as unit new", "new.service", False, True),
        ("--user myapp", "myapp.service", True, True),
        ("myapp", "myapp.service", True, False),
        ("--as process myapp", "myapp.service", False, False),
        ("--as owner myapp", "myapp.service", False, False),
        ("myapp", "myapp2.service", False, False),
    ],
)
def test_the_names_of_another_monitor_are_compared_as_it_would(
    arguments: str, unit: str, user: bool, expected: bool
) -> None:
    other = RunningMonitor.of(1, os.geteuid(), settings(arguments))
    assert other.monitors_unit(unit, user) is expected


def test_a_monitor_of_another_users_units_is_no_second_one_of_this_users() -> None:
    other = RunningMonitor.of(1, os.geteuid() + 1, settings("--user myapp"))
    assert not other.monitors_unit("myapp.service", user=True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("my", True),
        ("--as owner my", True),
        ("--as unit my", False),
        ("my.service", False),
        ("myapp", False),  # A unit of that name is loaded.
        ("--as process myapp", True),
        ("x", False),
    ],
)
def test_a_name_without_a_unit_is_the_beginning_of_a_process_name(arguments: str, expected: bool) -> None:
    other = RunningMonitor.of(1, os.geteuid(), settings(arguments))
    is_loaded = {"myapp.service": True}.get
    monitors = other.monitors_process(b"myapp".startswith, lambda unit: bool(is_loaded(unit)))
    assert monitors is expected


def test_of_names_that_mean_something_else_nobody_is_asked() -> None:
    """A stranger's command line of 64 KiB is no reason for 20,000 questions to systemd."""
    other = RunningMonitor.of(1, os.geteuid(), settings(" ".join(f"n{number}" for number in range(5000))))

    def ask(unit: str) -> bool:
        raise AssertionError(unit)

    assert other.monitors_unit("n7.service", user=False)
    assert not other.monitors_process(b"myapp".startswith, ask)


@contextmanager
def fake_monitor(directory: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with the command line of a monitor, which only sleeps."""
    script = directory / "memory-monitor"
    script.write_text("import time\nprint(flush=True)\ntime.sleep(600)\n")
    with subprocess.Popen((sys.executable, script, *options), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("options", "counts"),
    [((), True), (("--dry-run",), False), (("--once",), True), (("--metric", "x"), False)],
)
def test_another_monitor_is_known_by_its_command_line(
    tmp_path: Path, options: tuple[str, ...], counts: bool
) -> None:
    with fake_monitor(tmp_path, "-m", "5", *options, "myapp.service") as process:
        reader = MonitorReader(lambda: None, False)
        found = reader.of("myapp.service", 0).known
    told = parse(["-m", "5", "x"]).target
    assert (OtherMonitor(process.pid, None, told) in found) is counts


@pytest.mark.parametrize("word", ["--version", "--help", "-h", "-vh", "-qh"])
def test_a_monitor_that_says_its_version_or_help_says_it_not_in_the_report(
    tmp_path: Path, word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with fake_monitor(tmp_path, "-m", "5", word, "myapp.service") as process:
        found = MonitorReader(lambda: None, False).of("myapp.service", 0)
    assert process.pid not in [monitor.pid for monitor in found.known]
    assert capfd.readouterr() == ("", "")


OPTIONS = [
    *("-m", "-m5", "--max-memory=", "-i", "-s", "--metric", "--swap", "--growth", "--for", "--repeat"),
    *("--kill-whom", "--restart", "--user", "--as", "-n", "--once", "--until-stopped", "--check", "--json"),
    *("--check-config", "--hard", "--budget"),
    *("-v", "-q", "--version", "--help", "-h", "--", "[z-a]", "worker@*.service", "x.timer", "1e999", "80%"),
]
WORDS = st.one_of(st.sampled_from(OPTIONS), st.binary(max_size=300).map(os.fsdecode))


@given(st.lists(WORDS, max_size=12))
def test_no_command_line_is_printed_or_ends_the_report(words: list[str]) -> None:
    given_settings = settings_of(["memory-monitor", *words])
    if given_settings is not None:
        assert not {"--help", "-h", "--version"} <= set(words)


@pytest.mark.parametrize(
    ("line", "is_one"),
    [
        ("memory-monitor -m 5 x", True),
        ("/usr/bin/python3 -I /usr/bin/memory-monitor -m 5 x", True),
        ("python3 -m memmon_systemd -m 5 x", True),
        ("memmon_systemd -m 5 x", False),
        ("vi a b c memory-monitor -m 5 x", False),
        ("", False),
    ],
)
def test_a_command_line_is_a_monitors_by_its_first_words(line: str, is_one: bool) -> None:
    assert (settings_of(line.split()) is not None) is is_one
