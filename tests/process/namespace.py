"""A PID namespace: processes that see each other alone, whatever else the machine does meanwhile."""

import ctypes
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from tests.process.waiting import Output, eventually_or_ended

_CLONE_NEWPID: Final = 0x2000_0000  # <linux/sched.h>
_START_DEADLINE_S: Final = 10.0
_SEE_ITSELF: Final = 'mount -t proc proc /proc && exec "$@"'

_NO_CHILDREN: Final = ("crowd", "nobody", "0", "0", "0", "-1")


class PidNamespace:
    """Its own PIDs from 1 on, its own /proc; all in it ends with it. Takes root.

    PID 1 there is a leaker.c with `name`, which reaps whoever is orphaned.
    """

    def __init__(self, program: Path, directory: Path, name: str = "first") -> None:
        """A namespace; AssertionError with what was said where the kernel refuses one.

        Args:
            program: from build_leaker.
            directory: where the output of its PID 1 goes.
            name: how its PID 1 is called.
        """
        self._own = os.open("/proc/self/ns/pid", os.O_RDONLY)
        self._inner = -1
        init = directory / name
        init.symlink_to(program)  # comm is the name of the file that was executed
        output = Output(directory / f"{name}.out")
        _checked(_libc().unshare(_CLONE_NEWPID))
        try:
            with output.path.open("wb") as file:
                self._first = subprocess.Popen(
                    ["unshare", "--mount", "sh", "-c", _SEE_ITSELF, "sh", os.fspath(init), *_NO_CHILDREN],
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=file,
                )
        finally:
            self._return()
        eventually_or_ended(
            lambda: output.first_line_with("^ready$"),
            _START_DEADLINE_S,
            "a PID namespace",
            lambda: self._first.poll() is None,
            output,
        )
        self._inner = os.open(f"/proc/{self._first.pid}/ns/pid", os.O_RDONLY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._first.kill()
        self._first.wait()
        assert self._first.stdin is not None
        self._first.stdin.close()
        os.close(self._inner)
        os.close(self._own)

    def prefix(self, directory: Path) -> tuple[str, ...]:
        """What shows a program the namespace's own /proc; it execs, it doesn't fork."""
        return ("nsenter", f"--mount=/proc/{self._first.pid}/ns/mnt", f"--wd={directory}", "--")

    @contextmanager
    def births(self) -> Iterator[None]:
        """Whom this thread starts meanwhile is born inside. Threads can't be started meanwhile."""
        _checked(_libc().setns(self._inner, _CLONE_NEWPID))
        try:
            yield
        finally:
            self._return()

    def give_next(self, pid: int) -> None:
        """Let the next process that is born inside have this PID (ns_last_pid, proc(5))."""
        with self.births():
            subprocess.run(
                [*self.prefix(Path("/")), "sh", "-c", f"echo {pid - 1} >/proc/sys/kernel/ns_last_pid"],
                check=True,
            )

    def _return(self) -> None:
        _checked(_libc().setns(self._own, _CLONE_NEWPID))


def inner_pid(pid: int) -> int:
    """The PID that a process has in the namespace which it was born in."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^NSpid:.*\s(\d+)$", status, re.MULTILINE)
    assert found is not None, f"no NSpid for {pid}:\n{status}"
    return int(found[1])


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}: a PID namespace takes root and CAP_SYS_ADMIN")
