"""A page of docs/ as a recipe: its files are put in their places, and its log is held against a real one."""

import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kit import run

REPO = Path(__file__).parents[3]
APPS = Path(__file__).with_name("apps")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"# ([/~]\S+)")
_DATE = re.compile(r"^[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d ")
_CONTAINER_ID = re.compile(r"\b[0-9a-f]{64}\b")
_NUMBER = re.compile(r"\d+(\.\d+)?( ([KMG]?i?B|ms|s|min|h)\b(/\w+)?)?( \d+ (s|min|h)\b)*")


@dataclass(frozen=True, slots=True)
class File:
    """A code block whose first line is a comment with the path of the file that it is."""

    path: str
    text: str


class Page:
    """One page; the path is that below docs/."""

    def __init__(self, path: str) -> None:
        """Reads it."""
        self.blocks = [text for _, text in _BLOCK.findall((REPO / "docs" / path).read_text())]

    @property
    def files(self) -> list[File]:
        """Its files, in the order of the page."""
        found = ((_PATH.match(block), block) for block in self.blocks)
        return [File(path[1], block) for path, block in found if path]

    def file(self, path: str, nth: int = 0) -> File:
        """The nth of its files with this path."""
        return [file for file in self.files if file.path == path][nth]

    def log(self, command: str) -> list[str]:
        """What the page shows beneath "$ command", but for lines that stand for others ("...")."""
        (block,) = (block for block in self.blocks if block.startswith(f"$ {command}\n"))
        return [line for line in block.splitlines()[1:] if line != "..."]


def install(*files: File, home: Path | None = None) -> None:
    """Writes the files, tells systemd; `~` is the home."""
    for file in files:
        path = Path(file.path.replace("~", str(home), 1) if home else file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text)
    run("systemctl", "daemon-reload")


def install_app(name: str, directory: str) -> None:
    """Puts a program of apps/ where the page has it."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    Path(directory, name).write_bytes((APPS / name).read_bytes())


def shown(command: str) -> list[str]:
    """What the command (of the page) prints now."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines()


def without_numbers(line: str) -> str:
    """The line with what differs from run to run taken out: date, IDs of containers, numbers."""
    return _NUMBER.sub("#", _CONTAINER_ID.sub("#", _DATE.sub("", line)))


def assert_is_like(page: Sequence[str], real: Sequence[str]) -> None:
    """Each line of the page is in the real log, but for dates and numbers.

    In any order: lines of several processes come in another one each time.
    """
    missing = Counter(map(without_numbers, page)) - Counter(map(without_numbers, real))
    assert page, "the page shows no line"
    assert not missing, f"not in the real log: {list(missing)}; that is:\n" + "\n".join(real)
