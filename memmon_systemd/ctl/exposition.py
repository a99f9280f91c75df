"""Families of metrics as text, in the two forms that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from memmon_systemd.ctl.families import Family

_CLASSIC_KINDS: Final = {"info": "gauge"}
"""Types that there are in OpenMetrics only."""


def openmetrics(families: Iterable[Family]) -> str:
    """OpenMetrics 1.0."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# TYPE {family.name} {family.kind}")
        if family.unit:
            lines.append(f"# UNIT {family.name} {family.unit}")
        lines.append(f"# HELP {family.name} {family.help}")
        lines += _samples(family)
    return "\n".join([*lines, "# EOF"]) + "\n"


def classic(families: Iterable[Family]) -> str:
    """The text format of Prometheus, version 0.0.4: the only one that node_exporter reads from files."""
    lines: list[str] = []
    for family in families:
        if family.samples:
            lines.append(f"# HELP {family.sample_name} {family.help}")
            lines.append(f"# TYPE {family.sample_name} {_CLASSIC_KINDS.get(family.kind, family.kind)}")
            lines += _samples(family)
    return "".join(f"{line}\n" for line in lines)


def _samples(family: Family) -> Iterator[str]:
    name = family.sample_name
    for labels, value in family.samples:
        pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in sorted(labels.items()))
        yield f"{name}{{{pairs}}} {value if isinstance(value, int) else f'{value:.3f}'}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
