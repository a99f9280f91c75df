"""From the section of a unit's files to its settings: what each key sets, and what is said of mistakes."""

import gc
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import astuple, fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memmon_systemd.argument_rules import IN_UNIT_FILE, ON_COMMAND_LINE
from memmon_systemd.options import KEYS, OPTIONS
from memmon_systemd.settings import (
    UNBOUNDED,
    Action,
    KillWhom,
    Metric,
    Rate,
    Settings,
    Share,
    Size,
    TargetSettings,
)
from memmon_systemd.units.unit_file import MOST_KEYS, Assignment, Section, read_section
from memmon_systemd.units.unit_settings import UnitSettings, unit_settings

DEFAULTS = TargetSettings(Size(1))
MIB = 1 << 20
PATH = "/etc/systemd/system/myapp.service.d/mm.conf"


def section(*lines: str) -> Section:
    """As from a file that has the header in line 1 and these below it."""
    assignments = {}
    for number, line in enumerate(lines, start=2):
        key, _, value = line.partition("=")
        assignments[key] = Assignment(value, PATH, number)
    return Section(assignments, (), f"{PATH}:1", True)


def asked(*lines: str, unit: str = "myapp.service", defaults: TargetSettings = DEFAULTS) -> UnitSettings:
    return unit_settings(section(*lines), unit, defaults)


def told(*lines: str, unit: str = "myapp.service") -> list[str]:
    """The problems, without the path."""
    problems = asked(*lines, unit=unit).problems
    assert all(problem.startswith(f"{PATH}:") for problem in problems)
    return [problem.removeprefix(f"{PATH}:") for problem in problems]


def keeps_the_last_good(found: UnitSettings) -> bool:
    return found.settings is None and not found.is_valid


# --- the table --------------------------------------------------------------------------------


def test_every_field_of_a_target_has_one_key() -> None:
    assert sorted(option.field for option in KEYS.values()) == sorted(
        field.name for field in fields(TargetSettings)
    )


def test_the_defaults_of_the_table_are_those_of_the_settings() -> None:
    wanted = {field.name: field.default for field in (*fields(TargetSettings), *fields(Settings))}
    for option in OPTIONS:
        if option.field in wanted and not option.is_required:
            assert option.default == wanted[option.field], option


def test_what_messages_name_is_in_the_table() -> None:
    flags = {flag for option in OPTIONS for flag in option.flags}
    assert set(astuple(ON_COMMAND_LINE)) <= flags
    assert {word.partition("=")[0] for word in astuple(IN_UNIT_FILE)} <= set(KEYS)


# --- what is set ------------------------------------------------------------------------------

CASES = {
    "Threshold=80%": {"threshold": Share(80)},
    "Threshold=500": {"threshold": Size(500 * MIB)},
    "HardThreshold=1.5G": {"hard_threshold": Size(1536 * MIB)},
    "Signal=USR1": {"signal_number": signal.SIGUSR1},
    "Signal=auto": {"signal_number": None},
    "Interval=500ms": {"interval_s": 0.5},
    "Metric=working-set": {"metric": Metric.WORKING_SET},
    "Swap=yes": {"swap": True},
    "Swap=off": {"swap": False},
    "Growth=1G": {"growth_bytes_per_s": 1024 * MIB},
    "For=5min": {"for_s": 300.0},
    "MinAge=1h": {"min_age_s": 3600.0},
    "Budget=3/1d": {"budget": Rate(3, 86400.0)},
    "Budget=infinity": {"budget": UNBOUNDED},
    "AtMost=1": {"at_most": 1},
    "Repeat=infinity": {"repeat_s": float("inf")},
    "ConditionUnit=lock@%n": {"condition_unit": "lock@%n.service"},
    "ConditionTimeout=1min": {"condition_timeout_s": 60.0},
    "OnRequest=mail-me@%n.service": {"on_request": "mail-me@%n.service"},
    "KillWhom=all": {"kill_whom": KillWhom.ALL},
    "Action=restart": {"action": Action.RESTART},
    "ThenRestart=10min": {"then_restart_s": 600.0},
    "DryRun=true": {"dry_run": True},
}


def test_the_cases_have_every_key() -> None:
    assert {line.partition("=")[0] for line in CASES} == set(KEYS)


@pytest.mark.parametrize("line", CASES)
def test_a_key_sets_what_the_option_sets(line: str) -> None:
    lines = (line,) if line.startswith("Threshold") else ("Threshold=500", line)
    expected = replace(DEFAULTS, threshold=Size(500 * MIB))
    assert asked(*lines) == UnitSettings(replace(expected, **CASES[line]), True, ())  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["1", "yes", "y", "true", "t", "on", "YES", "On"])
def test_a_boolean_is_what_systemd_takes_for_true(word: str) -> None:
    settings = asked("Threshold=500", f"Swap={word}").settings
    assert settings is not None
    assert settings.swap


@pytest.mark.parametrize("word", ["0", "no", "n", "false", "f", "off", "NO"])
def test_and_for_false(word: str) -> None:
    settings = asked("Threshold=500", f"Swap={word}", defaults=replace(DEFAULTS, swap=True)).settings
    assert settings is not None
    assert not settings.swap


def test_what_is_not_set_or_set_to_nothing_is_the_default() -> None:
    defaults = replace(DEFAULTS, interval_s=7.0, for_s=60.0, dry_run=True)
    assert asked("Threshold=500", "For=", defaults=defaults) == UnitSettings(
        replace(defaults, threshold=Size(500 * MIB)), True, ()
    )


def test_equal_sections_give_equal_settings_that_can_be_shared() -> None:
    lines = ("Threshold=80%", "HardThreshold=90%", "Signal=SIGQUIT", "For=5min", "Budget=3/1h")
    one, other = asked(*lines).settings, asked(*lines, unit="other@1.service").settings
    assert one is not None
    assert {one: 1}[one] == 1
    assert one == other


# --- what isn't monitored ---------------------------------------------------------------------


def test_a_unit_without_the_section_is_not_monitored() -> None:
    assert unit_settings(Section({}, (), None, True), "a.service", DEFAULTS) == UnitSettings(None, True, ())


@pytest.mark.parametrize(
    "lines", [("Threshold=infinity",), ("Threshold=",), ("Threshold=infinity", "For=1min")]
)
def test_a_unit_that_opts_out_is_not_monitored(lines: Iterable[str]) -> None:
    assert asked(*lines) == UnitSettings(None, True, ())


@pytest.mark.parametrize("lines", [(), ("For=5min",)])
def test_a_section_without_a_threshold_is_said(lines: Iterable[str]) -> None:
    assert told(*lines) == ["1: no Threshold= in [X-MemoryMonitor]: not monitored"]
    assert asked(*lines).is_valid


@pytest.mark.parametrize(
    "unit", ["nightly.timer", "multi-user.target", "my.path", "dev-sda.device", "a.automount"]
)
def test_a_unit_without_processes_is_said(unit: str) -> None:
    kind = unit.rpartition(".")[2]
    assert told("Threshold=80%", unit=unit) == [f"1: a {kind} has no processes: not monitored"]
    assert asked("Threshold=80%", unit=unit).settings is None


@pytest.mark.parametrize("unit", ["a.service", "a.scope", "user-1.slice", "a.socket", "a.mount", "a.swap"])
def test_units_with_processes_are_monitored(unit: str) -> None:
    assert asked("Threshold=80%", unit=unit).settings is not None


def test_a_unit_name_of_255_bytes_is_one_like_others() -> None:
    name = "x" * 247 + ".service"
    assert asked("Threshold=80%", unit=name).settings is not None
    (problem,) = asked("Threshold=80%", unit="x" * 240 + ".y" * 7 + "\n").problems
    assert problem.isprintable()
    assert len(problem) < 100


# --- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("Thresold=5", "'Thresold' is no key of [X-MemoryMonitor] and is ignored: did you mean Threshold=?"),
        (
            "threshold=5",
            "'threshold' is no key of [X-MemoryMonitor] and is ignored: did you mean Threshold=?",
        ),
        ("Hard=5", "'Hard' is no key of [X-MemoryMonitor] and is ignored: did you mean HardThreshold=?"),
        ("Whom=5", "'Whom' is no key of [X-MemoryMonitor] and is ignored: did you mean KillWhom=?"),
        ("Then Restart=5", "'Then Restart' is no key of [X-MemoryMonitor] and is ignored: did you mean"),
        (
            "MaxMemory=5",
            "'MaxMemory' is no key of [X-MemoryMonitor] and is ignored: use one of Threshold, Int",
        ),
        (
            "\x1b[2J=5",
            r"'\x1b[2J' is no key of [X-MemoryMonitor] and is ignored: use one of Threshold, Interval,",
        ),
    ],
)
def test_an_unknown_key_is_named_and_the_rest_holds(line: str, problem: str) -> None:
    found = asked("Threshold=80%", line, "For=5min")
    assert found.settings == replace(DEFAULTS, threshold=Share(80), for_s=300.0)
    assert found.is_valid
    (said,) = found.problems
    assert said.startswith(f"{PATH}:3: {problem}")


def test_a_key_of_somebody_else_is_no_problem() -> None:
    assert asked("Threshold=80%", "X-Note=whatever").problems == ()


WRONG = {
    "Threshold=80x": "Threshold=: '80x' is not a size: use MiB (500), a suffix (1.5G, 512MiB) or a share",
    'Threshold="80%"': "Threshold=: '\"80%\"' is not a size",
    "Threshold=80% # much": "Threshold=: '80% # much' is not a size",
    "Threshold=101%": "Threshold=: '101%' is not a usable share",
    "HardThreshold=infinity": "HardThreshold=: 'infinity' is not a size",
    "Signal=SIGKIL": "Signal=: 'SIGKIL' is not a signal: use SIGKILL",
    "Interval=0": "Interval=: '0' is too short: use at least 10ms",
    "Metric=vsz": "Metric=: 'vsz' is not one of unreclaimable, current, working-set, anon, rss, pss",
    "Metric=rss": "Metric=: 'rss' is of processes: use one of unreclaimable, current, working-set, anon",
    "Swap=perhaps": "Swap=: 'perhaps' is not a boolean: use yes or no",
    "Growth=fast": "Growth=: 'fast' is not a rate",
    "For=soon": "For=: 'soon' is not a time",
    "MinAge=-1": "MinAge=: '-1' is not a time",
    "Budget=10": "Budget=: '10' is not a budget",
    "AtMost=0": "AtMost=: '0' is not a number of units",
    "Repeat=never": "Repeat=: 'never' is not a time",
    "KillWhom=none": "KillWhom=: 'none' is not one of main, control, all",
    "Action=kill": "Action=: 'kill' is not one of signal, restart, reload",
    "ThenRestart=infinity": "ThenRestart=: 'infinity' never ends",
    "ConditionUnit=lock.timer": "ConditionUnit=: 'lock.timer' is not a service: use a name such as",
    "ConditionTimeout=0": "ConditionTimeout=: '0' is too short: use at least 10ms",
    "OnRequest=mail@%H": "OnRequest=: 'mail@%H' has another specifier than %n, %N, %p, %i",
    "DryRun=2": "DryRun=: '2' is not a boolean: use yes or no",
}


def test_every_key_has_a_wrong_value_here() -> None:
    assert {line.partition("=")[0] for line in WRONG} == set(KEYS)


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_value_is_named_and_the_last_good_settings_stay(line: str) -> None:
    lines = (line, "For=1min") if line.startswith("Threshold") else (line, "Threshold=80%")
    (said,) = told(*lines)
    assert said.startswith(f"2: {WRONG[line]}")
    assert keeps_the_last_good(asked(*lines))


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            ("Threshold=80%", "HardThreshold=70%"),
            "3: HardThreshold=: 70% is not above the threshold of 80%: use more than Threshold=",
        ),
        (
            ("HardThreshold=1G", "Threshold=1G"),
            "2: HardThreshold=: 1 GiB is not above the threshold of 1 GiB: use more than Threshold=",
        ),
        (
            ("Threshold=80%", "Action=restart", "ThenRestart=5"),
            "4: ThenRestart=: Action=restart does that at once: leave one of them out",
        ),
    ],
)
def test_values_that_do_not_go_together_are_named(lines: Iterable[str], problem: str) -> None:
    assert told(*lines) == [problem]
    assert keeps_the_last_good(asked(*lines))


def test_a_default_that_does_not_go_with_the_threshold_is_named_there() -> None:
    found = asked("Threshold=95%", defaults=replace(DEFAULTS, hard_threshold=Share(90)))
    words = f"{PATH}:2: HardThreshold=: 90% is not above the threshold of 95%: use more than Threshold="
    assert found == UnitSettings(None, False, (words,), (words,))


def test_what_is_only_ignored_is_told_from_what_is_refused() -> None:
    found = asked("Threshold=80%", "Treshold=70%", "For=soon")
    assert len(found.problems) == 2
    assert found.wrong == found.problems[1:]
    assert asked("Threshold=80%", "Treshold=70%").wrong == ()
    absent = asked("Treshold=70%")
    assert [words.partition(": ")[2] for words in absent.wrong] == [
        "no Threshold= in [X-MemoryMonitor]: not monitored"
    ]


def test_a_unit_opts_out_although_another_value_is_wrong() -> None:
    found = asked("Threshold=infinity", "For=soon")
    assert (found.settings, found.is_valid) == (None, True)
    assert len(found.problems) == 1


def test_what_could_not_be_read_keeps_the_last_good_settings() -> None:
    incomplete = replace(section("Threshold=80%"), is_complete=False, problems=("a: gone",))
    gone = UnitSettings(None, False, ("a: gone",), ("a: gone",))
    assert unit_settings(incomplete, "a.service", DEFAULTS) == gone
    nothing = Section({}, ("a: gone",), None, False)
    assert unit_settings(nothing, "a.service", DEFAULTS) == gone


def test_all_mistakes_are_named() -> None:
    assert len(told("Threshold=80x", "Fro=5", "Interval=x", "Swap=x")) == 4


# --- what it takes ----------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from(sorted(KEYS)) | st.text(min_size=1), st.text(), max_size=6))
def test_no_section_raises_and_every_problem_is_one_line(entries: dict[str, str]) -> None:
    assignments = {key: Assignment(value, PATH, 2) for key, value in entries.items()}
    found = unit_settings(Section(assignments, (), f"{PATH}:1", True), "a.service", DEFAULTS)
    assert all(problem.isprintable() for problem in found.problems)
    assert found.is_valid or (found.problems and found.settings is None)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text(
        "[X-MemoryMonitor]\nThreshold=80%\nSignal=SIGKIL\nFro=5\nBudget=1/x\nMetric=vsz\nSwap=x\n"
    )

    def look() -> None:
        unit_settings(read_section([str(path)]), "a.service", DEFAULTS)

    look()
    gc.collect()
    gc.disable()
    try:
        # The first fill the interpreter's lists of free objects, which gc.collect() has emptied.
        for _ in range(100):
            look()
        before = sys.getallocatedblocks()
        for _ in range(300):
            look()
        assert sys.getallocatedblocks() - before < 100
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_many_unknown_keys_take_no_time(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    keys = "".join(f"{'Threshold' * 50}{number}=1\n" for number in range(MOST_KEYS - 1))
    path.write_text(f"[X-MemoryMonitor]\nThreshold=80%\n{keys}")
    found = unit_settings(read_section([str(path)]), "a.service", DEFAULTS)
    assert found.settings is not None
    assert len(found.problems) == MOST_KEYS - 1
    assert all(len(problem) < 400 for problem in found.problems)


def test_it_loads_no_parser_of_the_command_line() -> None:
    code = "import memmon_systemd.units.unit_settings, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"argparse", "shlex", "configparser", "difflib", "pystemd"} & set(done.stdout.split())
