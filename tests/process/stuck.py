"""A process whose memory map can't be read, see stuck.c; needs root, /dev/fuse and a C compiler."""

import os
import subprocess
from pathlib import Path
from typing import Final, Self

from tests.process.leaker import START_DEADLINE_S, build
from tests.process.waiting import Output, eventually_or_ended

SOURCE: Final = Path(__file__).with_name("stuck.c")


class StuckProcess:
    """It runs from the first line of the block to the last; whoever waits for it goes on then."""

    def __init__(self, directory: Path, name: str) -> None:
        """Build it below the directory, with `name` as its comm.

        Raises:
            AssertionError: it could not get stuck; says why.
        """
        mount = directory / f"stuck-{name}"
        mount.mkdir()
        program = build(SOURCE, directory / "stuck")
        self._output = Output(directory / f"stuck-{name}.out")
        with self._output.path.open("wb") as file:
            self._process = subprocess.Popen([program, name, mount], stdout=file, stderr=file)

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            eventually_or_ended(
                lambda: self._output.first_line_with("^stuck$") and self._waits_for_its_map(),
                START_DEADLINE_S,
                "it waits for its own memory map",
                lambda: self._process.poll() is None,
                self._output,
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _waits_for_its_map(self) -> bool:
        """In state D (proc(5)): the lock is taken uninterruptibly, by all but a signal that kills."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "D"


def can_be_made() -> bool:
    return os.geteuid() == 0 and os.access("/dev/fuse", os.R_OK | os.W_OK)
