"""The names of a process: comm, which has 15 bytes of it, and its command line, which has all."""

from __future__ import annotations

from typing import Final

from memmon_systemd.linux import proc, slow_read

_CMDLINE_BYTES: Final = 4096


def read(pid: int, at_most_bytes: int) -> bytes:
    """The arguments of a process, each ended by a NUL; TimeoutError while its map is locked, OSError."""
    text = slow_read.read(pid, f"/proc/{pid}/cmdline", at_most_bytes)
    if text:
        return text
    # A kernel thread, or its first thread has ended.
    return slow_read.read(pid, f"{proc.memory_directory(pid)}/cmdline", at_most_bytes)


def name_of(pid: int) -> str | None:
    """The name of a process, of at most 15 bytes; None where there is none."""
    try:
        return proc.read_stat(pid).comm.decode(errors="backslashreplace")
    except OSError:
        return None


def is_named(pid: int, comm: bytes, prefix: bytes) -> bool:
    """Whether the name of process `pid`, of which `comm` is the first 15 bytes, begins with `prefix`.

    Longer names are in no file; the base names of the first arguments are compared, where comm is
    their beginning: the program (`argv[0]`), or the script that an interpreter was started for.
    OSError where these can't be read.
    """
    if not comm.startswith(prefix[: proc.COMM_BYTES]):
        return False
    if len(prefix) <= proc.COMM_BYTES:
        return True
    try:
        arguments = read(pid, _CMDLINE_BYTES).split(b"\0")[:3]
    except ProcessLookupError:
        return False
    names = (argument.rpartition(b"/")[2] for argument in arguments)
    return any(name.startswith(prefix) and name.startswith(comm) for name in names)
