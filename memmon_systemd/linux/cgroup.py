"""cgroup v2: where a unit's files are, and what is in them.

Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst; systemd's cgroup naming in
https://systemd.io/CGROUP_DELEGATION.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from memmon_systemd.linux.kernel_files import read_bytes, readable_lines_of

_PID_DIGITS = 7
"""PID_MAX_LIMIT of the kernel is 4,194,304."""
_LISTED_ELSEWHERE = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP)
"""A cgroup that is gone, and a threaded one, whose processes are in the list of the one above it."""
GONE = (errno.ENOENT, errno.ENODEV)
"""What a cgroup, or a file of one, that was removed answers with; a file may also never have been there."""
UNIT_SUFFIXES = (".service", ".scope", ".slice", ".socket", ".mount", ".swap")
"""The types of units that have a cgroup (systemd.resource-control(5))."""
OTHER_SUFFIXES = (".automount", ".device", ".path", ".target", ".timer")
"""The types of units that have none: no process is theirs."""
ALL_SUFFIXES = UNIT_SUFFIXES + OTHER_SUFFIXES


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The mounted tree that systemd keeps its units in."""

    root: str
    """The mount point, for example /sys/fs/cgroup."""
    memory: bool
    """Whether it is cgroup v2 with the memory controller."""

    def directory(self, control_group: str) -> str:
        """The directory of a control group as systemd and /proc/PID/cgroup name it ("/a/b")."""
        return f"{self.root}/{control_group.strip('/')}".rstrip("/")


@dataclass(frozen=True, slots=True)
class Found:
    """A unit's cgroup as a scan saw it; a unit that restarts has the same path and a new inode."""

    path: str
    """Its directory."""
    inode: int

    def is_there(self) -> bool:
        """Whether it is still this cgroup that is at its path; OSError where that can't be said."""
        try:
            return os.stat(self.path).st_ino == self.inode
        except OSError as error:
            if error.errno in GONE:
                return False
            raise


def find_hierarchy(mountinfo: str = "/proc/self/mountinfo") -> Hierarchy | None:
    """The hierarchy of this machine, or None where there is neither cgroup v2 nor systemd's v1 tree.

    On a hybrid machine (v1 controllers) the tree of units is there too, without memory.current. One that
    something else is mounted over can't be seen, so it isn't there.
    """
    unified: str | None = None
    named: str | None = None
    for line in readable_lines_of(mountinfo):
        mount, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)  # The source between them may be empty.
        if kind == "cgroup2":
            unified = unified or _mount_point(mount)
        elif kind == "cgroup" and "name=systemd" in options.split(","):
            named = named or _mount_point(mount)
    controllers = readable_lines_of(f"{unified}/cgroup.controllers") if unified else []
    if unified is not None and any("memory" in line.split() for line in controllers):
        return Hierarchy(unified, memory=True)
    root = named or unified
    return None if root is None else Hierarchy(root, memory=False)


def control_group_of(pid: int | str) -> str | None:
    """The control group of a process ("self": this one) in systemd's tree ("/a.slice/b.service"), or None.

    On cgroup v2 and on the hybrid layout alike (cgroups(7): the line without controllers is v2's).
    """
    unified = None
    for line in readable_lines_of(f"/proc/{pid}/cgroup"):
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


def is_frozen(path: str) -> bool:
    """Whether a cgroup is frozen, by cgroup.events (cgroup-v2.rst); not where that can't be read."""
    try:
        return b"frozen 1\n" in read_bytes(f"{path}/cgroup.events")
    except OSError:
        return False


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


def units_below(
    top: str, before_listing: Callable[[str], object] | None = None
) -> Iterator[tuple[str, Found]]:
    """Every unit that has a cgroup now, by name, slices included; OSError where one can't be listed.

    Units come and go in `top` and the slices below it: `before_listing` is told of each of these directories.
    """
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        if before_listing is not None:
            before_listing(directory)
        for entry in _directories(directory):
            unit = unit_of(entry.name)
            if unit is not None:
                yield unit, Found(entry.path, entry.inode())
                if unit.endswith(".slice"):
                    waiting.append(entry.path)


def processes_below(directory: str) -> Iterator[int]:
    """The PIDs in a cgroup and in the cgroups below it, as this moment's cgroup.procs say.

    One may come twice (cgroup-v2.rst). None where the cgroup is gone. OSError where the list can't be read,
    or isn't one: a part of it says neither who the main process is nor how much all of them use.
    """
    # A user can nest a thousand cgroups: no recursion.
    waiting = [directory]
    while waiting:
        group = waiting.pop()
        yield from _processes_in(group)
        waiting += [entry.path for entry in _directories(group)]


def _processes_in(group: str) -> Iterator[int]:
    path = f"{group}/cgroup.procs"
    try:
        text = read_bytes(path)
    except OSError as error:
        if error.errno not in _LISTED_ELSEWHERE:
            raise OSError(error.errno, error.strerror, path) from None  # read(2) names no file
        text = b""
    *lines, rest = text.split(b"\n")
    if rest or not all(line.isdigit() and len(line) <= _PID_DIGITS for line in lines):
        raise OSError(errno.EBADMSG, "this is not a list of PIDs", path)
    return map(int, lines)


def _mount_point(mount: str) -> str | None:
    r"""The fifth field of a line of mountinfo, where a space is \040 (proc(5)); None: it can't be seen."""
    _, _, device, _, point, *_ = mount.split(" ")
    path = os.fsdecode(os.fsencode(point).decode("unicode_escape").encode("latin-1"))
    major, _, minor = device.partition(":")
    try:
        is_on_top = os.stat(path).st_dev == os.makedev(int(major), int(minor))
    except OSError:
        return None
    return path if is_on_top else None


def _directories(directory: str) -> list[os.DirEntry[str]]:
    """The directories in one; none where it is gone. OSError: an unreadable list isn't an empty one."""
    try:
        with os.scandir(directory) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in GONE:
            return []
        raise OSError(error.errno, error.strerror, directory) from None  # getdents(2) names no file
