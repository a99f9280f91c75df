"""A process whose memory map stays locked, so that whoever reads its arguments or its PSS waits."""

import os
import shutil
import stat
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Final, Self

from tests.process.namespace import PidNamespace
from tests.process.waiting import Output, eventually_or_ended

SOURCE: Final = Path(__file__).with_name("stuck.c")
DEADLINE_S: Final = 30.0


def build_stuck(directory: Path) -> Path:
    """Compile stuck.c into the directory; gives the program's path."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise RuntimeError("no C compiler: the tests with real processes need gcc and libc6-dev")
    program = directory / "stuck"
    flags = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")
    done = subprocess.run(
        [compiler, *flags, "-o", program, SOURCE], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{compiler} can't compile {SOURCE}:\n{done.stderr}")
    return program


class Stuck:
    """stuck.c, once its map is locked; ended with its `with`. AssertionError where no FUSE can be had."""

    def __init__(
        self,
        program: Path,
        directory: Path,
        name: str,
        mib: int = 0,
        uid: int = -1,
        namespace: PidNamespace | None = None,
    ) -> None:
        """`directory` is made; paths are relative, for another user can't go through those above it."""
        directory.mkdir()
        (directory / "mount").mkdir()
        for path in (directory, directory / "mount"):
            path.chmod(0o777)
        device = "/dev/fuse"
        if uid >= 0:
            # Where no udev runs, /dev/fuse is root's.
            device = "fuse"
            os.mknod(directory / device, stat.S_IFCHR, os.stat("/dev/fuse").st_rdev)
            (directory / device).chmod(0o666)
        self._output = Output(directory / "said")
        births = namespace.births() if namespace else nullcontext()
        with self._output.path.open("wb") as file, births:
            self._process = subprocess.Popen(
                [name, name, str(mib), "mount", device, str(uid)],
                executable=program,
                cwd=directory,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
            )
        self._wait_for("stuck")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            self._process.stdin.close()
        self._process.wait(DEADLINE_S)

    @property
    def pid(self) -> int:
        return self._process.pid

    def free(self) -> None:
        """Let its mmap end, and with it the lock."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        self._wait_for("free")

    def _wait_for(self, word: str) -> None:
        eventually_or_ended(
            lambda: self._output.first_line_with(f"^{word}$"),
            DEADLINE_S,
            word,
            lambda: self._process.poll() is None,
            self._output,
        )
