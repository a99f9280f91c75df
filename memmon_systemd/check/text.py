"""The report of `--check` for a terminal: lines of 80 columns, without colours.

Processes call themselves what they like: every line that is returned here has gone through `one_line`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from memmon_systemd.check.facts import SWAP, Case
from memmon_systemd.check.findings import Checked, Finding, Kind, Level, Missing, Remedy, Resolved
from memmon_systemd.formatting import few, format_bytes, format_seconds, one_line, signal_name
from memmon_systemd.settings import Action, KillWhom

_COLUMNS: Final = 80
_LABEL: Final = 13
_BAR: Final = 30
_SHORT_BAR: Final = 12
_MOST_PROCESSES: Final = 20
_LONGEST_NAME: Final = 30
_LEVEL: Final = 9
_NOUNS: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.UNIT: ("unit", "units"),
    Kind.GLOB: ("unit", "units"),
    Kind.PROCESS: ("process", "processes"),
    Kind.OWNER: ("unit", "units"),
}


def as_text(resolved: Sequence[Resolved]) -> str:
    """The whole report."""
    lines: list[str] = []
    for one in resolved:
        if one.missing is None:
            lines += [*_name(one), ""]
    if any(one.checked for one in resolved):
        lines.append(_summary([finding for one in resolved for finding in _said(one)]))
    return "".join(f"{one_line(line)}\n" for line in lines)


def missing_line(missing: Missing) -> str:
    """Why a name matches nothing, and what there is."""
    nearest = f"; did you mean {' or '.join(missing.nearest)}?" if missing.nearest else ""
    return f"'{missing.name}': {missing.why}{nearest}"


def _name(one: Resolved) -> Iterator[str]:
    """A NAME with all that it matches."""
    if one.kind is not Kind.UNIT:
        noun = _NOUNS[one.kind][len(one.checked) > 1]
        yield from _wrapped(f"{one.name}: {len(one.checked)} {noun} ({one.why})", "")
    if one.kind is Kind.PROCESS:
        yield from _processes(one.checked)
        yield from _findings(one.checked)
        return
    for place, checked in enumerate(one.checked):
        if place or one.kind is not Kind.UNIT:
            yield ""
        yield from _unit(_heading(one, checked.case.subject.name), checked)


def _heading(one: Resolved, unit: str) -> str:
    if one.kind is not Kind.UNIT:
        return unit
    return f"{unit} ({one.why})" if one.name == unit else f"{one.name}: {unit} ({one.why})"


def _unit(heading: str, checked: Checked) -> Iterator[str]:
    """One unit: its state, what would happen, its memory, and what was found."""
    subject = checked.case.subject
    yield from _wrapped(heading, "")
    if subject.properties is not None:
        yield from _labelled("state", f"{subject.properties.active_state} ({subject.properties.sub_state})")
    if (own := checked.case.configured) is not None:
        yield from _labelled("settings", f"{' '.join(own.options)} ({', '.join((own.unit, *own.files))})")
    if checked.case.has_settings:
        yield from _by_settings(checked.case)
    yield from _findings((checked,))


def _by_settings(case: Case) -> Iterator[str]:
    yield from _labelled("threshold", _threshold(case))
    if case.settings.hard_threshold is not None:
        hard = format_bytes(case.subject.hard_bytes or 0)
        yield from _labelled("hard", f"{hard} (--hard {case.settings.hard_threshold})")
    yield from _labelled("action", _action(case))
    if case.subject.readings:
        yield ""
        yield from _readings(case)


def _threshold(case: Case) -> str:
    threshold = format_bytes(case.subject.threshold_bytes)
    swap = " and swap" if case.settings.swap else ""
    what = f"{threshold} ({case.subject.metric.value}{swap})"
    if not case.settings.threshold.follows_limit:
        return what
    if case.settings.hard_threshold is not None and case.subject.hard_bytes == case.subject.threshold_bytes:
        return what  # The hard one is lower, and is both.
    whole = f"the machine's {format_bytes(case.machine.physical_bytes)}"
    if case.subject.maximum is not None:
        bound = case.subject.maximum
        whole = f"MemoryMax={format_bytes(bound.size_bytes)} of {bound.unit}"
    return f"{what}: {case.settings.threshold} of {whole}"


def _action(case: Case) -> str:
    """What would be sent to whom, and when again."""
    settings = case.settings
    if settings.action is not Action.SIGNAL:
        restarts = settings.action is Action.RESTART
        job = "restarts it (TryRestartUnit)" if restarts else "reloads it (ReloadUnit)"
        what = f"systemd {job}; no signal"
    elif case.reaches_nobody:
        what = "none: its main process has ended"
    else:
        what = f"{signal_name(case.signal_number)} to {_recipient(case)}, by systemd (KillUnit)"
    return what + (f", after {format_seconds(settings.for_s)} above the threshold" if settings.for_s else "")


def _recipient(case: Case) -> str:
    subject = case.subject
    if case.whom is KillWhom.ALL:
        return f"all of its processes ({len(subject.pids)} now)"
    if case.whom is KillWhom.CONTROL:
        return "its control process"
    if subject.service is None or not subject.service.main_pid:
        return "its main process"
    name = f" ({subject.main_name})" if subject.main_name is not None else ""
    return f"its main process, {subject.service.main_pid}{name}"


def _readings(case: Case) -> Iterator[str]:
    readings = case.subject.readings
    for metric, size_bytes in readings.items():
        counted = metric == case.subject.metric.value or (metric == SWAP and case.settings.swap)
        share, bar = _bar(size_bytes, case.subject.threshold_bytes, _BAR)
        mark = "  <- counts" if counted else ""
        yield f"  {metric:<14}{format_bytes(size_bytes):>10} {share:>5} {bar}{mark}".rstrip()


def _bar(size_bytes: int, threshold_bytes: int, width: int) -> tuple[str, str]:
    """The share of the threshold in percent, and as a bar; ">" where it is above."""
    end = ">" if size_bytes > threshold_bytes else "|"
    if not threshold_bytes:  # A share of MemoryMax=0.
        return "", f"|{(width if size_bytes else 0) * '#':.<{width}}{end}"
    filled = min(size_bytes * width // threshold_bytes, width)
    return f"{size_bytes / threshold_bytes:.0%}", f"|{'#' * filled:.<{width}}{end}"


def _processes(checked: Sequence[Checked]) -> Iterator[str]:
    """One line for each process: memory against the threshold, whether it may be signalled, its unit."""
    first = checked[0].case
    yield from _labelled("threshold", _threshold(first))
    name = signal_name(first.signal_number)
    yield from _labelled("action", f"{name} to each process above the threshold")
    shown = [one.case for one in checked[:_MOST_PROCESSES]]
    width = max(len("process"), *(len(_short(case.subject.name)) for case in shown))
    yield ""
    yield f"  {'process':<{width}} {first.subject.metric.value:>10} {'':>5} {'threshold':<14} signal unit"
    for case in shown:
        subject, usage_bytes = case.subject, case.usage_bytes
        share, bar = _bar(usage_bytes or 0, subject.threshold_bytes, _SHORT_BAR)
        size = "?" if usage_bytes is None else format_bytes(usage_bytes)
        may = "no" if subject.rights.directly is False else "yes"
        unit = one_line(subject.unit or "")
        line = f"  {_short(subject.name):<{width}} {size:>10} {share:>5} {bar} {may:<6} {unit}".rstrip()
        yield line if len(line) <= _COLUMNS else f"{line[: _COLUMNS - 3]}..."
    if len(checked) > _MOST_PROCESSES:
        yield f"  ... and {len(checked) - _MOST_PROCESSES} more (--json has all)"


def _short(name: str) -> str:
    """A name for a column: one that consists of escapes would leave no room for others."""
    name = one_line(name)
    half = _LONGEST_NAME // 2 - 1
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}..{name[-half:]}"


def _said(one: Resolved) -> list[Finding]:
    """The findings of a NAME as often as they are said."""
    if one.kind is Kind.PROCESS:
        return list(_grouped(one.checked))
    return [finding for checked in one.checked for finding in checked.findings]


def _grouped(checked: Sequence[Checked]) -> dict[Finding, list[str]]:
    """Each finding, with the names of those that have it."""
    groups: dict[Finding, list[str]] = {}
    for one in checked:
        for finding in one.findings:
            groups.setdefault(finding, []).append(one.case.subject.name)
    return groups


def _findings(checked: Sequence[Checked]) -> Iterator[str]:
    """Each finding, once for all that have it."""
    groups = _grouped(checked)
    if groups:
        yield ""
    order = tuple(Level)
    for finding, names in sorted(groups.items(), key=lambda item: order.index(item[0].level)):
        whose = f"{few(names, 1)}: " if len(checked) > 1 else ""
        text = f"{whose}{finding.consequence} [{finding.id}]"
        yield from _wrapped(text, f"  {finding.level.value:<{_LEVEL}}")
        yield from _remedy(finding.remedy)


def _remedy(remedy: Remedy) -> Iterator[str]:
    indent = " " * (_LEVEL + 2)
    first = f"{indent}fix: "
    rest = " " * len(first)
    if remedy.command is not None:
        yield f"{first}{remedy.command}"
        yield from (f"{rest}{line}" for line in remedy.lines)
        if remedy.option is not None:
            yield f"{indent}and: {remedy.option}"
    elif remedy.option is not None:
        yield f"{first}{remedy.option}"
    if remedy.advice is not None:
        is_alone = remedy.option is None and remedy.command is None
        yield from _wrapped(remedy.advice, first if is_alone else rest)


def _summary(findings: Sequence[Finding]) -> str:
    counts = [
        f"{count} {level.value}{'s' * (count > 1)}"
        for level in Level
        if (count := sum(finding.level is level for finding in findings))
    ]
    return ", ".join(counts) or "no problems found"


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
