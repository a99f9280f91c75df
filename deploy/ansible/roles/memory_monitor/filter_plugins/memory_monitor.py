"""The filter of this role: from an entry of memory_monitor_units to its drop-in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

try:
    from ansible.errors import AnsibleFilterError
except ImportError:  # In the unit tests there is no Ansible.
    AnsibleFilterError = ValueError

_UNIT: Final = re.compile(r"([\w:.@\\-]+\.)?(service|scope|slice|socket|mount|swap)", re.ASCII)
"""A unit with processes; a type alone stands for all units of it."""
_KEY: Final = re.compile(r"[A-Za-z-]+")
_HEADER: Final = """\
# Written by Ansible (role memory_monitor): changes here are lost.
[X-MemoryMonitor]
"""


def drop_in(section: object, unit: str) -> str:
    """The drop-in of a unit. AnsibleFilterError: what can't be one, in a line."""
    return _HEADER + "".join(f"{key}={value}\n" for key, value in _values(section, unit).items())


def _values(section: object, unit: str) -> dict[str, str]:
    """The values as they are written; what would not be a drop-in of that unit is refused."""
    if not _UNIT.fullmatch(unit):
        raise _error(f"{unit!r} is no unit with processes: use myapp.service, worker@.service or service")
    if not isinstance(section, Mapping):
        raise _error(f"{unit}: {section!r} are no keys: use Threshold: 80%")
    return {str(key): _value(unit, str(key), value) for key, value in section.items()}


def _value(unit: str, key: str, value: object) -> str:
    if not _KEY.fullmatch(key):
        raise _error(f"{unit}: {key!r} is no key: use Threshold: 80%")
    # YAML has made a boolean of yes, and None of nothing.
    text = "" if value is None else ("no", "yes")[value] if isinstance(value, bool) else str(value).strip()
    if not isinstance(value, str | int | float | None) or not text.isprintable() or text.endswith("\\"):
        raise _error(f"{unit}: {key}={value!r} is no value of one line: use a string or a number")
    return text


def _error(problem: str) -> Exception:
    error: Exception = AnsibleFilterError(f"memory_monitor_units: {problem}")
    return error


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[[object, str], str]]:
        """By the names that the tasks use."""
        return {"memory_monitor_drop_in": drop_in}
