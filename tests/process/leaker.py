"""Children for tests: one that leaks and says its signals, and crowds that share a name.

The program is leaker.c. It is C because 5,200 of them must start in about a second, and because
an interpreter's own memory would hide a leak of one MiB.
"""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Final, Self

from tests.process.namespace import PidNamespace
from tests.process.waiting import Output, eventually, eventually_or_ended

SOURCE: Final = Path(__file__).with_name("leaker.c")
START_DEADLINE_S: Final = 30.0
ANSWER_DEADLINE_S: Final = 10.0
END_DEADLINE_S: Final = 60.0


def build_leaker(directory: Path) -> Path:
    """Compile leaker.c into the directory; gives the program's path.

    Raises:
        RuntimeError: no C compiler, or one that refuses the source; says which.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise RuntimeError("no C compiler: the tests with real processes need gcc and libc6-dev")
    program = directory / "leaker"
    done = subprocess.run(
        [compiler, "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, SOURCE],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{compiler} can't compile {SOURCE}:\n{done.stderr}")
    return program


YOUNG_S: Final = 1.1
"""A little more than the monitor waits for a forked child to execute another program."""


class _Child:
    """A running leaker.c: its lines, its commands, its end."""

    def __init__(
        self, program: Path, directory: Path, arguments: list[str], namespace: PidNamespace | None
    ) -> None:
        with tempfile.NamedTemporaryFile(
            mode="ab", dir=directory, prefix="leaker-", suffix=".out", delete=False
        ) as file:
            self.output = Output(Path(file.name))
            # argv[0] carries the whole name, as with any program; comm is cut to 15 bytes.
            with namespace.births() if namespace else nullcontext():
                self.process = subprocess.Popen(
                    [arguments[1], *arguments],
                    executable=program,
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=file,
                    text=True,
                    bufsize=1,
                )

    @property
    def pid(self) -> int:
        """Of the leaker; of a crowd's parent."""
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def lines(self) -> list[str]:
        """All that it has said so far; "ready" is the first."""
        return self.output.lines

    def wait_for_line(self, pattern: str, deadline_s: float) -> str:
        """The first line, ever, in which the regular expression is found."""
        return eventually_or_ended(
            lambda: self.output.first_line_with(pattern),
            deadline_s,
            f"a line {pattern!r}",
            lambda: self.running,
            self.output,
        )

    def kill(self) -> None:
        """End it at once and reap it; does nothing where it has ended already."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()

    def _wait_until_ready(self) -> None:
        """Its first word; what has no way to come is killed before the error is raised."""
        try:
            self.wait_for_line("^ready$", START_DEADLINE_S)
        except BaseException:
            self.kill()
            raise

    def _tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")

    def _tell_and_wait(self, command: str, answer: str) -> None:
        before = self.lines.count(answer)
        self._tell(command)
        self._wait_until(lambda: self.lines.count(answer) > before, f"{command!r} was done")

    def _wait_until(self, condition: Callable[[], bool], what: str) -> None:
        eventually_or_ended(condition, ANSWER_DEADLINE_S, what, lambda: self.running, self.output)


class Leaker(_Child):
    """One process with a name and memory of its own, which says each signal it gets."""

    @classmethod
    def start(
        cls,
        program: Path,
        directory: Path,
        name: str,
        *,
        mib: int = 0,
        grow_kib_s: int = 0,
        ignore: bool = False,
        uid: int | None = None,
        namespace: PidNamespace | None = None,
    ) -> Self:
        """Returns once the memory is touched and the signals are watched.

        Args:
            program: from build_leaker.
            directory: where its output goes.
            name: its argv[0]; the first 15 bytes are its process name.
            mib: memory touched at the start.
            grow_kib_s: growth, evenly, from then on.
            ignore: goes on after SIGTERM (it says so all the same).
            uid: the user to become; takes root.
            namespace: where it runs; its PID here is another one than there.
        """
        user = -1 if uid is None else uid
        arguments = ["alone", name, str(mib), str(grow_kib_s), str(int(ignore)), str(user)]
        child = cls(program, directory, arguments, namespace)
        child._wait_until_ready()
        return child

    def wait_for_signals(self, name: str, count: int, deadline_s: float) -> None:
        """Wait until it has got the signal ("SIGTERM") this often since its start, or more."""
        eventually_or_ended(
            lambda: self.lines.count(name) >= count,
            deadline_s,
            f"{count} times {name}",
            lambda: self.running,
            self.output,
        )

    def rename(self, name: str) -> None:
        """Change the process name (comm), not argv; done on return."""
        self._tell_and_wait(f"rename {name}", "renamed")

    def grow(self, mib: int) -> None:
        """Touch this much more memory; done on return."""
        self._tell_and_wait(f"grow {mib}", "grown")

    def shrink(self, mib: int) -> None:
        """Give this much memory back, which grew last; done on return."""
        self._tell_and_wait(f"shrink {mib}", "shrunk")

    def stop(self) -> None:
        """Ask it by SIGTERM and expect it to end with status 0; use kill() on one that ignores."""
        self.process.terminate()
        status = self.process.wait(ANSWER_DEADLINE_S)
        assert status == 0, f"the leaker ended with {status}{self.output}"


class Crowd(_Child):
    """Many processes with one name: the children of a parent which has another name."""

    @classmethod
    def start(
        cls,
        program: Path,
        directory: Path,
        name: str,
        count: int,
        *,
        mib: int = 0,
        ignore: bool = False,
        uid: int | None = None,
        namespace: PidNamespace | None = None,
    ) -> Self:
        """Returns once all have their name, user and memory (`mib` each); they end by SIGTERM.

        Their PIDs are those of the namespace.
        """
        user = -1 if uid is None else uid
        arguments = ["crowd", name, str(mib), str(count), str(int(ignore)), str(user)]
        child = cls(program, directory, arguments, namespace)
        child._wait_until_ready()
        return child

    def wait_until_grown(self) -> None:
        """Wait until none may be about to execute another program: a new child isn't asked."""
        born_s = time.monotonic()
        eventually(lambda: time.monotonic() - born_s > YOUNG_S, 2 * YOUNG_S, "the last one is old enough")

    @property
    def pids(self) -> list[int]:
        """All that were ever started, in that order."""
        return [int(line.split()[1]) for line in self.lines if line.startswith("born ")]

    @property
    def ended(self) -> dict[int, str]:
        """PID → the name of the signal that ended it ("SIGTERM"), for each that was reaped."""
        ends = (re.fullmatch(r"(\d+) (\S+)", line) for line in self.lines)
        return {int(end[1]): end[2] for end in ends if end is not None}

    def kill(self) -> None:
        """End and reap every one of them, then their parent."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(END_DEADLINE_S)
        finally:
            super().kill()

    def add(self, count: int) -> None:
        """Start more; done on return."""
        self._tell_and_wait(f"add {count}", "added")

    def end(self, count: int) -> None:
        """End the oldest by SIGKILL; all are reaped on return."""
        expected = len(self.ended) + count
        self._tell(f"kill {count}")
        self._wait_until(lambda: len(self.ended) >= expected, f"{count} children ended")
