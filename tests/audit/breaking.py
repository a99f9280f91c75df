"""Reads that give something else than what the file holds, or an error."""

import errno
import io
import os
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, Final

from memmon_systemd.linux.kernel_files import read_bytes

# Any: what stands in for a module has what that has.

SAY_GONE: Final = ("ENODEV", "ESRCH", "ENOENT")
ERRORS: Final = ("EIO", "EACCES", "EPERM", "EINTR", "ENOMEM", "EAGAIN", "EBADF")
"""The others, which say that a reading failed."""
HUGE_BYTES: Final = 20_000


class Breaker:
    """Breaks each read of the files whose paths end in `name`, as chance has it, while it is told to."""

    def __init__(self, name: str, seed: int) -> None:
        """`name` is as in "memory.stat" or "stat"."""
        self.name = name
        self.breaks = False
        self.done: Counter[str] = Counter()
        """How often it gave what: "empty", "EIO"."""
        self.last: set[str] = set()
        """What it gave since a test emptied this."""
        self._chance = random.Random(seed)

    def reading(self, path: str, text: bytes) -> bytes:
        """What a read of this text gives; OSError."""
        if not self.breaks or path.rpartition("/")[2] != self.name:
            return text
        ways: dict[str, Callable[[bytes], bytes]] = {
            "empty": lambda _: b"",
            "truncated": lambda text: text[: self._chance.randrange(max(len(text), 1))],
            "huge": lambda text: (text or b"9") * (HUGE_BYTES // max(len(text), 1)),
            "digits": lambda _: b"9" * self._chance.choice((30, 5000)) + b"\n",
            "negative": lambda text: b"-" + text,
            "binary": lambda _: self._chance.randbytes(self._chance.randrange(1, 200)),
            "one byte changed": self._change_one,
            "blank": lambda _: b" \n" * self._chance.randrange(1, 20),
            "twice": lambda text: text + text,
        }
        way = self._chance.choice((*ways, "an error"))
        if way == "an error":
            way = self._chance.choice(SAY_GONE + ERRORS)
            ways[way] = partial(fail, way)
        self.done[way] += 1
        self.last.add(way)
        return ways[way](text)

    def _change_one(self, text: bytes) -> bytes:
        if not text:
            return b"\0"
        at = self._chance.randrange(len(text))
        return text[:at] + bytes((self._chance.randrange(256),)) + text[at + 1 :]


def fail(name: str, _: bytes) -> bytes:
    """Raises the OSError of this name."""
    number = getattr(errno, name)
    raise OSError(number, os.strerror(number))


class BreakableFile(io.FileIO):
    """A file of a cgroup that is held open."""

    breaker: Breaker

    def __init__(self, path: str, breaker: Breaker) -> None:
        super().__init__(path)
        self.path = path
        self.breaker = breaker

    def read(self, size: int | None = -1, /) -> bytes:
        text = self.breaker.reading(self.path, super().read(size) or b"")
        return text if size is None or size < 0 else text[:size]

    def readinto(self, buffer: Any, /) -> int:
        room = memoryview(buffer).cast("B")
        text = self.read(len(room))
        room[: len(text)] = text
        return len(text)


class BreakableOs:
    """The module `os`, whose read and pread give what the breaker makes of it."""

    def __init__(self, module: ModuleType, breaker: Breaker) -> None:
        self._os = module
        self._breaker = breaker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._os, name)

    def read(self, descriptor: int, size: int) -> bytes:
        return self._broken(descriptor, os.read(descriptor, size))[:size]

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        return self._broken(descriptor, os.pread(descriptor, size, offset))[:size]

    def _broken(self, descriptor: int, text: bytes) -> bytes:
        return self._breaker.reading(os.readlink(f"/proc/self/fd/{descriptor}"), text)


def breakable_whole(breaker: Breaker) -> Callable[[str], bytes]:
    """In place of the way to read a whole file of the kernel's."""
    return lambda path: breaker.reading(path, read_bytes(path))
