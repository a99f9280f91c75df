"""Settings files: read as systemd reads them, and what it doesn't take as it was meant is said."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memmon_systemd.arguments import parse
from memmon_systemd.check import config_command
from memmon_systemd.check.config_command import check_config
from memmon_systemd.conf_file import SETTINGS, expand, read_conf, variables_of
from memmon_systemd.errors import UsageError

UNITS = Path(__file__).parents[2] / "units"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("MAX_MEMORY=80%\nINTERVAL=1\n", {"MAX_MEMORY": "80%", "INTERVAL": "1"}),
        ("  MAX_MEMORY =  80% \t\n", {"MAX_MEMORY": "80%"}),
        ("MAX_MEMORY=80%\r\nINTERVAL=1\r\n", {"MAX_MEMORY": "80%", "INTERVAL": "1"}),
        ("# MAX_MEMORY=1\n; SIGNAL=x\n\nMAX_MEMORY=80%", {"MAX_MEMORY": "80%"}),
        ("OPTIONS=--for 10s \\\n --swap\n", {"OPTIONS": "--for 10s  --swap"}),
        ("OPTIONS=\"--for 10s\" '--swap'\n", {"OPTIONS": "--for 10s--swap"}),
        ('OPTIONS=a"b"\n', {"OPTIONS": 'a"b"'}),
        (r'OPTIONS="a\"b\$c\d"' + "\n", {"OPTIONS": 'a"b$c\\d'}),
        (r"OPTIONS=a\b\ " + "\n", {"OPTIONS": "ab "}),
        ("MAX_MEMORY=80% # mine\n", {"MAX_MEMORY": "80% # mine"}),
        ("MAX_MEMORY=1\nMAX_MEMORY=2\n", {"MAX_MEMORY": "2"}),
        ("MAX_MEMORY=\n", {"MAX_MEMORY": ""}),
        ("PYTHONHASHSEED=0\nLC_ALL=C\n", {"PYTHONHASHSEED": "0", "LC_ALL": "C"}),
    ],
)
def test_a_file_is_read_as_systemd_reads_it(text: str, values: dict[str, str]) -> None:
    conf = read_conf(text.encode())
    assert conf.values == values
    assert conf.problems == ()


@pytest.mark.parametrize(
    ("line", "words", "instead"),
    [
        (b"MAXMEMORY=80%", "there is no setting MAXMEMORY=", "MAX_MEMORY=80%"),
        (b"max_memory=80%", "there is no setting max_memory=", "MAX_MEMORY=80%"),
        (b"INTERVALL=5", "there is no setting INTERVALL=", "INTERVAL=5"),
        (b"COLOUR=5", "there is no setting COLOUR=", "one of MAX_MEMORY=, INTERVAL=, SIGNAL=, OPTIONS="),
        (b"export MAX_MEMORY=80%", "'export MAX_MEMORY' is not a name", "MAX_MEMORY=80%"),
        (b"MAX_MEMORY: 80%", "'MAX_MEMORY: 80%' has no =", "MAX_MEMORY=80%"),
        (b"max-memory: 80%", "'max-memory: 80%' has no =", "MAX_MEMORY=80%"),
        (b"[Service]", "'[Service]' has no =", None),
        (b'OPTIONS="--for 10s', "a quotation mark of OPTIONS= isn't closed", None),
        (b"# a comment \\\nSIGNAL=INT", "the comment ends with a backslash", None),
        (b"OPTIONS=\xff", "it isn't UTF-8", None),
    ],
)
def test_what_systemd_would_not_take_as_it_was_meant_is_said_with_its_line(
    line: bytes, words: str, instead: str | None
) -> None:
    (problem,) = read_conf(b"# Settings\n\n" + line + b"\n").problems
    assert problem.line == 3
    assert problem.words.startswith(words)
    assert problem.instead == instead


def test_a_byte_order_mark_is_said_of_the_line_that_it_hides() -> None:
    conf = read_conf(b"\xef\xbb\xbfMAX_MEMORY=80%\nINTERVAL=1\n")
    (problem,) = conf.problems
    assert problem.words.startswith("the file begins with a byte order mark")
    assert (problem.line, problem.instead) == (1, "MAX_MEMORY=80%")
    assert conf.values == {"INTERVAL": "1"}


@given(st.binary())
def test_any_file_can_be_read(data: bytes) -> None:
    conf = read_conf(data)
    assert all(problem.line >= 1 for problem in conf.problems)


@given(st.text(st.characters(codec="ascii", exclude_characters="\0\n\r")))
def test_a_value_in_quotation_marks_is_what_is_read(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
    assert read_conf(f'OPTIONS="{quoted}"\n'.encode()).values == {"OPTIONS": value}


def test_variables_are_expanded_as_in_exec_start() -> None:
    values = {"A": "1 2", "B": "x"}
    assert expand(["-m", "${A}", "$A", "$C", "${C}", "a${B}c", "$$B"], values) == [
        *("-m", "1 2", "1", "2", "", "axc", "$B")
    ]
    assert variables_of(["${A}", "$B", "a${C}", "$$D"]) == ("A", "B", "C")


def run(tmp_path: Path, text: str) -> int:
    path = tmp_path / "myapp.conf"
    path.write_text(text)
    return check_config(str(path))


def test_a_file_that_can_be_used_has_status_0_and_its_options_are_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "MAX_MEMORY=80%\nOPTIONS=--for 10s\n") == 0
    assert capfd.readouterr().out == f"{tmp_path}/myapp.conf: -m 80% -i 2 -s auto --for 10s\n"
    assert check_config(str(UNITS / "example.conf")) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("MAX_MEMORY=5X\n", ":1: MAX_MEMORY=: '5X' is not a size: use MiB (500)"),
        ("\nINTERVAL=0\n", ":2: INTERVAL=: '0' is too short"),
        ("SIGNAL=FOO\n", ":1: SIGNAL=: 'FOO' is not a signal"),
        ("OPTIONS=--fro 5\n", ":1: OPTIONS=: unrecognized arguments: --fro"),
        ("OPTIONS=--for 5x\n", ":1: OPTIONS=: --for: '5x' is not a time"),
        ("OPTIONS=--metric rss\n", ":1: OPTIONS=: --metric rss: 'myapp.service' means units"),
        ('OPTIONS="--metric \'rss"\n', ":1: OPTIONS=--metric 'rss: No closing quotation"),
        ("OPTIONS=--help\n", ":1: OPTIONS= has --help or --version"),
        ("OPTIONS=--check\n", ":1: OPTIONS=: --check: changes nothing and exits: leave --until-stopped out"),
        ("MAXMEMORY=80%\n", ":1: there is no setting MAXMEMORY=: it has no effect: use MAX_MEMORY=80%"),
    ],
)
def test_a_file_that_cant_be_used_has_status_2_and_a_line_that_says_why(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    assert run(tmp_path, text) == 2
    written = capfd.readouterr()
    assert written.out == ""
    (line,) = written.err.splitlines()
    assert line.startswith(f"memory-monitor: {tmp_path}/myapp.conf{said}")


def test_a_file_that_isnt_there_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert check_config(str(tmp_path / "x.conf")) == 2
    assert f"{tmp_path}/x.conf: No such file or directory" in capfd.readouterr().err


SECTION = "[Service]\nRestart=always\n[X-MemoryMonitor]\n"


def run_unit(tmp_path: Path, text: str, file: str = "myapp.service.d/memory-monitor.conf") -> int:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return check_config(str(path))


@pytest.mark.parametrize(
    "file", ["myapp.service.d/a.conf", "service.d/a.conf", "worker@.service", "stdin", "a.container"]
)
def test_a_file_with_a_section_is_checked_as_one_of_a_unit(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], file: str
) -> None:
    assert run_unit(tmp_path, f"{SECTION}Threshold=80%\nFor=10s\n", file) == 0
    assert capfd.readouterr().out == f"{tmp_path}/{file}: Threshold=80% For=10s\n"


def test_a_drop_in_may_leave_the_threshold_to_another_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_unit(tmp_path, f"{SECTION}DryRun=yes\n") == 0
    assert run_unit(tmp_path, f"{SECTION}For=soon\n") == 2
    assert ":4: For=: 'soon' is not a time" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Threshold=5X\n", ":4: Threshold=: '5X' is not a size: use MiB (500)"),
        ("Threshold=1G\nMetric=rss\n", ":5: Metric=: 'rss' is of processes"),
        (
            "Treshold=1G\n",
            ":4: 'Treshold' is no key of [X-MemoryMonitor] and is ignored: did you mean Threshold=?",
        ),
        ("Threshold=80%\nHardThreshold=70%\n", ":5: HardThreshold="),
        ("Threshold 80%\n", ":4: 'Threshold 80%' is ignored: use KEY=VALUE"),
    ],
)
def test_a_section_that_cant_be_used_has_status_2_and_a_line_that_says_why(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    assert run_unit(tmp_path, SECTION + text) == 2
    written = capfd.readouterr()
    assert written.out == ""
    (line,) = written.err.splitlines()
    assert line.startswith(f"memory-monitor: {tmp_path}/myapp.service.d/memory-monitor.conf{said}")


@pytest.mark.parametrize("file", ["a.timer", "a.timer.d/a.conf"])
def test_a_unit_without_processes_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], file: str
) -> None:
    assert run_unit(tmp_path, f"{SECTION}Threshold=80%\n", file) == 2
    assert ":3: a timer has no processes: not monitored" in capfd.readouterr().err


def test_what_is_checked_is_what_the_shipped_units_run() -> None:
    for path, options in ((UNITS, ""), (UNITS / "user", "--user ")):
        lines = (path / "memory-monitor@.service").read_text().splitlines()
        (start,) = [line for line in lines if line.startswith("ExecStart=")]
        command = config_command.COMMAND.replace("myapp", "%i")
        assert start == f"ExecStart=/usr/bin/memory-monitor {options}{command}"
        (settings,) = [line for line in lines if line.startswith("Environment=MAX_MEMORY")]
        assert (
            dict(
                word.split("=", 1)
                for word in shlex.split(settings.removeprefix("Environment=").replace("%%", "%"))
            )
            == config_command.DEFAULTS
        )
    assert set(SETTINGS) == set(config_command.DEFAULTS)


def test_without_a_threshold_only_the_settings_of_a_monitor_are_checked() -> None:
    assert parse(["--check", "myapp"]).by_monitors_settings
    assert not parse(["--check", "-m", "5", "myapp"]).by_monitors_settings
    for arguments in ("--check --for 5 x", "--check-config x --check", "--check-config x y", "--check"):
        with pytest.raises(UsageError):
            parse(arguments.split())
