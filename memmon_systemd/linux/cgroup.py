"""cgroup v2: where a unit's files are, what is in them, and the limits above it.

Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst; systemd's cgroup naming in
https://systemd.io/CGROUP_DELEGATION.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PID_DIGITS = 7
"""PID_MAX_LIMIT of the kernel is 4,194,304."""
_LISTED_ELSEWHERE = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP)
"""A cgroup that is gone, and a threaded one, whose processes are in the list of the one above it."""
UNIT_SUFFIXES = (".service", ".scope", ".slice", ".socket", ".mount", ".swap")
"""The types of units that have a cgroup (systemd.resource-control(5))."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The mounted tree that systemd keeps its units in."""

    root: Path
    """The mount point, for example /sys/fs/cgroup."""
    memory: bool
    """Whether it is cgroup v2 with the memory controller."""

    def directory(self, control_group: str) -> Path:
        """The directory of a control group as systemd and /proc/PID/cgroup name it ("/a/b")."""
        return self.root / control_group.strip("/")


@dataclass(frozen=True, slots=True)
class Found:
    """A unit's cgroup as a scan saw it; a unit that restarts has the same path and a new inode."""

    path: str
    """Its directory. A Path would be 300 bytes more, which are kept for each unit."""
    inode: int

    @property
    def directory(self) -> Path:
        """The directory."""
        return Path(self.path)


def find_hierarchy(mountinfo: str = "/proc/self/mountinfo") -> Hierarchy | None:
    """The hierarchy of this machine, or None where there is neither cgroup v2 nor systemd's v1 tree.

    On a hybrid machine (v1 controllers) the tree of units is there too, without memory.current.
    """
    unified: Path | None = None
    named: Path | None = None
    for line in _lines(Path(mountinfo)):
        mount, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)  # The source between them may be empty.
        if kind == "cgroup2":
            unified = unified or _mount_point(mount)
        elif kind == "cgroup" and "name=systemd" in options.split(","):
            named = named or _mount_point(mount)
    if unified is not None:
        controllers = _read(unified / "cgroup.controllers") or ""
        if "memory" in controllers.split():
            return Hierarchy(unified, memory=True)
    root = named or unified
    return None if root is None else Hierarchy(root, memory=False)


def control_group_of(pid: int | str) -> str | None:
    """The control group of a process ("self": this one) in systemd's tree ("/a.slice/b.service"), or None.

    On cgroup v2 and on the hybrid layout alike (cgroups(7): the line without controllers is v2's).
    """
    unified = None
    for line in _lines(Path(f"/proc/{pid}/cgroup")):
        _, controllers, group = line.split(":", 2)
        if controllers == "name=systemd":
            return group
        if not controllers:
            unified = group
    return unified


def contains(outer: str, inner: str) -> bool:
    """Whether control group `inner` is `outer` or lies below it."""
    outer = outer.rstrip("/")
    return inner == outer or inner.startswith(outer + "/")


def unit_of(directory_name: str) -> str | None:
    """The unit whose cgroup has this name, or None where it is no unit's.

    systemd puts an underscore before a name that would clash with a controller's file.
    """
    name = directory_name.removeprefix("_")
    return name if name.endswith(UNIT_SUFFIXES) else None


def units_of(control_group: str, top_group: str) -> tuple[str, ...]:
    """The units of a manager that contain a control group: its slices from the outside in, then the unit.

    `top_group` is what the manager's units are in. Below the first that is no slice, nothing is the
    manager's: the units in user@1000.service are those of the user's manager.
    """
    if not contains(top_group, control_group):
        return ()
    found: list[str] = []
    for part in control_group[len(top_group.rstrip("/")) :].strip("/").split("/"):
        unit = unit_of(part)
        if unit is None:
            break
        found.append(unit)
        if not unit.endswith(".slice"):
            break
    return tuple(found)


def slices(top: Path) -> Iterator[Path]:
    """`top` and every slice below it: the directories in which units come and go."""
    yield top
    for entry in _directories(top):
        if entry.name.endswith(".slice"):
            yield from slices(Path(entry.path))


def units_below(top: Path) -> Iterator[tuple[str, Found]]:
    """Every unit that has a cgroup now, by name, slices included."""
    for directory in slices(top):
        for entry in _directories(directory):
            unit = unit_of(entry.name)
            if unit is not None:
                yield unit, Found(entry.path, entry.inode())


def processes_below(directory: Path) -> Iterator[int]:
    """The PIDs in a cgroup and in the cgroups below it, as this moment's cgroup.procs say.

    One may come twice (cgroup-v2.rst). None where the cgroup is gone. OSError where the list can't be read,
    or isn't one: a part of it says neither who the main process is nor how much all of them use.
    """
    path = directory / "cgroup.procs"
    try:
        text = _read_bytes(path)
    except OSError as error:
        if error.errno not in _LISTED_ELSEWHERE:
            raise OSError(error.errno, error.strerror, str(path)) from None  # read(2) names no file
        text = b""
    *lines, rest = text.split(b"\n")
    if rest or not all(line.isdigit() and len(line) <= _PID_DIGITS for line in lines):
        raise OSError(errno.EBADMSG, "this is no list of PIDs", str(path))
    yield from map(int, lines)
    for entry in _directories(directory):
        yield from processes_below(Path(entry.path))


def physical_bytes() -> int:
    """All the memory of the machine; by sysconf(3), for /proc/meminfo can be hidden (ProcSubset=pid)."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of a cgroup, and whose it is."""

    size_bytes: int
    directory: Path


def tightest_limit(directory: Path, root: Path, file: str = "memory.max") -> Limit | None:
    """The lowest number in the files of this name from a cgroup up to the root; None where there is none."""
    lowest: Limit | None = None
    while True:
        text = (_read(directory / file) or "max").strip()
        if text.isdecimal() and (lowest is None or int(text) < lowest.size_bytes):
            lowest = Limit(int(text), directory)
        if directory == root or directory == directory.parent:
            return lowest
        directory = directory.parent


def tightest_limit_bytes(directory: Path, root: Path) -> int:
    """The lowest memory.max from a cgroup up to the root, at most physical memory, in bytes."""
    limit = tightest_limit(directory, root)
    return physical_bytes() if limit is None else min(limit.size_bytes, physical_bytes())


def limit_above(pid: int, hierarchy: Hierarchy | None) -> int:
    """The tightest limit above a process, else physical memory, in bytes."""
    group = control_group_of(pid)
    if hierarchy is None or group is None:
        return physical_bytes()
    return tightest_limit_bytes(hierarchy.directory(group), hierarchy.root)


def _mount_point(mount: str) -> Path:
    r"""The fifth field of a line of mountinfo, where a space is \040 (proc(5))."""
    return Path(os.fsdecode(os.fsencode(mount.split(" ")[4]).decode("unicode_escape").encode("latin-1")))


def _lines(path: Path) -> list[str]:
    """The lines as the kernel means them: splitlines() would also break at U+0085, which names may hold."""
    return (_read(path) or "").split("\n")[:-1]


def _read(path: Path) -> str | None:
    try:
        return _read_bytes(path).decode(errors="surrogateescape")
    except OSError:
        return None


def _read_bytes(path: Path) -> bytes:
    return path.read_bytes()


def _directories(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
