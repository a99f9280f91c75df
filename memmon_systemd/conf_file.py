"""A settings file as systemd reads EnvironmentFile=, and the command line that comes of it; pure.

Source: parse_env_file_internal() and replace_env_argv() of systemd 252 to 257.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

SETTINGS: Final = ("MAX_MEMORY", "INTERVAL", "SIGNAL", "OPTIONS")
"""What memory-monitor@.service knows."""
_SETTING_OF: Final = {"-m/--max-memory": "MAX_MEMORY", "-i/--interval": "INTERVAL", "-s/--signal": "SIGNAL"}
_OF_PROGRAMS: Final = re.compile("(PYTHON|LC_|LANG|LD_|DBUS_|XDG_|MALLOC_|SYSTEMD_|TZ$|PATH$|HOME$)")
"""What isn't memory-monitor's, but may be meant for Python or a library."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VARIABLE: Final = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_BLANK: Final = " \t"
_NEWLINE: Final = "\n\r"


@dataclass(frozen=True, slots=True)
class Problem:
    """What systemd doesn't take as it was meant."""

    line: int
    """0: the whole file."""
    words: str
    instead: str | None = None
    """What to write."""

    def in_file(self, path: str) -> str:
        """As a compiler writes it: FILE:LINE: what, and what works."""
        place = f"{path}:{self.line}" if self.line else path
        works = f": use {self.instead}" if self.instead is not None else ""
        return f"{place}: {self.words}{works}"


@dataclass(frozen=True, slots=True)
class Assignment:
    """NAME=VALUE, without quotes and escapes."""

    line: int
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ConfFile:
    """What a settings file says, and what is wrong with it."""

    assignments: tuple[Assignment, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def values(self) -> dict[str, str]:
        """What is in force: the last of a name."""
        return {one.name: one.value for one in self.assignments}


def read_conf(data: bytes, known: Collection[str] = SETTINGS) -> ConfFile:
    """A file's settings; `known` are the names that mean something."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return ConfFile((), (Problem(line, "it isn't UTF-8, so systemd reads nothing of the file"),))
    assignments: list[Assignment] = []
    problems: list[Problem] = []
    for found in _Scanner(text).scan():
        if isinstance(found, Problem):
            problems.append(found)
        elif problem := _problem_of(found, known):
            problems.append(problem)
        if isinstance(found, Assignment) and _NAME.fullmatch(found.name):
            assignments.append(found)
    return ConfFile(tuple(assignments), tuple(problems))


def _problem_of(found: Assignment, known: Collection[str]) -> Problem | None:
    name, value = found.name, found.value
    if name in known or (_NAME.fullmatch(name) and _OF_PROGRAMS.match(name)):
        return None
    meant = _meant(name, known)
    instead = None if meant is None else f"{meant}={shlex.quote(value) if value else ''}"
    if name.startswith("\ufeff"):
        return Problem(
            found.line, "the file begins with a byte order mark: systemd ignores this line", instead
        )
    if not _NAME.fullmatch(name):
        return Problem(found.line, f"'{name}' is not a name: systemd ignores this line", instead)
    works = instead or f"one of {', '.join(f'{one}=' for one in known)}"
    return Problem(found.line, f"there is no setting {name}=: it has no effect", works)


def _meant(name: str, known: Collection[str]) -> str | None:
    """The setting that a name was probably meant to be."""
    bare = name.removeprefix("\ufeff").strip().removeprefix("export ")
    plain = {one.replace("_", ""): one for one in known}
    wanted = re.sub("[^A-Z]", "", bare.upper())
    import difflib  # Only for a mistake: a monitor that reads its file again need not hold it.

    close = difflib.get_close_matches(wanted, plain, n=1, cutoff=0.75)
    return plain[close[0]] if close else None


class _Scanner:
    """Goes through the text once, character by character, as systemd does."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def scan(self) -> Iterator[Assignment | Problem]:
        """Assignments, and what is none, from the top down."""
        while (char := self._next()) is not None:
            if char in "#;":
                yield from self._comment()
            elif char not in _BLANK + _NEWLINE:
                yield from self._assignment()

    def _next(self) -> str | None:
        if self._at >= len(self._text):
            return None
        self._at += 1
        return self._text[self._at - 1]

    @property
    def _line(self) -> int:
        return self._text.count("\n", 0, self._at - 1) + 1

    def _comment(self) -> Iterator[Problem]:
        line, end = self._line, re.compile(r"[\n\r]|\Z").search(self._text, self._at)
        assert end is not None
        self._at = end.end()
        following = self._text[self._at : self._at + 1]
        if self._text[: end.start()].endswith("\\") and following.strip():
            yield Problem(
                line, "the comment ends with a backslash: systemd 252 takes the next line as a part of it"
            )

    def _assignment(self) -> Iterator[Assignment | Problem]:
        line, start = self._line, self._at - 1
        match = re.compile(r"[^=\n\r]*").match(self._text, start)
        assert match is not None
        self._at = match.end()
        name = match[0].rstrip(_BLANK)
        if self._next() != "=":
            key, colon, value = name.partition(":")
            instead = None
            if colon and (meant := _meant(key, SETTINGS)):
                instead = f"{meant}={value.strip()}"
            yield Problem(line, f"'{name}' has no =: systemd ignores this line", instead)
            return
        value, is_open = self._value()
        yield Assignment(line, name, value)
        if is_open:
            yield Problem(
                line, f"a quotation mark of {name}= isn't closed: the rest of the file is its value"
            )

    def _value(self) -> tuple[str, bool]:
        """The value, and whether it ends within quotation marks."""
        value, kept, quote, is_bare = "", 0, "", False
        while (char := self._next()) is not None:
            if quote:
                if char == quote:
                    quote = ""
                elif char == "\\" and quote == '"':
                    value += self._escaped()
                else:
                    value += char
                kept = len(value)
            elif char in _NEWLINE:
                break
            elif char == "\\":
                following = self._next() or ""
                value, is_bare = value + following.strip(_NEWLINE), True
                kept = len(value)
            elif char in "'\"" and not is_bare:
                quote = char
            elif is_bare or char not in _BLANK:
                value, is_bare = value + char, True
                kept = kept if char in _BLANK else len(value)
        return value[:kept], bool(quote)

    def _escaped(self) -> str:
        """What a backslash and the next character are within "..."."""
        char = self._next() or ""
        if char in '"\\`$':
            return char
        return "" if char == "\n" else f"\\{char}"


def expand(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The words of ExecStart= with their variables: $NAME alone becomes words, ${NAME} stays in one.

    ValueError where the quotation marks in the value of a $NAME don't match.
    """

    def value(match: re.Match[str]) -> str:
        return "$" if match[1] is None else values.get(match[1], "")

    expanded: list[str] = []
    for word in words:
        if word.startswith("$") and _NAME.fullmatch(word[1:]):
            expanded += shlex.split(values.get(word[1:], ""))
        else:
            expanded.append(_VARIABLE.sub(value, word))
    return expanded


def wrong_setting(error: str) -> tuple[str, str]:
    """The setting that an error of the options comes from, and what is wrong with it."""
    option, colon, words = error.partition(": ")
    setting = _SETTING_OF.get(option)
    return ("OPTIONS", f"{option}{colon}{words}") if setting is None else (setting, words)


def variables_of(words: Sequence[str]) -> tuple[str, ...]:
    """The names of the variables in the words of ExecStart=."""
    found = (re.findall(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", word.replace("$$", "")) for word in words)
    return tuple(dict.fromkeys(name for names in found for name in names))
