"""The filters of this role: from an entry of memory_monitor_units to the files that are made of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Final

try:
    from ansible.errors import AnsibleFilterError
except ImportError:  # In the unit tests there is no Ansible.
    AnsibleFilterError = ValueError

# --check-config checks settings files, which have options and no keys: which key is which of them, as in
# memory-monitor.unit(5). tests/unit/test_ansible_role.py holds this against the options that there are.
SETTINGS: Final = {"Threshold": "MAX_MEMORY", "Interval": "INTERVAL", "Signal": "SIGNAL"}
OPTIONS: Final = {
    "Metric": "--metric",
    "Growth": "--growth",
    "For": "--for",
    "HardThreshold": "--hard",
    "MinAge": "--min-age",
    "Budget": "--budget",
    "AtMost": "--at-most",
    "ConditionUnit": "--condition-unit",
    "ConditionTimeout": "--condition-timeout",
    "Repeat": "--repeat",
    "ThenRestart": "--then-restart",
    "OnRequest": "--on-request",
    "KillWhom": "--kill-whom",
}
FLAGS: Final = {"Swap": "--swap", "DryRun": "--dry-run"}
ACTIONS: Final = {"signal": (), "restart": ("--restart",), "reload": ("--reload",)}
KEYS: Final = (*SETTINGS, *OPTIONS, *FLAGS, "Action")

_UNIT: Final = re.compile(r"([\w:.@\\-]+\.)?(service|scope|slice|socket|mount|swap)", re.ASCII)
"""A unit with processes; a type alone stands for all units of it."""
_YES: Final = ("1", "yes", "y", "true", "t", "on")
_NO: Final = ("0", "no", "n", "false", "f", "off")
_IN_QUOTES: Final = re.compile(r'([\\"$`])')
_HEADER: Final = """\
# Written by Ansible (role memory_monitor): changes here are lost.
[X-MemoryMonitor]
"""


def drop_in(section: object, unit: str) -> str:
    """The drop-in of a unit. AnsibleFilterError: what can't be one, in a line."""
    return _HEADER + "".join(f"{key}={value}\n" for key, value in _values(section, unit).items())


def settings_file(section: object, unit: str) -> str:
    """The same as settings of memory-monitor@.service, for --check-config; AnsibleFilterError likewise."""
    lines, options = [], []
    for key, value in _values(section, unit).items():
        if not value or (key == "Threshold" and value == "infinity"):
            continue  # The default; not monitored.
        if key in SETTINGS:
            lines.append(f"{SETTINGS[key]}={_quoted(value)}")
        elif key in OPTIONS:
            options.append(f"{OPTIONS[key]}={shlex.quote(value)}")
        elif key in FLAGS:
            options += [FLAGS[key]] if value.lower() in _YES else []
        else:
            options += ACTIONS[value]
    return "\n".join([*lines, f"OPTIONS={_quoted(' '.join(options))}", ""])


def _quoted(value: str) -> str:
    return '"' + _IN_QUOTES.sub(r"\\\1", value) + '"'


def _values(section: object, unit: str) -> dict[str, str]:
    """The values as they are written; what would not be a drop-in of that unit is refused."""
    if not _UNIT.fullmatch(unit):
        raise _error(f"{unit!r} is no unit with processes: use myapp.service, worker@.service or service")
    if not isinstance(section, Mapping):
        raise _error(f"{unit}: {section!r} are no keys: use Threshold: 80%")
    return {str(key): _value(unit, str(key), value) for key, value in section.items()}


def _value(unit: str, key: str, value: object) -> str:
    if key not in KEYS:
        raise _error(f"{unit}: {key}= is no key of [X-MemoryMonitor]: use one of {', '.join(KEYS)}")
    # YAML has made a boolean of yes, and None of nothing.
    text = "" if value is None else ("no", "yes")[value] if isinstance(value, bool) else str(value).strip()
    if not isinstance(value, str | int | float | None) or not text.isprintable() or text.endswith("\\"):
        raise _error(f"{unit}: {key}={value!r} is no value of one line: use a string or a number")
    if text and key in FLAGS and text.lower() not in (*_YES, *_NO):
        raise _error(f"{unit}: {key}={text} is not a boolean: use yes or no")
    if text and key == "Action" and text not in ACTIONS:
        raise _error(f"{unit}: Action={text} is no action: use one of {', '.join(ACTIONS)}")
    return text


def _error(problem: str) -> Exception:
    error: Exception = AnsibleFilterError(f"memory_monitor_units: {problem}")
    return error


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[[object, str], str]]:
        """By the names that the tasks use."""
        return {"memory_monitor_drop_in": drop_in, "memory_monitor_settings": settings_file}
