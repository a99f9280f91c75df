"""Whether the clocks of this process are those of the service manager and of other monitors."""

from __future__ import annotations

from typing import Final

from memmon_systemd.errors import StartError
from memmon_systemd.linux import proc

_NS_PER_S: Final = 1_000_000_000
_CLOCKS: Final = ("monotonic", "boottime")


def check_clocks() -> None:
    """StartError in another time namespace than that of process 1 (time_namespaces(7)).

    The monotonic clock and the boot time differ there. systemd's times of a unit, the start times by which
    monitors and memmonctl know each other's processes, and pauses would be taken for others. In a container
    process 1 is its own, with the clocks of all that is in it.
    """
    try:
        ours_ns, its_ns = _offsets_ns("self"), _offsets_ns("1")
    except (OSError, ValueError):
        return  # A kernel without time namespaces, or /proc doesn't show process 1 (hidepid=).
    differences = [
        f"{clock} is {_seconds(abs(our_ns - its_ns))} {'ahead' if our_ns > its_ns else 'behind'}"
        for clock, our_ns, its_ns in zip(_CLOCKS, ours_ns, its_ns, strict=True)
        if our_ns != its_ns
    ]
    if differences:
        raise StartError(
            f"the clocks are those of another time namespace than process 1's ({', '.join(differences)}):"
            " ages and pauses would be wrong; enter that of process 1 (nsenter --target 1 --time)"
        )


def _offsets_ns(pid: str) -> list[int]:
    """What the namespace of a process adds to each clock; OSError, ValueError where that isn't told.

    The file has a line for each: its name, seconds and nanoseconds.
    """
    lines = proc.read(f"/proc/{pid}/timens_offsets", 256).decode().splitlines()
    offsets = {name: int(s) * _NS_PER_S + int(ns) for name, s, ns in (line.split() for line in lines)}
    if not offsets.keys() >= set(_CLOCKS):
        raise ValueError(f"no {_CLOCKS} in {lines}")
    return [offsets[clock] for clock in _CLOCKS]


def _seconds(ns: int) -> str:
    return f"{ns / _NS_PER_S:.12g} s"
