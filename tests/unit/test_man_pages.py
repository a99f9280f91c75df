"""The manual pages against what the command and the unit really do."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from memmon_systemd.arguments import _parser
from memmon_systemd.linux.text_file import LARGEST_FILE_BYTES
from memmon_systemd.monitor.events import Event
from memmon_systemd.monitor.policy import State
from memmon_systemd.options import KEYS, OPTIONS
from memmon_systemd.settings import PROCESS_METRICS, Size, TargetSettings
from memmon_systemd.units.unit_file import (
    LONGEST_LINE_BYTES,
    MOST_FILES,
    MOST_KEYS,
    read_section,
)
from memmon_systemd.units.unit_settings import unit_settings

ROOT = Path(__file__).parents[2]
COMMAND = (ROOT / "docs" / "memory-monitor.1.md").read_text()
UNIT = (ROOT / "docs" / "memory-monitor@.service.8.md").read_text()
SECTION = (ROOT / "docs" / "memory-monitor.unit.5.md").read_text()
UNIT_FILE = (ROOT / "units" / "memory-monitor@.service").read_text()
# By a private name: argparse has no public list of its options.
ACTIONS = {", ".join(action.option_strings): action for action in _parser()._actions if action.option_strings}


@dataclass(frozen=True, slots=True)
class Entry:
    """A term and what the page says about it."""

    term: str
    text: str

    @property
    def default(self) -> str | None:
        """What is behind "Default:", without the full stop."""
        found = re.search(r"Default: (.*)\.$", self.text, re.DOTALL)
        return found and re.sub(r"\s+", " ", found[1])


def section(page: str, title: str) -> str:
    return re.split(r"^# ", page.partition(f"# {title}\n")[2], flags=re.MULTILINE)[0]


def entries(page: str, title: str) -> list[Entry]:
    """The definition list of a section."""
    found = re.findall(r"^(\S.*)\n\n:   (.*(?:\n    .*)*)", section(page, title), re.MULTILINE)
    return [Entry(term, text.replace("\n    ", "\n")) for term, text in found]


ON_PAGE = {", ".join(re.findall(r"\*\*(-.*?)\*\*", e.term)): e for e in entries(COMMAND, "OPTIONS")}


def test_the_page_lists_the_options_that_there_are() -> None:
    assert set(ON_PAGE) == set(ACTIONS)


@pytest.mark.parametrize("names", ACTIONS)
def test_an_option_takes_what_the_page_shows(names: str) -> None:
    shown = re.search(r" \*([A-Z/]+)\*$", ON_PAGE[names].term)
    assert (shown and shown[1]) == ACTIONS[names].metavar


@pytest.mark.parametrize("names", ACTIONS)
def test_the_default_is_the_one_on_the_page(names: str) -> None:
    action, default = ACTIONS[names], ON_PAGE[names].default
    if action.nargs == 0 or action.required:
        assert default is None
    elif action.default is None:
        # It depends on the target: the page says the words of --help.
        helped = re.findall(r"(\w+) \(default\)|default:? (.*)", action.help or "")
        words = re.findall(r"\w+", " ".join(first or second for first, second in helped))
        assert words
        assert set(words) <= set(re.findall(r"\w+", default or ""))
    else:
        assert callable(action.type)
        assert default is not None
        assert action.type(default.strip("*")) == action.default


CHOICES = {option.flags[-1]: option.choices for option in OPTIONS if option.flags and option.choices}


@pytest.mark.parametrize("name", CHOICES)
def test_every_value_is_on_the_page(name: str) -> None:
    assert set(CHOICES[name]) <= set(re.findall(r"\*([\w-]+)\*", ON_PAGE[name].text))


def test_the_page_lists_the_states_and_the_events_that_there_are() -> None:
    states = [entry.term for entry in entries(COMMAND, "STATES")]
    assert states == [f"**{state.value}**" for state in State]
    ids = re.findall(r"^\*\*([0-9a-f]{32})\*\*$", section(COMMAND, "LOG"), re.MULTILINE)
    assert ids == [event.value.message_id for event in Event]


def test_the_page_lists_the_fields_of_the_journal_that_there_are() -> None:
    modules = (ROOT / "memmon_systemd" / "monitor" / name for name in ("log.py", "report.py", "words.py"))
    source = "".join(module.read_text() for module in modules)
    listed = re.findall(r"^(\*\*[A-Z_, *]+\*\*)$", section(COMMAND, "LOG"), re.MULTILINE)
    assert set(re.findall(r"[A-Z_]+", " ".join(listed))) == set(re.findall(r'\("([A-Z_]+)", ', source))


def test_the_settings_of_the_unit_and_their_defaults_are_those_of_its_file() -> None:
    (line,) = re.findall(r"^Environment=(MAX_MEMORY=.*)$", UNIT_FILE, re.MULTILINE)
    in_file = dict(setting.split("=", 1) for setting in line.replace("%%", "%").split())
    on_page = {e.term.strip("*="): (e.default or "").strip("*") for e in entries(UNIT, "CONFIGURATION")}
    assert on_page == in_file | {"OPTIONS": "none"}


def test_the_page_shows_what_the_unit_runs() -> None:
    (line,) = re.findall(r"^ExecStart=(.*)$", UNIT_FILE, re.MULTILINE)
    assert f"    {line}\n" in UNIT


def test_the_settings_that_the_page_tells_are_in_the_units_file() -> None:
    told = re.findall(r"\*(\w+=[\w-]+)\*", section(UNIT, "HARDENING"))
    assert len(told) == 4
    assert set(told) <= set(UNIT_FILE.splitlines())


KEYS_ON_PAGE = {entry.term.strip("*="): entry for entry in entries(SECTION, "KEYS")}


def test_the_page_of_the_section_lists_the_keys_that_there_are() -> None:
    assert set(KEYS_ON_PAGE) == set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_said_to_be_what_an_option_is(key: str) -> None:
    named = set(re.findall(r"\*\*(--[\w-]+)\*\*", KEYS_ON_PAGE[key].text))
    assert named == {
        option.flags[-1] for option in OPTIONS if option.field == KEYS[key].field and option.flags
    }


@pytest.mark.parametrize("key", KEYS)
def test_the_default_of_a_key_is_the_one_on_the_page(key: str) -> None:
    option, default = KEYS[key], KEYS_ON_PAGE[key].default
    if option.is_required:
        assert default is None
    elif option.default is None:
        helped = re.findall(r"(\w+) \(default\)|default:? (.*?)(?:, or .* process.*)?$", option.help)[0]
        words = re.findall(r"\w+", helped[0] or helped[1])
        assert words
        assert set(words) <= set(re.findall(r"\w+", default or ""))
    else:
        assert default is not None
        assert option.parse(default.strip("*")) == option.default


@pytest.mark.parametrize("key", [key for key, option in KEYS.items() if option.choices])
def test_every_value_of_a_key_is_on_the_page(key: str) -> None:
    shown = set(re.findall(r"\*([\w-]+)\*", KEYS_ON_PAGE[key].text))
    assert set(KEYS[key].choices) - set(PROCESS_METRICS) <= shown
    assert not shown & set(PROCESS_METRICS)


def test_a_key_that_takes_a_boolean_says_so() -> None:
    says = {key for key, entry in KEYS_ON_PAGE.items() if entry.text.startswith("Takes a boolean. ")}
    assert says == {key for key, option in KEYS.items() if option.metavar is None}


def test_the_page_of_the_section_says_what_is_not_read() -> None:
    text = re.sub(r"\s+", " ", section(SECTION, "HOW THE FILES ARE READ"))
    assert f"more than {LARGEST_FILE_BYTES >> 10} KiB" in text
    assert f"more than {MOST_FILES:,} files" in text
    assert f"at most {LONGEST_LINE_BYTES:,} bytes" in text
    assert f"at most {MOST_KEYS} different keys" in text


@pytest.mark.parametrize("block", re.findall(r"(?:^    .*\n)+", section(SECTION, "EXAMPLES"), re.MULTILINE))
def test_an_example_of_the_section_works(tmp_path: Path, block: str) -> None:
    (tmp_path / "a.conf").write_text(block.replace("\n    ", "\n").removeprefix("    "))
    found = unit_settings(read_section([str(tmp_path / "a.conf")]), "a.service", TargetSettings(Size(1)))
    assert found.problems == ()
    assert found.is_valid
