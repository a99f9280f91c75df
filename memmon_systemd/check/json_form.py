"""`--check --json`: a stable form, documented in docs/check.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, TypeAlias

from memmon_systemd import __version__
from memmon_systemd.check.facts import Case, Checked, Finding, Machine, Missing, Remedy, Resolved
from memmon_systemd.formatting import signal_name
from memmon_systemd.settings import KillWhom, Settings

FORM: Final = 1
"""Counted up when a field changes its meaning or goes; new fields and new ids don't count it up."""

Object: TypeAlias = dict[str, object]


def as_json(settings: Settings, machine: Machine, resolved: Sequence[Resolved], status: int) -> str:
    """The whole report as one JSON object."""
    report: Object = {
        "form": FORM,
        "version": __version__,
        "status": status,
        "settings": _settings(settings),
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
        "signal": signal_name(asked.signal_number),
        "swap": asked.swap,
        "for_s": asked.for_s,
        "restart": asked.restart,
        "user": settings.user,
    }


def _name(one: Resolved) -> Object:
    return {
        "name": one.name,
        "kind": one.kind,
        "why": one.why,
        "missing": _missing(one.missing),
        "targets": [_target(checked) for checked in one.targets],
    }


def _missing(missing: Missing | None) -> Object | None:
    return None if missing is None else {"why": missing.why, "nearest": list(missing.nearest)}


def _target(checked: Checked) -> Object:
    case = checked.case
    target = case.target
    properties = target.properties
    return {
        "name": target.name,
        "unit": target.unit or None,
        "active_state": properties.active_state if properties else None,
        "sub_state": properties.sub_state if properties else None,
        "limit_bytes": target.limit_bytes,
        "metric": target.metric.value,
        "usage_bytes": case.usage_bytes,
        "readings_bytes": dict(target.readings),
        "memory_max_bytes": target.maximum.size_bytes if target.maximum else None,
        "memory_high_bytes": target.high.size_bytes if target.high else None,
        "action": _action(case),
        "may_signal": {"by_systemd": target.rights.by_systemd, "directly": target.rights.directly},
        "findings": [_finding(finding) for finding in checked.findings],
    }


def _action(case: Case) -> Object:
    if case.settings.restart:
        return {"what": "restart", "signal": None, "whom": None, "pids": []}
    target = case.target
    pids = list(target.pids)
    if not target.is_process and case.whom is not KillWhom.ALL:
        service = target.service
        of_whom = {KillWhom.MAIN: service.main_pid, KillWhom.CONTROL: service.control_pid} if service else {}
        pid = 0 if case.whom is None else of_whom.get(case.whom, 0)
        pids = [pid] if pid else []
    whom = "process" if target.is_process else case.whom and case.whom.value
    return {"what": "signal", "signal": signal_name(case.settings.signal_number), "whom": whom, "pids": pids}


def _finding(finding: Finding) -> Object:
    return {
        "id": finding.id.value,
        "level": finding.level.value,
        "consequence": finding.consequence,
        "remedy": _remedy(finding.remedy),
    }


def _remedy(remedy: Remedy) -> Object:
    return {
        "command": remedy.command or None,
        "lines": list(remedy.lines),
        "option": remedy.option or None,
        "advice": remedy.advice or None,
    }
