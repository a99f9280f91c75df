"""Count from outside what a running process asks of its allocator and of the kernel's memory.

Three ways, since no one of them sees everything:

- CountFile: calls of malloc and its kin, and of read, poll and send, by a preloaded library
  (count_calls.c) that counts into a shared page. With PYTHONMALLOC=malloc each Python object is
  a call too. Calls that the C library makes within itself to mmap, munmap, mremap, madvise or
  brk can't be seen by a preloaded library.
- Trace: those system calls, by strace attached to the running process.
- faults(): page faults, by the kernel's own accounting.
"""

import mmap
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Self

from tests.process.waiting import Output, eventually, eventually_or_ended

SOURCE: Final = Path(__file__).with_name("count_calls.c")
# Not on a disk: after a page is written back, the next count in it is a page fault.
IN_MEMORY: Final = Path("/dev/shm")
MEMORY_CALLS: Final = ("mmap", "munmap", "mremap", "brk", "madvise", "clone", "clone3")
_PAGE_BYTES: Final = mmap.PAGESIZE
_PRESENT: Final = 1 << 63  # in an entry of /proc/PID/pagemap
STRACE_DEADLINE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Calls:
    """Numbers of calls since the start, or, as a difference, between two moments.

    The fields are the slots of count_calls.c, in its order.
    """

    malloc: int
    calloc: int
    realloc: int
    free: int
    posix_memalign: int
    aligned_alloc: int
    memalign: int
    read: int
    write: int
    poll: int
    send: int
    sendmsg: int

    @property
    def allocator_calls(self) -> int:
        """All that ask for memory; not free, which gives it back."""
        aligned = self.posix_memalign + self.aligned_alloc + self.memalign
        return self.malloc + self.calloc + self.realloc + aligned

    @property
    def living_blocks(self) -> int:
        """Taken and not given back."""
        aligned = self.posix_memalign + self.aligned_alloc + self.memalign
        return self.malloc + self.calloc + aligned - self.free

    @property
    def looks(self) -> int:
        """Rounds of the monitor's loop: each waits in one poll."""
        return self.poll

    def __sub__(self, earlier: Self) -> "Calls":
        return Calls(*(getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self)))


LAYOUT: Final = struct.Struct(f"={len(fields(Calls))}Q")


def build_library(directory: Path) -> Path:
    """Compile count_calls.c into the directory; gives the library's path.

    Raises:
        RuntimeError: no C compiler, or one that refuses the source; says which.
    """
    compiler = shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("no gcc: the audit needs gcc and libc6-dev")
    library = directory / "count_calls.so"
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    done = subprocess.run(
        [compiler, *flags, "-o", library, SOURCE, "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{compiler} can't compile {SOURCE}:\n{done.stderr}")
    return library


class CountFile:
    """The page that one process counts into. Start it with `environment` to be counted."""

    def __init__(self, library: Path) -> None:
        descriptor, path = tempfile.mkstemp(prefix="count-calls-", dir=IN_MEMORY)
        try:
            self.path = Path(path)
            os.ftruncate(descriptor, mmap.PAGESIZE)
            self._page = mmap.mmap(descriptor, mmap.PAGESIZE, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        self.environment: Final = {
            "LD_PRELOAD": os.fspath(library),
            "COUNT_CALLS_FILE": path,
            "PYTHONMALLOC": "malloc",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._page.close()
        self.path.unlink()

    def read(self) -> Calls:
        """The numbers of this moment."""
        return Calls(*LAYOUT.unpack_from(self._page))


@dataclass(frozen=True, slots=True)
class Faults:
    """Page faults of all threads of a process: minor ones need no disk, major ones do."""

    minor: int
    major: int

    def __sub__(self, earlier: Self) -> "Faults":
        return Faults(self.minor - earlier.minor, self.major - earlier.major)


def held_by(pid: int | str) -> tuple[int, int]:
    """How many descriptors a process has, and how many inotify watches (proc(5))."""
    infos = []
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        # One was there for this listing only.
        with suppress(FileNotFoundError):
            infos.append(info.read_text())
    return len(infos), sum(text.count("inotify wd:") for text in infos)


def faults(pid: int) -> Faults:
    """Since the process began: minflt and majflt of /proc/PID/stat, see proc(5)."""
    after_the_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return Faults(minor=int(after_the_name[7]), major=int(after_the_name[9]))


class Trace:
    """strace, attached to a running process, all its threads and what they start.

    Within the `with` block `calls` may be a moment behind; after it, it is complete.

    Raises:
        RuntimeError: no strace.
        AssertionError: strace could not attach, with what it said; or it ended before the block
            did, since the process had ended: then the counts would be too low.
    """

    def __init__(self, pid: int, names: Sequence[str] = MEMORY_CALLS) -> None:
        strace = shutil.which("strace")
        if strace is None:
            raise RuntimeError("no strace: the audit needs the package strace")
        self._pid = pid
        self._directory = tempfile.TemporaryDirectory(prefix="trace-")
        self._said = Output(Path(self._directory.name) / "said")
        self._trace = Path(self._directory.name) / "trace"
        self._final: Counter[str] | None = None
        with self._said.path.open("wb") as file:
            self._process = subprocess.Popen(
                [strace, "-f", "-e", f"trace={','.join(names)}", "-o", self._trace, "-p", str(pid)],
                stdout=file,
                stderr=file,
            )

    @property
    def calls(self) -> Counter[str]:
        """Name of a system call → how often it was made."""
        if self._final is not None:
            return self._final
        # With -f and -o each line is "PID call(…"; "PID <... call resumed>" is one seen before.
        return Counter(re.findall(r"^\d+ +(\w+)\(", self._trace.read_text(), re.MULTILINE))

    def __enter__(self) -> Self:
        try:
            eventually_or_ended(
                lambda: self._said.first_line_with(f"Process {self._pid} attached"),
                STRACE_DEADLINE_S,
                f"strace attached to {self._pid}",
                self._attached,
                self._said,
            )
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        complete = self._attached() and _is_alive(self._pid)
        said = str(self._said)
        self._end()
        if error is None:
            assert complete, f"process {self._pid} ended while it was traced{said}"

    def _attached(self) -> bool:
        return self._process.poll() is None

    def _end(self) -> None:
        self._process.terminate()  # it detaches first, and the process goes on
        self._process.wait(STRACE_DEADLINE_S)
        if self._trace.exists():
            self._final = self.calls
        self._directory.cleanup()


def _is_alive(pid: int) -> bool:
    try:
        return not re.search(r"^State:\t[ZX]", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):
        return False


def syscalls(pid: int, until: Callable[[], bool], deadline_s: float) -> Counter[str]:
    """The memory calls that a running process makes until the condition holds.

    Raises:
        AssertionError: the deadline passed first, or as Trace.
    """
    with Trace(pid) as trace:
        eventually(until, deadline_s, f"what process {pid} was traced for")
    return trace.calls


class Asked:
    """What a process asks of the kernel's memory within a `with` block: `calls`, `faults`, `came`.

    All are empty until the block ends.
    """

    def __init__(self, pid: int, *, traced: bool = True) -> None:
        """Without `traced` no call is seen: strace stops the process at each."""
        self._pid = pid
        self._trace = Trace(pid) if traced else None
        self.calls: Counter[str] = Counter()
        self.faults = Faults(0, 0)
        self.came: list[str] = []
        """Where the pages are that it had not before: "FILE RIGHTS OFFSET, N pages"."""

    @property
    def is_nothing(self) -> bool:
        return not self.calls and self.faults == Faults(0, 0)

    def __str__(self) -> str:
        """As in "2 mmap, 31 minor and 2 major faults"."""
        calls = "".join(f"{number} {name}, " for name, number in sorted(self.calls.items()))
        return f"{calls or '0 calls, '}{self.faults.minor} minor and {self.faults.major} major faults"

    @property
    def detail(self) -> str:
        """The same with the places, for whoever looks for the reason."""
        return "\n  ".join((str(self), *self.came))

    def __enter__(self) -> Self:
        if self._trace is not None:
            self._trace.__enter__()
        self._pages = resident_pages(self._pid)
        self._before = faults(self._pid)
        return self

    def __exit__(self, error: type[BaseException] | None, *rest: object) -> None:
        if error is None:
            self.faults = faults(self._pid) - self._before
            self.came = _in_ranges(resident_pages(self._pid) - self._pages)
        if self._trace is not None:
            self._trace.__exit__(error, *rest)
            self.calls = self._trace.calls


@dataclass(frozen=True, order=True, slots=True)
class Page:
    """A page by its mapping: for a file the offset in it, else the address."""

    mapping: str
    offset: int


def resident_pages(pid: int) -> set[Page]:
    """The pages that a process can touch without a fault (pagemap of the kernel's documentation)."""
    pages: set[Page] = set()
    with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pagemap:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            addresses, rights, offset, _, inode, *name = line.split(maxsplit=5)
            start, end = (int(part, 16) for part in addresses.split("-"))
            first = int(offset, 16) if inode != "0" else start
            pagemap.seek(start // _PAGE_BYTES * 8)
            entries = memoryview(pagemap.read((end - start) // _PAGE_BYTES * 8)).cast("Q")
            mapping = f"{name[0] if name else 'anonymous'} {rights}"
            pages.update(
                Page(mapping, first + number * _PAGE_BYTES)
                for number, entry in enumerate(entries)
                if entry & _PRESENT
            )
    return pages


def _in_ranges(pages: set[Page]) -> list[str]:
    ranges: list[tuple[Page, int]] = []
    for page in sorted(pages):
        if ranges:
            first, count = ranges[-1]
            if page == Page(first.mapping, first.offset + count * _PAGE_BYTES):
                ranges[-1] = (first, count + 1)
                continue
        ranges.append((page, 1))
    return [f"{first.mapping} {first.offset:#x}, {count} pages" for first, count in ranges]
