"""How `--check` says what it found: lines of 80 columns, without colours."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from memmon_systemd.check.facts import SWAP, Case, Checked, Finding, Level, Missing, Remedy, Resolved
from memmon_systemd.formatting import format_bytes, format_seconds, one_line, signal_name
from memmon_systemd.settings import KillWhom

_COLUMNS: Final = 80
_LABEL: Final = 10
_BAR: Final = 30
_SHORT_BAR: Final = 12
_MOST_PROCESSES: Final = 20
_LEVEL: Final = 9


def as_text(resolved: Sequence[Resolved]) -> str:
    """The whole report."""
    lines: list[str] = []
    for one in resolved:
        if one.missing is None:
            lines += [*_name(one), ""]
    if any(one.targets for one in resolved):
        lines.append(_summary([finding for one in resolved for finding in _said(one)]))
    return "".join(f"{one_line(line)}\n" for line in lines)


def missing_line(missing: Missing) -> str:
    """Why a name stands for nothing, and what there is."""
    nearest = f"; nearest: {', '.join(missing.nearest)}" if missing.nearest else ""
    return f"'{missing.name}': {missing.why}{nearest}"


def _name(one: Resolved) -> Iterator[str]:
    """A NAME with all that it stands for."""
    if one.kind != "unit":
        what = "process" if one.kind == "process" else "unit"
        several = {"process": "processes", "unit": "units"}[what] if len(one.targets) > 1 else what
        yield from _wrapped(f"{one.name}: {len(one.targets)} {several} ({one.why})", "")
    if one.kind == "process":
        yield from _processes(one.targets)
        yield from _findings(one.targets)
        return
    for place, checked in enumerate(one.targets):
        target = checked.case.target
        if place or one.kind != "unit":
            yield ""
        yield from _unit(_heading(one, target.name), checked)


def _heading(one: Resolved, unit: str) -> str:
    if one.kind != "unit":
        return unit
    return f"{unit} ({one.why})" if one.name == unit else f"{one.name}: {unit} ({one.why})"


def _unit(resolved: str, checked: Checked) -> Iterator[str]:
    """One unit: what it is, what would happen, its memory, and what was found."""
    target = checked.case.target
    yield from _wrapped(resolved, "")
    if target.properties is not None:
        yield from _labelled("is", f"{target.properties.active_state} ({target.properties.sub_state})")
    yield from _labelled("above", _threshold(checked.case))
    yield from _labelled("sends", _action(checked.case))
    if target.readings:
        yield ""
        yield from _readings(checked.case)
    yield from _findings((checked,))


def _threshold(case: Case) -> str:
    limit = format_bytes(case.target.limit_bytes)
    swap = " and swap" if case.settings.swap else ""
    what = f"{limit} of {case.target.metric.value}{swap}"
    if not case.settings.threshold.follows_limit:
        return what
    whole = f"the machine's {format_bytes(case.machine.physical_bytes)}"
    if case.target.maximum is not None:
        bound = case.target.maximum
        whole = f"MemoryMax={format_bytes(bound.size_bytes)} of {bound.unit}"
    return f"{what}: {case.settings.threshold} of {whole}"


def _action(case: Case) -> str:
    """What would be sent to whom, and when again."""
    settings, target = case.settings, case.target
    if settings.restart:
        what = "no signal: systemd is asked to restart it (TryRestartUnit)"
    else:
        what = f"{signal_name(settings.signal_number)} to {_recipient(case)}"
        if not target.is_process:
            what += ", by systemd (KillUnit)"
    sustained = f", after {format_seconds(settings.for_s)} above" if settings.for_s else ""
    return f"{what}{sustained}"


def _recipient(case: Case) -> str:
    target = case.target
    if not target.is_process and case.whom is None:
        return "nobody: its main process has ended"
    if case.whom is KillWhom.ALL:
        return f"all of its processes ({len(target.pids)} now)"
    if case.whom is KillWhom.CONTROL:
        return "its control process"
    service = target.service
    if service is None or not service.main_pid:
        return "its main process"
    name = f" ({target.main_name})" if target.main_name else ""
    return f"its main process, {service.main_pid}{name}"


def _readings(case: Case) -> Iterator[str]:
    readings = case.target.readings
    for metric, size_bytes in readings.items():
        counted = metric == case.target.metric.value or (metric == SWAP and case.settings.swap)
        share, bar = _bar(size_bytes, case.target.limit_bytes, _BAR)
        mark = "  <- counts" if counted else ""
        yield f"  {metric:<14}{format_bytes(size_bytes):>10} {share:>5} {bar}{mark}".rstrip()


def _bar(size_bytes: int, limit_bytes: int, width: int) -> tuple[str, str]:
    """The share of the limit in percent, and as a bar; ">" where it is above."""
    filled = min(size_bytes * width // limit_bytes, width)
    end = ">" if size_bytes > limit_bytes else "|"
    return f"{size_bytes / limit_bytes:.0%}", f"|{'#' * filled}{'.' * (width - filled)}{end}"


def _processes(targets: Sequence[Checked]) -> Iterator[str]:
    """One line for each process: memory against the limit, whether it may be signalled, its unit."""
    first = targets[0].case
    yield from _labelled("above", _threshold(first))
    yield from _labelled("sends", f"{signal_name(first.settings.signal_number)} to each that is above")
    shown = [checked.case for checked in targets[:_MOST_PROCESSES]]
    width = max(len("process"), *(len(one_line(case.target.name)) for case in shown))
    yield ""
    yield f"  {'process':<{width}} {first.target.metric.value:>10} {'':>5} {'threshold':<14} signal unit"
    for case in shown:
        target, usage_bytes = case.target, case.usage_bytes
        share, bar = _bar(usage_bytes or 0, target.limit_bytes, _SHORT_BAR)
        size = "?" if usage_bytes is None else format_bytes(usage_bytes)
        may = "no" if target.rights.directly is False else "yes"
        line = (
            f"  {one_line(target.name):<{width}} {size:>10} {share:>5} {bar} {may:<6} {target.unit}".rstrip()
        )
        yield line if len(line) <= _COLUMNS else f"{line[: _COLUMNS - 3]}..."
    if len(targets) > _MOST_PROCESSES:
        yield f"  ... and {len(targets) - _MOST_PROCESSES} more (--json has all)"


def _said(one: Resolved) -> list[Finding]:
    """The findings of a NAME as often as they are said."""
    if one.kind == "process":
        return list(_grouped(one.targets))
    return [finding for checked in one.targets for finding in checked.findings]


def _grouped(targets: Sequence[Checked]) -> dict[Finding, list[str]]:
    """Each finding, with the targets that have it."""
    groups: dict[Finding, list[str]] = {}
    for checked in targets:
        for finding in checked.findings:
            groups.setdefault(finding, []).append(checked.case.target.name)
    return groups


def _findings(targets: Sequence[Checked]) -> Iterator[str]:
    """Each finding, once for all targets that have it."""
    groups = _grouped(targets)
    if groups:
        yield ""
    order = tuple(Level)
    for finding, names in sorted(groups.items(), key=lambda item: order.index(item[0].level)):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        whose = f"{names[0]}{more}: " if len(targets) > 1 else ""
        text = f"{whose}{finding.consequence} [{finding.id}]"
        yield from _wrapped(text, f"  {finding.level.value:<{_LEVEL}}")
        yield from _remedy(finding.remedy)


def _remedy(remedy: Remedy) -> Iterator[str]:
    indent = " " * (_LEVEL + 2)
    first = f"{indent}put right: "
    rest = " " * len(first)
    if remedy.command:
        yield f"{first}{remedy.command}"
        yield from (f"{rest}{line}" for line in remedy.lines)
    elif remedy.option:
        yield f"{first}{remedy.option}"
    if remedy.advice:
        yield from _wrapped(remedy.advice, rest if remedy.option or remedy.command else first)


def _summary(findings: Sequence[Finding]) -> str:
    counts = [
        f"{count} {level.value}{'s' * (count > 1)}"
        for level in Level
        if (count := sum(finding.level is level for finding in findings))
    ]
    return ", ".join(counts) or "nothing found"


def _labelled(label: str, text: str) -> Iterator[str]:
    return _wrapped(text, f"  {label:<{_LABEL - 2}}")


def _wrapped(text: str, first: str) -> Iterator[str]:
    """Text of 80 columns behind its beginning; what has no space in it stays whole, to be copied."""
    yield from textwrap.wrap(
        one_line(text),
        _COLUMNS,
        initial_indent=first,
        subsequent_indent=" " * len(first) or "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
