"""The specifiers in the name of a hook: %n, %N, %p, %i and %% of the unit that is asked (systemd.unit(5))."""

from __future__ import annotations


def hook_name(pattern: str, unit: str) -> str:
    """The name of the service that a unit's hook is, such as mail-me@myapp.service.service."""
    without_type = unit.rpartition(".")[0]
    prefix, _, instance = without_type.partition("@")
    values = {"n": unit, "N": without_type, "p": prefix, "i": instance, "%": "%"}
    first, *rest = pattern.split("%")
    parts = [first]
    was_percent = False
    for part in rest:
        if was_percent:
            # The second one of "%%": what follows it stands for itself.
            parts.append(part)
            was_percent = False
        elif part:
            parts.append(values[part[0]] + part[1:])
        else:
            parts.append("%")
            was_percent = True
    return "".join(parts)
