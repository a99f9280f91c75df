"""What a NAME that matches nothing may have been meant to be."""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Final

from memmon_systemd.linux import cgroup

if TYPE_CHECKING:
    from memmon_systemd.systemd.manager import Manager

_MOST: Final = 3
_CUTOFF: Final = 0.6
_SHORTEST_BEGINNING: Final = 3
"""Too many names start with fewer letters."""


def known_units(manager: Manager) -> set[str]:
    """Every unit in memory, and those that systemd would find if asked to, but no templates; BusError.

    By the directories that it searches: ListUnitFiles took more than a second on a slow machine.
    """
    names = {name for name, load_state in manager.list_units("*") if load_state != "not-found"}
    for directory in manager.unit_path():
        try:
            names.update(os.listdir(directory))
        except OSError:
            continue  # Most of these directories don't exist, on most machines.
    return {name for name in names if "@." not in name}


def nearest(asked: str, units: Iterable[str], processes: Iterable[str]) -> tuple[str, ...]:
    """Up to three names that look like `asked`, the most alike first; a unit is among them where one does.

    Of units only those of its type where it has a suffix.
    """
    stem = asked
    suffixes: tuple[str, ...] = cgroup.UNIT_SUFFIXES
    if asked.endswith(suffixes):
        stem, dot, suffix = asked.rpartition(".")
        suffixes = (dot + suffix,)
    near_units: dict[str, float] = {}
    stems: set[str] = set()
    for unit in units:
        name = unit.rpartition(".")[0]
        if unit.endswith(suffixes) and name not in stems:
            stems.add(name)
            near_units[unit] = _likeness(stem, name)
    near = near_units | {name: _likeness(stem, name) for name in processes if name not in stems}
    found = _best(near)
    if found and near_units.keys().isdisjoint(found):
        found = [*found[: _MOST - 1], *_best(near_units)[:1]]
    return tuple(found)


def _best(likeness: dict[str, float]) -> list[str]:
    alike = [name for name, share in likeness.items() if share >= _CUTOFF]
    return sorted(alike, key=lambda name: -likeness[name])[:_MOST]


def _likeness(asked: str, name: str) -> float:
    """From 0 to 1, whatever their case; of a name that starts with what was asked for, enough."""
    one, other = asked.casefold(), name.casefold()
    least = _CUTOFF if len(one) >= _SHORTEST_BEGINNING and other.startswith(one) else 0.0
    matcher = SequenceMatcher(None, one, other)
    # Cheap upper bounds first: there can be thousands of names.
    if matcher.real_quick_ratio() < _CUTOFF or matcher.quick_ratio() < _CUTOFF:
        return least
    return max(matcher.ratio(), least)
