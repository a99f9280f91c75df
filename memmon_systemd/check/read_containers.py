"""What `--check` reads of containers: where the processes are of one that a unit seems to run.

Podman starts conmon(8) for each container, which stays the parent of the container's first process. A client
(`podman run`, `docker run`) that waits for a container isn't related to it: Docker's containers are children
of containerd-shim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from memmon_systemd.check.facts import CONMON, Payload
from memmon_systemd.linux import cgroup, command_line, proc

_CLIENTS: Final = ("podman", "docker", "docker-compose")
_WAIT: Final = {b"run", b"start", b"attach", b"up"}
"""The commands that wait for a container; `podman system service` is no client."""
_LONGEST_COMMAND_LINE_BYTES: Final = 65536


def payload_elsewhere(control_group: str, pids: Sequence[int], main_pid: int) -> Payload | None:
    """The container that a unit only seems to run; None if it runs it, or there is none, or can't be told."""
    names = {pid: name for pid in pids if (name := command_line.name_of(pid)) is not None}
    conmons = {pid for pid, name in names.items() if name == CONMON}
    helper = names.get(main_pid)
    if helper in _CLIENTS and not conmons:
        return Payload(helper, None) if _waits(main_pid) else None
    if helper in (CONMON, *_CLIENTS) or conmons == set(names) != set():
        groups = [group for pid in _children(conmons) if (group := cgroup.control_group_of(pid))]
        if groups and not any(cgroup.contains(control_group, group) for group in groups):
            return Payload(helper or CONMON, innermost_unit(groups[0]))
    return None


def _waits(pid: int) -> bool:
    """Whether a client was told to wait for a container; not where its command line can't be read."""
    try:
        words = command_line.read(pid, _LONGEST_COMMAND_LINE_BYTES).split(b"\0")
    except OSError:
        return False
    return not _WAIT.isdisjoint(words)


def _children(parents: set[int]) -> Iterator[int]:
    """The processes whose parent is one of these."""
    for pid in proc.pids():
        try:
            if proc.read_stat(pid).parent in parents:
                yield pid
        except OSError:
            continue  # It has ended.


def innermost_unit(control_group: str) -> str | None:
    """The unit of a control group, of whichever service manager; runtimes make cgroups below it."""
    units = map(cgroup.unit_of, Path(control_group).parts)
    return next((unit for unit in reversed(list(units)) if unit is not None), None)
