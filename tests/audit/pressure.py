"""Takes a process's memory away from it as far as the kernel allows: what is locked it doesn't.

    python3 pressure.py copies PID DIRECTORY    make copies of the files that a process has mapped, and
                                                write what to put before a command so that it maps those
    python3 pressure.py take PID                evict what can be, and write how many KiB that was

The kernel evicts no page of a file that another process has mapped too (MADV_PAGEOUT, madvise(2)), and
everybody has libc. So a monitor that is to lose something runs on copies, bound over the real files in a
mount namespace that it alone is in. The copies must be on a disk: a page of tmpfs can only go to swap.
"""

import ctypes
import errno
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

_PROCESS_MADVISE: Final = 440  # the same number on every architecture
_MADV_PAGEOUT: Final = 21
_KERNELS_OWN: Final = re.compile(r"\[v\w+\]$")
"""[vdso] and its like are no memory of the process."""


class _Range(ctypes.Structure):
    """A struct iovec."""

    _fields_ = (("start", ctypes.c_size_t), ("size_bytes", ctypes.c_size_t))


def run_on_copies(pid: int, directory: Path) -> tuple[str, ...]:
    """What to put before a command that maps the files of `pid`: it gets copies. It execs; takes root."""
    directory.mkdir()
    binds = ["set -e"]
    for number, file in enumerate(_mapped_files(pid)):
        copy = directory / f"{number}-{file.name}"
        shutil.copy(file, copy)
        with copy.open("rb") as written:
            os.fsync(written.fileno())  # what isn't on the disk yet can't be evicted
        binds.append(f"mount --bind {shlex.quote(os.fspath(copy))} {shlex.quote(os.fspath(file))}")
    script = directory / "run-on-copies"
    script.write_text("\n".join((*binds, 'exec "$@"\n')))
    return ("unshare", "--mount", "sh", os.fspath(script))


def take_away(pid: int) -> int:
    """Have the kernel evict what it can of a process; how many KiB of its RSS went.

    It refuses what is locked (EINVAL), and without swap anonymous memory stays.
    """
    before_kib = rss_kib(pid)
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    try:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if _KERNELS_OWN.search(line):
                continue
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            one = ctypes.byref(_Range(start, end - start))
            result = libc.syscall(_PROCESS_MADVISE, pidfd, one, ctypes.c_size_t(1), _MADV_PAGEOUT, 0)
            if result < 0 and ctypes.get_errno() != errno.EINVAL:
                raise OSError(ctypes.get_errno(), f"{line}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(pidfd)
    return before_kib - rss_kib(pid)


def rss_kib(pid: int) -> int:
    """RSS by /proc/PID/smaps_rollup, which is exact (proc(5))."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Rss:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None, f"no Rss for {pid}:\n{text}"
    return int(found[1])


def _mapped_files(pid: int) -> list[Path]:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [Path(path) for path in sorted({line[line.index("/") :] for line in lines if "/" in line})]


def _main() -> None:
    what, pid = sys.argv[1], int(sys.argv[2])
    if what == "copies":
        print(*run_on_copies(pid, Path(sys.argv[3])))
    elif what == "take":
        print(take_away(pid))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    _main()
