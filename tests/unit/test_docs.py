"""The documentation against the code: links, command lines, options, the picture."""

import hashlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from memmon_systemd.arguments import _parser, parse
from memmon_systemd.errors import UsageError

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "memmon_systemd"
README = ROOT / "README.md"
TOP = [README, *(ROOT / f"{name}.md" for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY"))]
PAGES = sorted([*TOP, *(ROOT / "docs").rglob("*.md")])
LONGEST_README = 250
# Pages of the repository on the web, relative to a file in its top folder.
ON_THE_WEB = {"../../releases", "../../issues", "../../security/advisories/new"}

FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
LINK = re.compile(r"""\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)\"""")
# Before it: a prompt, or the key of a unit file or of supervisor's.
COMMAND = re.compile(r"^\s*(?:\$ |ExecStart=|command=)?(?:/usr/bin/)?memory-monitor (?=[-'*\w])(.*)$")
SYNOPSIS = "NAME..."
VERSION = re.compile(r"\d+\.\d+")
# What the unit's environment gives.
VARIABLES = {"${MAX_MEMORY}": "90%", "${INTERVAL}": "2", "${SIGNAL}": "SIGTERM", "$OPTIONS": ""}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[list[str]]:
    """The lines of each code block."""
    text = page.read_text()
    for block in (*FENCED.findall(text), *INDENTED.findall(FENCED.sub("", text))):
        yield block.splitlines()


@dataclass(frozen=True, slots=True)
class Command:
    """A command line of a page, and the line that the page shows beneath it."""

    page: str
    arguments: str
    answer: str


def commands() -> Iterator[Command]:
    for page in PAGES:
        for lines in blocks(page):
            for line, answer in zip(lines, [*lines[1:], ""], strict=True):
                found = COMMAND.match(line)
                if found and not VERSION.match(found[1]) and not found[1].endswith(SYNOPSIS):
                    yield Command(name_of(page), found[1], answer.strip())


# What the demo says at its end.
DEMO = (ROOT / "demo" / "demo.py").read_text()
NEXT = re.findall(r"^    \{command\} (.*?)(?:\"\"\")?$", DEMO, re.MULTILINE)


@pytest.mark.parametrize("arguments", NEXT)
def test_a_command_line_that_the_demo_ends_with_is_one_that_works(arguments: str) -> None:
    assert parse(shlex.split(arguments)).names


def test_the_demo_ends_with_a_check_of_a_real_service_and_the_unit_that_monitors_it() -> None:
    assert any(parse(shlex.split(arguments)).check for arguments in NEXT)
    assert "systemctl enable --now memory-monitor@myapp" in DEMO


def arguments_of(command: Command) -> list[str]:
    """The command line as a shell would split it, without comment and pipe."""
    line = command.arguments
    for variable, value in VARIABLES.items():
        line = line.replace(variable, value)
    return shlex.split(re.split(r" [|>] ?", line)[0], comments=True)


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= LONGEST_README


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in (first or second for first, second in LINK.findall(page.read_text())):
        if link.startswith("https://") or (page.parent == ROOT and link in ON_THE_WEB):
            continue
        file, _, heading = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), f"{name_of(page)} links to {link}"
        assert not heading or heading in headings(target), f"{name_of(page)} links to {link}"


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    lines = (line for line in page.read_text().splitlines() if line.startswith("#"))
    words = (re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()) for line in lines)
    return {heading.replace(" ", "-") for heading in words}


def test_every_page_can_be_found_from_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / first).resolve() for first, _ in LINK.findall(index.read_text())}
    assert set((ROOT / "docs").rglob("*.md")) - {index} <= linked


def test_there_are_command_lines_to_be_held_against_the_parser() -> None:
    assert len(list(commands())) >= 5


@pytest.mark.parametrize(
    "command", list(commands()), ids=lambda command: f"{command.page}: {command.arguments}"
)
def test_a_command_line_of_a_page_is_one_that_works_or_fails_as_shown(command: Command) -> None:
    if command.answer.startswith("memory-monitor: -"):
        with pytest.raises(UsageError) as error:
            parse(arguments_of(command))
        assert command.answer == f"memory-monitor: {error.value}; see memory-monitor --help"
    else:
        settings = parse(arguments_of(command))
        assert settings.names or settings.check_config


def test_the_table_of_options_has_those_of_the_parser() -> None:
    actions = [action for action in _parser()._actions if action.option_strings]
    options = {option for action in actions for option in action.option_strings}
    (table,) = re.findall(r"^\| option \|.*\n\|---.*\n((?:\|.*\n)+)", README.read_text(), re.MULTILINE)
    first_cells = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    shown = {word for cell in first_cells for word in re.findall(r"(?<![\w-])--?[a-z][\w-]*", cell)}
    # -v and -q stand for their long forms, and these two explain themselves.
    assert shown == options - {"--verbose", "--quiet", "--help", "-h", "--version"}


def test_the_architecture_page_lists_the_modules_that_there_are() -> None:
    (tree,) = (lines for lines in blocks(ROOT / "docs" / "architecture.md") if "memmon_systemd/" in lines[0])
    listed: set[str] = set()
    folder = ""
    for line in tree[1:]:
        name = r"(\w+(?:, \w+)*)"
        if found := re.match(r" {6}(\w+)/", line):
            folder = f"{found[1]}/"
        elif found := re.match(rf" {{6}}{name}(?: |$)", line):
            folder, listed = "", listed | set(found[1].split(", "))
        elif found := re.match(rf" {{8}}{name}(?: |$)", line):
            listed |= {f"{folder}{module}" for module in found[1].split(", ")}
    modules = {str(path.relative_to(PACKAGE).with_suffix("")) for path in PACKAGE.rglob("*.py")}
    assert listed == {module for module in modules if not module.endswith("/__init__")}


PATH = re.compile(r"`([\w.@-]+(?:/[\w.@-]+)+/?)`")
FOR_DEVELOPERS = [ROOT / page for page in ("CONTRIBUTING.md", "docs/architecture.md", "docs/testing.md")]


@pytest.mark.parametrize("page", FOR_DEVELOPERS, ids=name_of)
def test_files_that_a_page_for_developers_names_exist(page: Path) -> None:
    # Of the package a page may leave out its name, and .py.
    named = [path for path in PATH.findall(page.read_text()) if not path.startswith(("build/", "dist/"))]
    places = {path: (ROOT / path, PACKAGE / path, PACKAGE / f"{path}.py") for path in named}
    assert named
    assert [path for path, found in places.items() if not any(place.exists() for place in found)] == []


def test_the_picture_was_drawn_from_the_recorded_data() -> None:
    data = hashlib.sha256((ROOT / "docs/picture/leak.csv").read_bytes()).hexdigest()
    for picture in ("leak.svg", "leak-dark.svg"):
        assert data in (ROOT / "docs" / picture).read_text()
