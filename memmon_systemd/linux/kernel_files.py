"""Files that the kernel makes as they are read: those of /proc and of cgroups.

By open() and not by pathlib: that interns the parts of each path, so CPython's table of interned strings
would grow while the monitor runs, and be made anew now and then: 0.4 MB that would have to be kept for it.
"""

from __future__ import annotations


def read_bytes(path: str) -> bytes:
    """A whole file; OSError."""
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def lines_of(path: str) -> list[str]:
    """The lines as the kernel means them: splitlines() would also break at U+0085, which names may hold.

    What isn't UTF-8 is kept (surrogateescape). OSError.
    """
    return read_bytes(path).decode(errors="surrogateescape").split("\n")[:-1]


def readable_lines_of(path: str) -> list[str]:
    """The same; none where it can't be read."""
    try:
        return lines_of(path)
    except OSError:
        return []
