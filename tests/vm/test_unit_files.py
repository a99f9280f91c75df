"""The section of unit files is read as systemd reads its own.

Both get the same drop-ins. systemd's have its section in place of ours, and a key whose value it shows.
"""

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from kit import UNITS, run, write_unit

from memmon_systemd.units.unit_file import read_section

KEY = "Description"
OF_TEMPLATE = "of the template"
OURS, THEIRS = b"X-MemoryMonitor", b"Unit"
HEADER, SET = b"[X-MemoryMonitor]\n", b"Description="
# What files are made of at random. No NUL, which we refuse, and no %, which systemd expands in this key.
PARTS = (
    *(HEADER, b"[X-Other]\n", b"[x-memorymonitor]\n", b"[X-MemoryMonitor] \n", b" [X-MemoryMonitor]\r\n"),
    *(b"\nDescription=one\n", b"\nDescription=two \\\n", b"\nDescription="),
    *(b"Description=", b"Description = ", b" Description\t=\t", b"description=", b"Documentation=man:a(1)\n"),
    *(b"\n", b"\n", b"\n", b"\r\n", b"\n\r", b"\r", b"\\\n", b"\\\r\n", b"\\\\\n", b" \\\n", b"\\"),
    *(b"# comment\n", b" ; comment\n", b"#c\\\n", b";", b"#", b"=", b" ", b"\t", b'"', b"'"),
    *(b"one", b"two three", "\u00e9".encode(), b"a=b", b"[x]", b"]"),
)
# What ends the file for systemd, and other rare things.
RARE_PARTS = (
    *(b"\xef\xbb\xbf", b"\xff\n", b"\xe9", b"[", b"[X-MemoryMonitor\n", b'[a"b]\n', b"[a\\b]\n", b"[]\n"),
    *("\ufffe".encode(), "\ufdd0".encode(), "\U0002ffff".encode(), b"\xed\xa0\x80", b"\xc0\xaf", b"\x01"),
)
ODD: dict[str, Sequence[bytes]] = {
    "nothing": [b""],
    "no section": [SET + b"a\n"],
    "two files": [HEADER + SET + b"a\n", HEADER + SET + b"b\n"],
    "the second resets": [HEADER + SET + b"a\n", HEADER + SET + b"\n"],
    "the second has no section": [HEADER + SET + b"a\n", SET + b"b\n"],
    "a section does not go on in the next file": [HEADER, SET + b"b\n"],
    "a continued line does not go on in the next file": [HEADER + SET + b"a \\", b"b\n"],
    "no end of line": [HEADER + SET + b"a"],
    "CRLF": [b"[X-MemoryMonitor]\r\nDescription=a\r\n"],
    "a BOM": [b"\xef\xbb\xbf" + HEADER + SET + b"a\n"],
    "a BOM before a comment": [b"\xef\xbb\xbf# comment\n" + HEADER + SET + b"a\n"],
    "a BOM later": [HEADER + b"\xef\xbb\xbf" + SET + b"a\n"],
    "two BOMs": [b"\xef\xbb\xbf" + HEADER + b"\xef\xbb\xbf" + SET + b"a\n"],
    "a comment in a continued line": [HEADER + SET + b"a\\\n# b\n;c\n  # d\n  e\n"],
    "a continued comment": [HEADER + b"# a\\\n" + SET + b"b\n"],
    "an empty line ends a continued one": [HEADER + SET + b"a\\\n\n" + SET + b"b\n"],
    "quotes": [HEADER + SET + b"\"a b\" 'c'\n"],
    "a comment behind the value": [HEADER + SET + b"a # b\n"],
    "an invalid header ends the file": [HEADER + SET + b"a\n[X-MemoryMonitor\n" + HEADER + SET + b"b\n"],
    "invalid UTF-8 ends the file": [HEADER + SET + b"a\n" + SET + b"b\xff\n" + SET + b"c\n"],
    "invalid UTF-8 elsewhere ends the file": [HEADER + SET + b"a\n[X-O]\nb=\xff\n" + HEADER + SET + b"c\n"],
    "invalid UTF-8 in a comment": [HEADER + b"# \xff\n" + SET + b"a\n"],
    "a non-character": [HEADER + SET + "a\ufffe\n".encode() + SET + b"b\n"],
    "a file that is ended does not end the next": [HEADER + b"\xff\n", HEADER + SET + b"b\n"],
    "a long value": [HEADER + SET + b"a" * 900 + b"\n"],
}
RANDOM_FILES = 300


def random_files() -> dict[str, Sequence[bytes]]:
    """The same each time."""
    chance = random.Random(15)
    return {
        f"random {number}": [
            (HEADER if chance.random() < 0.8 else b"")
            + b"".join(
                chance.choice(RARE_PARTS if chance.random() < 0.04 else PARTS)
                for _ in range(chance.randrange(1, 30))
            )
        ]
        for number in range(RANDOM_FILES)
    }


def written(directory: Path, contents: Sequence[bytes]) -> list[str]:
    directory.mkdir(parents=True)
    paths = [directory / f"{number}.conf" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return [str(path) for path in paths]


def ours(paths: Sequence[str], name: str) -> str:
    """What systemd would show as the description of the unit."""
    found = read_section(paths).assignments.get(KEY)
    return OF_TEMPLATE if found is None else found.value.replace(OURS.decode(), THEIRS.decode()) or name


def theirs(names: Sequence[str]) -> dict[str, str]:
    blocks = run("systemctl", "show", "--property=Id,Description", *names).split("\n\n")
    shown = [dict(line.split("=", 1) for line in block.splitlines()) for block in blocks]
    return {unit["Id"]: unit[KEY] for unit in shown}


def test_it_is_read_as_systemd_reads_its_own(tmp_path: Path) -> None:
    cases = ODD | random_files()
    names = {case: f"read@{number}.service" for number, case in enumerate(cases)}
    directories = [UNITS / f"{name}.d" for name in names.values()]
    write_unit("read@.service", f"[Unit]\n{KEY}={OF_TEMPLATE}\n[Service]\nExecStart=/bin/true\n")
    try:
        read = {}
        for (case, contents), directory in zip(cases.items(), directories, strict=True):
            written(directory, [content.replace(OURS, THEIRS) for content in contents])
            read[case] = ours(written(tmp_path / directory.name, contents), names[case])
        run("systemctl", "daemon-reload")
        shown = theirs(list(names.values()))
    finally:
        for directory in directories:
            shutil.rmtree(directory, ignore_errors=True)
        (UNITS / "read@.service").unlink()
        run("systemctl", "daemon-reload")
    different = {
        case: (cases[case], read[case], shown[name])
        for case, name in names.items()
        if read[case] != shown[name]
    }
    assert not different
    # Many of the random files set something, so that this compares more than nothing with nothing.
    assert sum(value != OF_TEMPLATE for value in read.values()) > RANDOM_FILES / 4
