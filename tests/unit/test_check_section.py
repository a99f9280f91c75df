"""`--check` without -m: the settings in force, of a section or of a monitor of its own."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from memmon_systemd.arguments import parse
from memmon_systemd.check.configured import Configured
from memmon_systemd.check.read_configured import configured
from memmon_systemd.check.section_lines import section_lines
from memmon_systemd.errors import UsageError
from memmon_systemd.options import KEYS
from memmon_systemd.settings import UNSET, Settings, Size, TargetSettings
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.systemd.properties import Properties
from memmon_systemd.systemd.unit import Unit
from tests.unit.test_check_converges import options

MACHINE_WIDE = "memory-monitor.service"
OWN = "memory-monitor@myapp.service"
COMMANDS = {
    MACHINE_WIDE: "/usr/bin/memory-monitor --configured -i 3",
    OWN: "/usr/bin/memory-monitor --until-stopped -m 70% -- myapp.service",
}


class Told(Manager):
    """A service manager that says what a test wants."""

    def __init__(self, section: Path | None, states: Mapping[str, str], commands: Mapping[str, str]) -> None:
        self._files = () if section is None else (str(section),)
        self._states = states
        self._commands = commands

    def unit(self, name: str) -> Unit:
        return Unit(name, b"")

    def load(self, name: str) -> tuple[str, str]:
        is_loaded = name.startswith("myapp.") or name in self._commands
        return name, "loaded" if is_loaded else "not-found"

    def unit_files(self, unit: Unit) -> tuple[str, ...]:
        return self._files

    def properties(self, unit: Unit) -> Properties:
        words = [word.encode() for word in self._commands[unit.name].split()]
        active, _, file_state = self._states.get(unit.name, "inactive").partition(" ")
        properties: dict[bytes, Any] = {
            b"ExecStart": [(words[0], words)],
            b"Environment": [],
            b"EnvironmentFiles": [],
            b"ActiveState": active.encode(),
            b"UnitFileState": (file_state or "disabled").encode(),
        }
        return properties


def checked(
    path: Path,
    section: str | None,
    states: Mapping[str, str] | None = None,
    name: str = "myapp",
    commands: Mapping[str, str] = COMMANDS,
) -> tuple[Settings, Configured]:
    """What is taken as the settings of a unit with this section."""
    if section is not None:
        path = path / "myapp.conf"
        path.write_text(f"[X-MemoryMonitor]\n{section}\n")
    manager = Told(path if section is not None else None, states or {}, commands)
    return configured(parse(["--check", name]), name, lambda: manager)


def test_the_section_is_in_force_with_the_options_of_the_monitor_of_all_units(tmp_path: Path) -> None:
    settings, found = checked(tmp_path, "Threshold=80%\nFor=5", {MACHINE_WIDE: "active"})
    assert settings.target == parse(["-m", "80%", "-i", "3", "--for", "5", "x"]).target
    assert found == Configured(
        MACHINE_WIDE,
        ("-i", "3", "Threshold=80%", "For=5"),
        (str(tmp_path / "myapp.conf"),),
        active_state="active",
    )


def test_a_scope_has_settings_of_its_own_by_a_section(tmp_path: Path) -> None:
    settings, _ = checked(tmp_path, "Threshold=80%", name="myapp.scope")
    assert settings.names == ("myapp.scope",)
    with pytest.raises(UsageError, match=r"'myapp\.scope' has no section"):
        checked(tmp_path, None, name="myapp.scope")


def test_without_a_unit_of_a_monitor_a_section_is_still_checked(tmp_path: Path) -> None:
    settings, found = checked(tmp_path, "Threshold=80%", commands={})
    assert settings.target == parse(["-m", "80%", "x"]).target
    assert found.active_state == "not-found"


def test_a_monitor_of_its_own_is_in_force_while_it_runs(tmp_path: Path) -> None:
    section = "Threshold=80%"
    settings, found = checked(tmp_path, section, {OWN: "active", MACHINE_WIDE: "active"})
    assert (found.unit, str(settings.target.threshold)) == (OWN, "70%")
    assert found.rival is not None
    assert (found.rival.is_in_force, found.rival.is_alike) == (False, False)
    settings, found = checked(tmp_path, section, {OWN: "inactive enabled"})
    assert (found.unit, str(settings.target.threshold)) == (MACHINE_WIDE, "80%")
    assert found.rival is not None
    assert (found.rival.name, found.rival.is_in_force) == (OWN, False)
    # It was named, so its settings are checked; what is in force is said.
    settings, found = checked(tmp_path, section, name=OWN)
    assert (found.unit, str(settings.target.threshold)) == (OWN, "70%")
    assert found.rival is not None
    assert found.rival.is_in_force


def test_a_monitor_of_its_own_that_cannot_start_is_no_reason_not_to_check_the_section(tmp_path: Path) -> None:
    commands = COMMANDS | {OWN: "/usr/bin/memory-monitor -m no -- myapp.service"}
    _, found = checked(tmp_path, "Threshold=80%", commands=commands)
    assert found.unit == MACHINE_WIDE
    with pytest.raises(UsageError, match="'no' is not a size"):
        checked(tmp_path, None, commands=commands)


def test_without_a_section_or_with_one_that_opts_out_its_own_monitor_counts(tmp_path: Path) -> None:
    for section in (None, "Threshold=infinity"):
        _, found = checked(tmp_path, section)
        assert (found.unit, found.rival) == (OWN, None)
    with pytest.raises(UsageError, match="says that it isn't monitored"):
        checked(tmp_path, "Threshold=infinity", commands={})


def test_mistakes_are_kept_with_file_and_line_and_what_makes_no_settings_is_told(tmp_path: Path) -> None:
    _, found = checked(tmp_path, "Treshold=70%\nThreshold=80%")
    (mistake,) = found.mistakes
    assert found.is_valid
    assert not mistake.is_refused
    assert mistake.words.startswith(f"{tmp_path}/myapp.conf:2: 'Treshold' is no key")
    assert mistake.words.endswith("did you mean Threshold=?")
    _, found = checked(tmp_path, "Treshold=70%")
    assert not found.is_valid
    assert [mistake.is_refused for mistake in found.mistakes] == [False, True]


def test_a_monitor_of_all_units_that_reads_no_sections_is_refused(tmp_path: Path) -> None:
    commands = {MACHINE_WIDE: "/usr/bin/memory-monitor -m 5 x"}
    with pytest.raises(UsageError, match="its ExecStart= has no --configured"):
        checked(tmp_path, "Threshold=80%", commands=commands)


def target(words: tuple[str, ...]) -> TargetSettings | None:
    try:
        return parse([*words, "myapp"]).target
    except UsageError:
        return None  # --hard isn't above -m.


@given(options(), options())
def test_the_lines_for_a_section_make_exactly_the_settings_that_were_given(
    wanted: tuple[str, ...], present: tuple[str, ...]
) -> None:
    after, before = target(wanted), target(present)
    if after is None or before is None:
        return
    values = {field.name: getattr(before, field.name) for field in fields(TargetSettings)}
    for line in section_lines(after, before):
        key, _, value = line.partition("=")
        option = KEYS[key]
        values[option.field] = option.parse(value) if value else option.default
    assert TargetSettings(**values) == after


def test_a_size_that_is_not_whole_is_written_exactly() -> None:
    wanted = TargetSettings(Size((5 << 20) + 1), growth_bytes_per_s=7, repeat_s=float("inf"))
    lines = ("Threshold=5242881B", "Growth=7B", "Repeat=infinity")
    assert section_lines(wanted, UNSET) == lines
