"""The filter of the Ansible role against the keys that there are."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from memmon_systemd.check.config_command import check_config
from memmon_systemd.options import KEYS
from memmon_systemd.settings import Size, TargetSettings
from memmon_systemd.units.unit_file import read_section
from memmon_systemd.units.unit_settings import unit_settings

ROLE = Path(__file__).parents[2] / "deploy" / "ansible" / "roles" / "memory_monitor"


def plugin() -> ModuleType:
    """The role's filters, as Ansible loads them: by the path."""
    path = ROLE / "filter_plugins" / "memory_monitor.py"
    spec = importlib.util.spec_from_file_location("role_filters", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FILTERS = plugin()
ALL_KEYS = {
    "Threshold": "80%",
    "HardThreshold": "90%",
    "Signal": "SIGQUIT",
    "Interval": 1,
    "Metric": "working-set",
    "Swap": True,
    "Growth": "1G",
    "For": "1min 30s",
    "MinAge": 2.5,
    "Budget": "5/1h",
    "AtMost": 1,
    "ConditionUnit": "drain@%n.service",
    "ConditionTimeout": "1min",
    "Repeat": "infinity",
    "OnRequest": r"mail-me@\x2d%n.service",
    "KillWhom": "all",
    "Action": "reload",
    "ThenRestart": "2min",
    "DryRun": "no",
}


def read_back(tmp_path: Path, section: Mapping[str, object]) -> TargetSettings:
    """What the monitor takes from the drop-in that is written."""
    path = tmp_path / "a.conf"
    path.write_text(FILTERS.drop_in(section, "a.service"))
    found = unit_settings(read_section([str(path)]), "a.service", TargetSettings(Size(1)))
    assert found.problems == ()
    assert found.settings is not None
    return found.settings


def status_and_text(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], section: Mapping[str, object]
) -> tuple[int, str]:
    """What --check-config says of the drop-in."""
    path = tmp_path / "stdin"
    path.write_text(FILTERS.drop_in(section, "a.service"))
    status = check_config(str(path))
    written = capfd.readouterr()
    return status, written.out + written.err


def test_the_drop_in_means_what_the_variables_say(tmp_path: Path) -> None:
    settings = read_back(tmp_path, ALL_KEYS)
    assert settings.for_s == 90
    assert settings.min_age_s == 2.5
    assert settings.swap
    assert not settings.dry_run
    assert settings.on_request == r"mail-me@\x2d%n.service"


def test_each_key_that_there_is_passes_the_check(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert set(KEYS) == set(ALL_KEYS)
    status, text = status_and_text(tmp_path, capfd, ALL_KEYS)
    assert status == 0, text
    assert text.startswith(f"{tmp_path}/stdin: Threshold=80% HardThreshold=90% ")


WRONG_VALUES = {
    "Threshold": "5X",
    "HardThreshold": "70%",
    "Signal": "FOO",
    "Interval": 0,
    "Metric": "rss",
    "Growth": "fast",
    "For": "soon",
    "MinAge": "-1",
    "Budget": "10",
    "AtMost": 0,
    "ConditionUnit": "a.timer",
    "ConditionTimeout": "0",
    "Repeat": "x y",
    "OnRequest": "a b",
    "KillWhom": 'no"body',
    "ThenRestart": "$(true)",
    "Swap": "maybe",
    "Action": "kill",
    "Treshold": "Treshold",
}


@pytest.mark.parametrize("key", WRONG_VALUES)
def test_a_value_that_the_monitor_would_refuse_is_refused_by_the_check(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], key: str
) -> None:
    section = {"Threshold": "80%"} | {key: WRONG_VALUES[key]}
    status, text = status_and_text(tmp_path, capfd, section)
    assert status == 2, text
    assert f"{WRONG_VALUES[key]}" in text
    path = tmp_path / "a.conf"
    path.write_text(FILTERS.drop_in(section, "a.service"))
    assert unit_settings(read_section([str(path)]), "a.service", TargetSettings(Size(1))).problems


@pytest.mark.parametrize(
    ("unit", "section", "problem"),
    [
        ("myapp", {}, "'myapp' is no unit with processes: use myapp.service"),
        ("a.timer", {}, "'a.timer' is no unit with processes"),
        ("../a.service", {}, "'../a.service' is no unit with processes"),
        ("a.service\n", {}, r"'a.service\n' is no unit with processes"),
        ("a.service", "80%", "a.service: '80%' are no keys: use Threshold: 80%"),
        ("a.service", {"A=b\nUser": 1}, r"a.service: 'A=b\nUser' is no key: use Threshold: 80%"),
        ("a.service", {"Signal": "A\nUser=x"}, r"Signal='A\nUser=x' is no value of one line"),
        ("a.service", {"Signal": "TERM\\"}, r"Signal='TERM\\' is no value of one line"),
        ("a.service", {"Signal": ["TERM"]}, "Signal=['TERM'] is no value of one line"),
    ],
)
def test_what_can_be_no_drop_in_is_refused_with_what_would_work(
    unit: str, section: object, problem: str
) -> None:
    with pytest.raises(ValueError, match=r"^memory_monitor_units: ") as error:
        FILTERS.drop_in(section, unit)
    assert problem in str(error.value)


@pytest.mark.parametrize(
    "unit", ["a.service", "worker@.service", r"a\x2db@1.service", "my-.service", "service"]
)
def test_units_templates_and_types_can_have_a_drop_in(unit: str) -> None:
    assert FILTERS.drop_in({"Threshold": "80%", "For": None}, unit).endswith("]\nThreshold=80%\nFor=\n")


def test_a_unit_that_opts_out_is_not_taken_for_a_wrong_value(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert status_and_text(tmp_path, capfd, {"Threshold": "infinity"})[0] == 0
