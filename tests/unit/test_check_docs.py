"""docs/check.md is what the code does: every id with its levels, every field of the JSON."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from memmon_systemd.arguments import parse
from memmon_systemd.check.command import judge
from memmon_systemd.check.facts import Case
from memmon_systemd.check.findings import Checked, Id, Kind, Level, Missing, Resolved
from memmon_systemd.check.json_form import FORM, as_json
from memmon_systemd.settings import Settings
from tests.unit.test_check_rules import HEALTHY, MACHINE, OWN, PROCESS, SECTION, levels_seen, restart

DOCS = Path(__file__).parents[2] / "docs" / "check.md"
SETTINGS = parse(["-m", "400", "myapp"])


def rows(first: str) -> Iterator[list[str]]:
    """The cells of the table with this head."""
    lines = DOCS.read_text().splitlines()
    for line in lines[lines.index(first) + 2 :]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def documented_fields() -> set[str]:
    return {cells[0].strip("`") for cells in rows("| field | |")}


def fields(value: object, path: str = "") -> Iterator[str]:
    """The path of every value, as the documentation writes it."""
    if path.endswith("readings_bytes") or not isinstance(value, (dict, list)):
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from fields(inner, f"{path}.{key}".lstrip("."))
    else:
        for inner in value:
            yield from fields(inner, f"{path}[]")


def report(settings: Settings = SETTINGS) -> dict[str, object]:
    """A unit with findings, a process, a unit without settings, and a name that matches nothing."""
    no_settings = replace(SECTION, is_valid=False)
    subjects = ((restart("no")(HEALTHY), OWN), (PROCESS, None), (HEALTHY, no_settings))
    cases = [Case(SETTINGS.target, SETTINGS.user, MACHINE, subject, own) for subject, own in subjects]
    checked = tuple(Checked(case, judge(case)) for case in cases)
    missing = Missing("x", "there is no unit x.service", ("y.service",))
    resolved = [
        Resolved("myapp", Kind.UNIT, "a unit of that name is loaded", checked),
        Resolved("x", Kind.UNIT, "--as unit", (), missing),
    ]
    text = as_json(settings, MACHINE, resolved, 4)
    loaded: dict[str, object] = json.loads(text)
    return loaded


def test_every_id_and_its_levels_are_documented_and_no_others() -> None:
    documented = {
        cells[0].strip("`"): set(cells[1].split(", ")) for cells in rows("| id | level | what it means |")
    }
    assert documented == {
        found.value: {level.value for level in levels} for found, levels in levels_seen().items()
    }
    assert set(documented) == {found.value for found in Id}


def test_every_field_is_documented_and_no_others() -> None:
    without_threshold = fields(report(parse(["--check", "myapp"])))
    assert documented_fields() == {*fields(report()), *without_threshold}


def test_the_documented_form_is_that_of_the_code() -> None:
    assert next(cells[1] for cells in rows("| field | |") if cells[0] == "`form`") == str(FORM)
    assert report()["form"] == FORM


def test_the_levels_of_the_text_are_explained() -> None:
    for level in Level:
        assert f"- **{level.value}**: " in DOCS.read_text()


def blocks() -> list[str]:
    """What is shown as it was printed: the indented parts, without their indentation."""
    found = re.findall(r"(?:^(?:    .*)?\n)+", DOCS.read_text(), re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n") for block in found if block.strip()]


def test_the_json_that_is_shown_has_the_documented_fields() -> None:
    (shown,) = [
        block.partition("\n")[2] for block in blocks() if block.startswith("$ ") and "--json" in block
    ]
    assert set(fields(json.loads(shown))) <= documented_fields()


def test_the_reports_that_are_shown_have_ids_that_there_are() -> None:
    shown = [block for block in blocks() if block.startswith("$ ") and "--json" not in block]
    ids = {found for block in shown for found in re.findall(r"\[([a-z-]+)\]$", block, re.MULTILINE)}
    assert len(re.findall(r"^\$ memory-monitor --check ", "\n".join(shown), re.MULTILINE)) >= 5
    assert {"stays-down", "memory-max-below"} <= ids <= {found.value for found in Id}
