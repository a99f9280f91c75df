"""`--check --json`: a stable form, documented in docs/check.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, TypeAlias

from memmon_systemd import __version__
from memmon_systemd.check.configured import Configured
from memmon_systemd.check.facts import Case, Machine
from memmon_systemd.check.findings import Checked, Finding, Missing, Remedy, Resolved
from memmon_systemd.formatting import signal_name
from memmon_systemd.settings import Action, KillWhom, Settings

FORM: Final = 1
"""Counted up when a field changes its meaning or goes; new fields and new ids don't count it up."""

Object: TypeAlias = dict[str, object]


def as_json(settings: Settings, machine: Machine, resolved: Sequence[Resolved], status: int) -> str:
    """The whole report as one JSON object."""
    report: Object = {
        "form": FORM,
        "version": __version__,
        "status": status,
        "settings": None if settings.by_monitors_settings else _settings(settings),
        "machine": {
            "cgroups": machine.cgroups.value,
            "physical_bytes": machine.physical_bytes,
            "swap_bytes": machine.swap_bytes,
        },
        "names": [_name(one) for one in resolved],
    }
    return json.dumps(report, indent=2) + "\n"


def _settings(settings: Settings) -> Object:
    asked = settings.target
    return {
        "max_memory": str(asked.threshold),
        "signal": None if asked.signal_number is None else signal_name(asked.signal_number),
        "swap": asked.swap,
        "for_s": asked.for_s,
        "restart": asked.action is Action.RESTART,
        "user": settings.user,
    }


def _name(one: Resolved) -> Object:
    return {
        "name": one.name,
        "kind": one.kind.value,
        "why": one.why,
        "missing": _missing(one.missing),
        "targets": [_subject(checked) for checked in one.checked],
    }


def _missing(missing: Missing | None) -> Object | None:
    return None if missing is None else {"why": missing.why, "nearest": list(missing.nearest)}


def _subject(checked: Checked) -> Object:
    case = checked.case
    subject = case.subject
    properties = subject.properties
    return {
        "name": subject.name,
        "unit": subject.unit,
        "active_state": properties.active_state if properties else None,
        "sub_state": properties.sub_state if properties else None,
        "limit_bytes": subject.threshold_bytes if case.has_settings else None,
        "metric": subject.metric.value,
        "usage_bytes": case.usage_bytes,
        "readings_bytes": dict(subject.readings),
        "hard_bytes": subject.hard_bytes,
        "memory_max_bytes": subject.maximum.size_bytes if subject.maximum else None,
        "memory_high_bytes": subject.high.size_bytes if subject.high else None,
        "monitor": _monitor(case.configured),
        "action": _action(case) if case.has_settings else None,
        "may_signal": {"by_systemd": subject.rights.by_systemd, "directly": subject.rights.directly},
        "findings": [_finding(finding) for finding in checked.findings],
    }


def _monitor(own: Configured | None) -> Object | None:
    if own is None:
        return None
    return {"unit": own.unit, "options": list(own.options), "files": list(own.files)}


def _action(case: Case) -> Object:
    if not case.sends_signal:
        return {"what": case.settings.action.value, "signal": None, "whom": None, "pids": []}
    whom = "process" if case.subject.is_process else case.whom and case.whom.value
    name = signal_name(case.signal_number)
    return {"what": "signal", "signal": name, "whom": whom, "pids": _recipients(case)}


def _recipients(case: Case) -> list[int]:
    """The processes that would be signalled now."""
    service = case.subject.service
    if case.subject.is_process or case.whom is KillWhom.ALL:
        return list(case.subject.pids)
    if service is None or case.whom is None:
        return []
    pid = service.main_pid if case.whom is KillWhom.MAIN else service.control_pid
    return [pid] if pid else []


def _finding(finding: Finding) -> Object:
    return {
        "id": finding.id.value,
        "level": finding.level.value,
        "consequence": finding.consequence,
        "remedy": _remedy(finding.remedy),
    }


def _remedy(remedy: Remedy) -> Object:
    return {
        "command": remedy.command,
        "lines": list(remedy.lines),
        "option": remedy.option,
        "advice": remedy.advice,
    }
