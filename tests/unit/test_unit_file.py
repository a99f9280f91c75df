"""The section [X-MemoryMonitor] of unit files: what is read, what is said, and that nothing holds it up."""

import gc
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memmon_systemd.linux import text_file
from memmon_systemd.linux.text_file import LARGEST_FILE_BYTES
from memmon_systemd.units.unit_file import (
    LONGEST_LINE_BYTES,
    MOST_FILES,
    MOST_KEYS,
    MOST_PROBLEMS,
    SECTION,
    Section,
    read_section,
)

HEADER = f"[{SECTION}]\n"

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/fd, or a device of Linux")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("units")


def read(directory: Path, *contents: str | bytes) -> Section:
    """The section of files with these contents, in this order."""
    paths = []
    for number, content in enumerate(contents):
        path = directory / f"{number}.conf"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        paths.append(str(path))
    return read_section(paths)


def replace_calls(monkeypatch: pytest.MonkeyPatch, **calls: Callable[..., object]) -> None:
    """Has the module alone make these calls of its own `os`."""
    monkeypatch.setattr(text_file, "os", SimpleNamespace(**(vars(os) | calls)))


def values(section: Section) -> dict[str, str]:
    return {key: assignment.value for key, assignment in section.assignments.items()}


# --- what is read: tests/vm/test_unit_files.py has systemd read the like ----------------------


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ([""], {}),
        ([HEADER], {}),
        ([HEADER + "Threshold=80%\n"], {"Threshold": "80%"}),
        ([HEADER + "Threshold=80%"], {"Threshold": "80%"}),
        ([HEADER + " Threshold \t=\t 80 % \n"], {"Threshold": "80 %"}),
        ([HEADER + "Threshold=80%\nInterval=5\nThreshold=70%\n"], {"Threshold": "70%", "Interval": "5"}),
        # Sections of other names, and sections again.
        (["[Unit]\nThreshold=1\n" + HEADER + "A=1\n[Service]\nA=2\n" + HEADER + "B=3"], {"A": "1", "B": "3"}),
        (["Threshold=1\n" + HEADER + "A=1"], {"A": "1"}),
        ([" " + HEADER.strip() + "\t\nA=1"], {"A": "1"}),
        ([HEADER + "A=1\n[]\nA=2"], {"A": "1"}),
        (["[X-MemoryMonitor ]\nA=1\n" + HEADER], {}),
        # Several files: the last assignment holds, nothing may set it back to the default.
        ([HEADER + "A=1\nB=1", HEADER + "A=2"], {"A": "2", "B": "1"}),
        ([HEADER + "A=1", HEADER + "A=\n"], {"A": ""}),
        ([HEADER + "A=\n", HEADER + "A=1"], {"A": "1"}),
        # Neither a section nor a continued line goes on in the next file.
        ([HEADER + "A=1", "A=2\n"], {"A": "1"}),
        ([HEADER + "A=1\\", HEADER + "B=2\n"], {"A": "1", "B": "2"}),
        # Comments and continued lines.
        ([HEADER + "# A=1\n;B=2\n  # C=3\n\t;D=4\nE=5 # 6\n"], {"E": "5 # 6"}),
        ([HEADER + "A=1\\\n2\n"], {"A": "1 2"}),
        ([HEADER + "A=1 \\\n# 2\n;3\n  # 4\\\n  5\nB=6\n"], {"A": "1    5", "B": "6"}),
        ([HEADER + "A\\\n=\\\n1\n"], {"A": "1"}),
        ([HEADER + "A=1\\\n\nB=2\n"], {"A": "1", "B": "2"}),
        ([HEADER + "# A=1\\\nB=2\n"], {"B": "2"}),
        ([HEADER + "A=1\\\\\nB=2\n"], {"A": r"1\\", "B": "2"}),
        ([HEADER + "A=1\\\\\\\nB=2\n"], {"A": r"1\\ B=2"}),
        ([HEADER + "A=1\\"], {"A": "1"}),
        ([HEADER + "A=1 \\ \nB=2"], {"A": "1 \\", "B": "2"}),
        # Quotes and the percent sign are characters like others.
        ([HEADER + "A=\"1 2\"\nB='%n'\n"], {"A": '"1 2"', "B": "'%n'"}),
        ([HEADER + "A=b=c"], {"A": "b=c"}),
        # Ends of lines.
        ([b"[X-MemoryMonitor]\r\nA=1\r\nB=2\\\r\n3\r\n"], {"A": "1", "B": "2 3"}),
        ([b"[X-MemoryMonitor]\rA=1\rB=2"], {"A": "1", "B": "2"}),
        ([b"[X-MemoryMonitor]\n\rA=1\\\n\rB=2"], {"A": "1 B=2"}),
        ([b"[X-MemoryMonitor]\nA=1\\\n\r\nB=2"], {"A": "1", "B": "2"}),
        # A byte order mark is left out once, wherever a line starts with it.
        ([b"\xef\xbb\xbf[X-MemoryMonitor]\nA=1"], {"A": "1"}),
        ([b"[X-MemoryMonitor]\n\xef\xbb\xbfA=1\n\xef\xbb\xbfB=1"], {"A": "1", "\ufeffB": "1"}),
        # Invalid UTF-8 is no matter in comments.
        ([b"[X-MemoryMonitor]\n# \xff\nA=\xc3\xa9"], {"A": "\u00e9"}),
        # A key is what is written, whatever its case.
        ([HEADER + "a=1\nA=2"], {"a": "1", "A": "2"}),
    ],
)
def test_the_section_is_read_as_systemd_reads(
    tmp_path: Path, contents: list[str | bytes], expected: dict[str, str]
) -> None:
    section = read(tmp_path, *contents)
    assert values(section) == expected
    assert section.problems == ()
    assert section.is_complete


def test_each_value_has_the_file_and_the_line_where_it_begins(tmp_path: Path) -> None:
    section = read(tmp_path, f"[Unit]\n{HEADER}A=1\\\n# c\n2\nB=1\nC=1\n", HEADER + "\nB=2\n")
    places = {key: assignment.place for key, assignment in section.assignments.items()}
    first, second = f"{tmp_path}/0.conf", f"{tmp_path}/1.conf"
    assert places == {"A": f"{first}:3", "B": f"{second}:3", "C": f"{first}:7"}
    assert section.header == f"{tmp_path}/0.conf:2"


@pytest.mark.parametrize(
    "content", ["", "[Unit]\nThreshold=1\n", "# [X-MemoryMonitor]\n", "A=[X-MemoryMonitor]\n"]
)
def test_a_file_without_the_section_has_none(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content) == Section({}, (), None, True)


def test_a_section_whose_name_is_spelt_otherwise_is_none_and_is_said(tmp_path: Path) -> None:
    problem = f"{tmp_path}/0.conf:1: [x-memorymonitor] is not read: use [X-MemoryMonitor]"
    assert read(tmp_path, "[x-memorymonitor]\nThreshold=80%\n") == Section({}, (problem,), None, True)


def test_an_empty_section_is_one(tmp_path: Path) -> None:
    assert read(tmp_path, HEADER).is_present


# --- what is said of a line -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (HEADER + "Threshold\nA=1", "2: 'Threshold' is ignored: use KEY=VALUE"),
        (HEADER + "\x1b[2J\nA=1", r"2: '\x1b[2J' is ignored: use KEY=VALUE"),
        (HEADER + "=80%\nA=1", "2: '=80%' is ignored: there is no key before ="),
        (
            "[x-memorymonitor]\nB=1\n" + HEADER + "A=1",
            "1: [x-memorymonitor] is not read: use [X-MemoryMonitor]",
        ),
        (HEADER + "A=1\n[MemoryMonitor]\nB=1", "3: [MemoryMonitor] is not read: use [X-MemoryMonitor]"),
        (HEADER + "A=1\n[X-Memory-Monitor]", "3: [X-Memory-Monitor] is not read: use [X-MemoryMonitor]"),
    ],
)
def test_a_line_that_says_nothing_is_named_and_the_others_hold(
    tmp_path: Path, content: str, problem: str
) -> None:
    section = read(tmp_path, content)
    assert values(section) == {"A": "1"}
    assert section.problems == (f"{tmp_path}/0.conf:{problem}",)
    assert section.is_complete


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (HEADER + "A=1\n[Unit\nA=2", "3: '[Unit' is no section header: the rest of the file is not read"),
        (HEADER + "A=1\n[\nA=2", "3: '[' is no section header: the rest of the file is not read"),
        (HEADER + 'A=1\n["]\nA=2', "3: '[\"]' is no section header: the rest of the file is not read"),
        (HEADER + "A=1\n[a\\b]\nA=2", "3: '[a\\b]' is no section header: the rest of the file is not read"),
        (HEADER + "A=1\n[\x01]\nA=2", r"3: '[\x01]' is no section header: the rest of the file is not read"),
        (HEADER.encode() + b"A=1\nA=\xff\nA=2", "3: is not valid UTF-8: the rest of the file is not read"),
        (
            HEADER.encode() + b"A=1\n[X]\n\xe9\n" + HEADER.encode() + b"A=2",
            "4: is not valid UTF-8: the rest of",
        ),
        (
            HEADER.encode() + b"A=1\nA=\xed\xa0\x80\nA=2",
            "3: is not valid UTF-8: the rest of the file is not read",
        ),
        (HEADER + "A=1\nA=\ufffe\nA=2", "3: is not valid UTF-8: the rest of the file is not read"),
        (HEADER + "A=1\nA=\U0010ffff\nA=2", "3: is not valid UTF-8: the rest of the file is not read"),
        (HEADER + "A=1\nA=\ufdd0\nA=2", "3: is not valid UTF-8: the rest of the file is not read"),
    ],
)
def test_what_ends_a_file_for_systemd_ends_it_here(
    tmp_path: Path, content: str | bytes, problem: str
) -> None:
    section = read(tmp_path, content, HEADER + "B=1")
    assert values(section) == {"A": "1", "B": "1"}
    (said,) = section.problems
    assert said.startswith(f"{tmp_path}/0.conf:{problem}")
    assert not section.is_complete


def test_a_line_that_is_too_long_is_named(tmp_path: Path) -> None:
    section = read(
        tmp_path, f"{HEADER}A={'x' * (LONGEST_LINE_BYTES - 1)}\nB={'x' * (LONGEST_LINE_BYTES - 2)}"
    )
    assert list(section.assignments) == ["B"]
    (said,) = section.problems
    assert said.endswith(f"xxx...' is too long: use at most {LONGEST_LINE_BYTES} bytes")
    assert not section.is_complete


def test_long_lines_elsewhere_are_no_matter(tmp_path: Path) -> None:
    section = read(tmp_path, f"[Service]\nExecStart=/bin/echo {'x' * 100_000}\n{HEADER}A=1")
    assert (values(section), section.problems) == ({"A": "1"}, ())


def test_a_file_of_keys_without_end_is_bounded(tmp_path: Path) -> None:
    section = read(tmp_path, HEADER + "".join(f"K{number}=1\n" for number in range(10_000)))
    assert len(section.assignments) == MOST_KEYS
    assert section.problems == (
        f"{tmp_path}/0.conf:{MOST_KEYS + 2}: more than {MOST_KEYS} keys: the rest of the file is not read",
    )
    assert not section.is_complete


def test_a_file_of_wrong_lines_is_bounded(tmp_path: Path) -> None:
    section = read(tmp_path, HEADER + "wrong\n" * 10_000)
    assert len(section.problems) == MOST_PROBLEMS + 1
    assert section.problems[-1] == f"{10_000 - MOST_PROBLEMS} more problems in these files"


# --- files that can't be read -----------------------------------------------------------------


def a_directory(path: Path) -> None:
    path.mkdir()


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        # A path in sun_path is short: bind to a name in the directory.
        before = Path.cwd()
        os.chdir(path.parent)
        try:
            listener.bind(path.name)
        finally:
            os.chdir(before)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def nothing(path: Path) -> None:
    assert not path.exists()


def something_huge(path: Path) -> None:
    path.touch()
    os.truncate(path, LARGEST_FILE_BYTES + 1)


def a_binary(path: Path) -> None:
    path.write_bytes(HEADER.encode() + b"A=2\n\0\n")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (a_directory, "is not read: it is no regular file"),
        (a_fifo, "is not read: it is no regular file"),
        (a_socket, "is not read: it is no regular file"),
        (a_device, "is not read: it is no regular file"),
        (a_link_to_nothing, "No such file or directory"),
        (a_link_to_itself, "Too many levels of symbolic links"),
        (nothing, "No such file or directory"),
        (something_huge, "is not read: at most 262144 bytes are read, and it has 262145"),
        (a_binary, "is not read: it has a NUL, so it is no text"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_the_others_hold(
    tmp_path: Path, make: Callable[[Path], None], why: str
) -> None:
    bad, good = tmp_path / "bad.conf", tmp_path / "good.conf"
    make(bad)
    good.write_text(HEADER + "A=1\n")
    section = read_section([str(bad), str(good)])
    assert values(section) == {"A": "1"}
    assert section.problems == (f"{bad}: {why}",)
    assert not section.is_complete


@pytest.mark.parametrize("path", ["a\0b", "a\ud800b"])
def test_a_path_that_is_none_is_one_line(path: str) -> None:
    section = read_section([path])
    (said,) = section.problems
    assert said.endswith(": is no valid path")
    assert said.isprintable()
    assert not section.is_complete


@pytest.fixture
def without_rights(tmp_path: Path) -> Iterator[None]:
    """Root may read everything: be somebody else for a while."""
    user = os.geteuid()
    (tmp_path / "secret.conf").touch(mode=0)
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


@pytest.mark.usefixtures("without_rights")
def test_a_file_that_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "secret.conf"
    assert read_section([str(path)]).problems == (f"{path}: Permission denied",)


def test_an_error_of_the_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int, _length: int) -> bytes:
        raise OSError(5, "Input/output error")

    replace_calls(monkeypatch, read=fail)
    section = read(tmp_path, HEADER)
    assert section.problems == (f"{tmp_path}/0.conf: Input/output error",)
    assert not section.is_complete


def test_too_little_memory_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int, _length: int) -> bytes:
        raise MemoryError

    replace_calls(monkeypatch, read=fail)
    assert read(tmp_path, HEADER).problems == (f"{tmp_path}/0.conf: not enough memory to read it",)


@pytest.mark.parametrize("target", [os.devnull, "empty"])
def test_a_masked_file_is_empty(tmp_path: Path, target: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "masked.conf").symlink_to(target)
    assert read_section([str(tmp_path / "masked.conf")]) == Section({}, (), None, True)


def test_only_regular_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To open a device can do something to it, and to open a FIFO lets its writer go on."""
    a_fifo(tmp_path / "fifo")
    opened = []
    real_open = os.open

    def record(path: str, flags: int) -> int:
        opened.append(path)
        assert flags & os.O_NONBLOCK
        assert flags & os.O_CLOEXEC
        return real_open(path, flags)

    replace_calls(monkeypatch, open=record)
    (tmp_path / "0.conf").write_text(HEADER)
    read_section([str(tmp_path / "fifo"), "/dev/zero", os.devnull, str(tmp_path), str(tmp_path / "0.conf")])
    assert opened == [str(tmp_path / "0.conf")]


@linux_only
def test_a_file_that_became_a_fifo_does_not_hold_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at what it is and the opening."""
    a_fifo(tmp_path / "fifo")
    file = tmp_path / "file"
    file.write_text(HEADER)
    replace_calls(monkeypatch, stat=lambda _path: file.lstat())
    assert read_section([str(tmp_path / "fifo")]).problems == (
        f"{tmp_path}/fifo: is not read: it is no regular file",
    )


def write_as_it_is_read(path: Path, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter(range(times))

    def read_and_write(descriptor: int, length: int) -> bytes:
        content = os.read(descriptor, length)
        if (number := next(left, None)) is not None:
            with path.open("a") as file:
                file.write(f"A={number}\n")
        return content

    replace_calls(monkeypatch, read=read_and_write)


def test_a_file_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_as_it_is_read(tmp_path / "0.conf", 1, monkeypatch)
    section = read(tmp_path, HEADER + "A=old\n")
    assert (values(section), section.problems) == ({"A": "0"}, ())


def test_a_file_that_changes_all_the_time_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_as_it_is_read(tmp_path / "0.conf", 100, monkeypatch)
    section = read(tmp_path, HEADER + "A=old\n", HEADER + "B=1\n")
    assert values(section) == {"B": "1"}
    assert section.problems == (f"{tmp_path}/0.conf: changes while it is read",)
    assert not section.is_complete


def test_ten_thousand_drop_ins_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "0.conf"
    path.write_text(HEADER + "A=1\n")
    section = read_section([str(path)] * MOST_FILES + [f"{path}{number}" for number in range(10_000)])
    assert values(section) == {"A": "1"}
    assert section.problems == (
        f"{path}0: is not read: of a unit at most 1000 files are read, and it has 11000",
    )
    assert not section.is_complete


@linux_only
def test_nothing_is_left_open_or_behind(tmp_path: Path) -> None:
    for number, make in enumerate(
        (a_directory, a_fifo, a_device, a_link_to_nothing, something_huge, a_binary)
    ):
        make(tmp_path / str(number))
    (tmp_path / "good").write_text(HEADER + "A=1\nwrong\n[broken\n")
    paths = [str(path) for path in tmp_path.iterdir()]
    read_section(paths)
    descriptors = os.listdir("/proc/self/fd")
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            read_section(paths)
        assert gc.collect() == 0
    finally:
        gc.enable()
    assert os.listdir("/proc/self/fd") == descriptors


# --- properties -------------------------------------------------------------------------------

PARTS = (
    *(
        b"[X-MemoryMonitor]",
        b"[Unit]",
        b"[",
        b"]",
        b"A",
        b"B",
        b"=",
        b"\n",
        b"\r",
        b"\\\n",
        b"\\",
        b" ",
        b"\t",
    ),
    *(b"#", b";", b'"', b"%", b"\xef\xbb\xbf", b"\xff", b"\xc3\xa9", b"\x01", b"\xf0\x9f\xbf\xbe"),
)
any_file = st.binary() | st.lists(st.sampled_from(PARTS) | st.binary(max_size=2), max_size=40).map(b"".join)


@given(st.lists(any_file, max_size=3))
def test_no_file_raises_and_every_problem_is_one_line(scratch: Path, contents: list[bytes]) -> None:
    section = read(scratch, *contents)
    assert all(problem.isprintable() for problem in section.problems)
    assert section.is_complete or section.problems
    assert section.is_present or not section.assignments
    for key, assignment in section.assignments.items():
        assert key == key.strip(" \t\n\r") != ""
        assert assignment.value == assignment.value.strip(" \t\n\r")


words = st.text(
    st.characters(exclude_categories=("Cs", "Cn", "Cc"), exclude_characters="=[]\\#;\ufeff"), max_size=8
)
keys = words.map(str.strip).filter(bool)
# What may stand between two words of a value, or around it, and what of that stays.
gaps = st.sampled_from([(" ", " "), ("\t", "\t"), ("\\\n", " "), ("\\\r\n", " "), ("\\\n# c\n;\n", " ")])
ends = st.sampled_from(
    ["\n", "\r\n", "\n\r", "\r", "\n\n", "\n# c\n", "\n ;c\\\n", " \n[Other]\nA=1\n[X-MemoryMonitor]\n"]
)


@st.composite
def assignment(draw: st.DrawFn) -> tuple[str, str, str]:
    """A key, its value, and how both can be written."""
    key, first = draw(keys), draw(words)
    written, value = first, first
    for _ in range(draw(st.integers(0, 3))):
        # With nothing between them, the end of the continued line and the next one could be one end.
        gap, word = draw(gaps), draw(words.filter(bool))
        written += gap[0] + word
        value += gap[1] + word
    around = draw(st.sampled_from(["=", " = ", "\t=", "\\\n="]))
    end = draw(ends)
    if written.endswith("\n") and end.startswith("\r"):
        end = "\n"  # Both together would be the end of one line.
    return key, value.strip(" \t"), f"{key}{around}{written}{end}"


@given(st.lists(st.lists(assignment(), max_size=5), max_size=3))
def test_what_is_written_is_what_is_read(scratch: Path, files: list[list[tuple[str, str, str]]]) -> None:
    section = read(scratch, *(HEADER + "".join(written for _, _, written in file) for file in files))
    assert section.problems == ()
    assert values(section) == {key: value for file in files for key, value, _ in file}
