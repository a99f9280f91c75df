"""The section [X-MemoryMonitor] of a unit's files, read as systemd reads them (systemd.syntax(7)).

What systemd does beyond its manual page is from config_parse() in its src/shared/conf-parser.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from memmon_systemd.formatting import one_line
from memmon_systemd.linux.text_file import text_of

SECTION: Final = "X-MemoryMonitor"
MOST_FILES: Final = 1000
MOST_KEYS: Final = 50
LONGEST_LINE_BYTES: Final = 1024
"""Of a line of this section, with what continues it."""
MOST_PROBLEMS: Final = 10

_WHITESPACE: Final = b" \t\n\r"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\n\r|\n|\r")
_COMMENT: Final = re.compile(rb"[ \t]*[#;]")
_HEADER: Final = f"[{SECTION}]".encode()
_HEADER_ALIKE: Final = re.compile(rb"\[(?:x[-_]?)?memory[-_]?monitor\]", re.IGNORECASE)
_UNSAFE_IN_HEADER: Final = re.compile(rb"[\x01-\x1f\x7f\"'\\]")
_LAST_OF_PLANES: Final = "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
_NONCHARACTER: Final = re.compile(f"[\ufdd0-\ufdef{_LAST_OF_PLANES}]")
"""What systemd takes for invalid UTF-8 beside what is (unichar_is_valid())."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A value and where it stands."""

    value: str
    """"" resets the key to its default."""
    path: str
    line: int

    @property
    def place(self) -> str:
        """Path and line, for a message."""
        return f"{one_line(self.path)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Section:
    """What the files of a unit say, in all sections of this name together."""

    assignments: Mapping[str, Assignment]
    """The last of each key."""
    problems: tuple[str, ...]
    """A line each, with path and line."""
    header: str | None
    """Path and line of the last header; None where there is none."""
    is_complete: bool
    """False where something could not be read: what was in force before is to be kept."""

    @property
    def is_present(self) -> bool:
        """Whether there is such a section, if only an empty one."""
        return self.header is not None

    @property
    def written(self) -> tuple[str, ...]:
        """The assignments as they stand there: "Threshold=80%"."""
        return tuple(f"{key}={assignment.value}" for key, assignment in self.assignments.items())

    @property
    def files(self) -> tuple[str, ...]:
        """The files that they stand in."""
        return tuple(dict.fromkeys(assignment.path for assignment in self.assignments.values()))


def read_section(paths: Sequence[str]) -> Section:
    """The section of a fragment and its drop-ins, in the order in which systemd applies them.

    It raises nothing and waits for nothing: what can't be read is a problem.
    """
    reader = _Reader()
    for path in paths[:MOST_FILES]:
        try:
            reader.read(path, text_of(path))
        except OSError as error:
            reader.miss(path, error.strerror or str(error))
        except ValueError:  # A NUL, or what can't be encoded.
            reader.miss(path, "is no valid path")
        except MemoryError:
            reader.miss(path, "not enough memory to read it")
    if len(paths) > MOST_FILES:
        of_all = f"at most {MOST_FILES} files are read, and it has {len(paths)}"
        reader.miss(paths[MOST_FILES], f"is not read: of a unit {of_all}")
    return reader.section()


def section_in(path: str, content: bytes) -> Section:
    """The section of one file, whose content was read already."""
    reader = _Reader()
    reader.read(path, content)
    return reader.section()


class _Reader:
    """Gathers the section from one file after the other."""

    def __init__(self) -> None:
        self._assignments: dict[str, Assignment] = {}
        self._problems: list[str] = []
        self._unsaid = 0
        self._header: str | None = None
        self._is_complete = True

    def section(self) -> Section:
        """What was gathered."""
        problems = self._problems
        if self._unsaid:
            problems = [*problems, f"{self._unsaid} more problems in these files"]
        return Section(self._assignments, tuple(problems), self._header, self._is_complete)

    def miss(self, path: str, why: str, line: int | None = None) -> None:
        """Something that was not read, so that the section may be another one."""
        self._is_complete = False
        self._say(path, line, why)

    def read(self, path: str, content: bytes) -> None:
        """One file."""
        if not _HEADER_ALIKE.search(content):
            return
        is_ours = False
        for number, raw in _logical_lines(content):
            text = raw.strip(_WHITESPACE)
            if not text:
                continue
            if text.startswith(b"["):
                if (name := self._section_name(path, number, text)) is None:
                    return
                is_ours = name == SECTION
                if is_ours and self._header is None:
                    self._header = f"{one_line(path)}:{number}"
            elif (decoded := _decoded(text)) is None:
                self.miss(path, "is not valid UTF-8: the rest of the file is not read", number)
                return
            elif is_ours and not self._take(path, number, text, decoded):
                return

    def _section_name(self, path: str, number: int, text: bytes) -> str | None:
        """Of a header; None where systemd reads no further."""
        name = _decoded(text)
        if name is None or not text.endswith(b"]") or _UNSAFE_IN_HEADER.search(text):
            self.miss(path, f"{_quoted(text)} is no section header: the rest of the file is not read", number)
            return None
        if text != _HEADER and _HEADER_ALIKE.fullmatch(text):
            self._say(path, number, f"{name} is not read: use [{SECTION}]")
        return name[1:-1]

    def _take(self, path: str, number: int, text: bytes, decoded: str) -> bool:
        """Take a line of the section; whether to read on."""
        key, equals, value = decoded.partition("=")
        key, value = key.strip(" \t\n\r"), value.strip(" \t\n\r")
        if len(text) > LONGEST_LINE_BYTES:
            self.miss(path, f"{_quoted(text)} is too long: use at most {LONGEST_LINE_BYTES} bytes", number)
        elif not equals:
            self._say(path, number, f"{_quoted(text)} is ignored: use KEY=VALUE")
        elif not key:
            self._say(path, number, f"{_quoted(text)} is ignored: there is no key before =")
        elif key not in self._assignments and len(self._assignments) == MOST_KEYS:
            self.miss(path, f"more than {MOST_KEYS} keys: the rest of the file is not read", number)
            return False
        else:
            self._assignments[key] = Assignment(value, path, number)
        return True

    def _say(self, path: str, line: int | None, what: str) -> None:
        if len(self._problems) < MOST_PROBLEMS:
            place = "" if line is None else f"{line}:"
            self._problems.append(f"{one_line(path)}:{place} {what}")
        else:
            self._unsaid += 1


def _logical_lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines without comments, those that a backslash continues as one, with the number of the first."""
    begun = bytearray()
    begun_number = 0
    mark_seen = False
    for number, line in enumerate(_lines(content), start=1):
        if not (line or begun) or _COMMENT.match(line):
            continue
        if not mark_seen and line.startswith(_BYTE_ORDER_MARK):
            mark_seen = True
            line = line.removeprefix(_BYTE_ORDER_MARK)
        is_continued = (len(line) - len(line.rstrip(b"\\"))) % 2 == 1
        if not begun:
            begun_number = number
            if not is_continued:
                yield number, line
                continue
        begun += line
        if is_continued:
            begun[-1:] = b" "
        else:
            yield begun_number, bytes(begun)
            begun.clear()
    if begun:
        yield begun_number, bytes(begun)


def _lines(content: bytes) -> Iterator[bytes]:
    r"""The lines, which \n, \r or both together end."""
    start = 0
    # Not finditer: each time CPython looks "search" up by a new string there, and its cache of methods keeps
    # up to 4,096 of these, at each reload some more (PyObject_GetAttrString, 3.11).
    while (end := _LINE_END.search(content, start)) is not None:
        yield content[start : end.start()]
        start = end.end()
    if start < len(content):
        yield content[start:]


def _decoded(text: bytes) -> str | None:
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        return None
    return None if _NONCHARACTER.search(decoded) else decoded


def _quoted(text: bytes) -> str:
    cut = text[:40] + b"..." if len(text) > 43 else text
    return f"'{one_line(cut.decode(errors='replace'))}'"
