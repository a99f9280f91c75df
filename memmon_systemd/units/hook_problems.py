"""What is wrong with a hook, by what systemd knows of it: for `--check`, and for the warning at start-up.

Before READY only: asking takes memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from memmon_systemd.monitor.report import Report
from memmon_systemd.settings import TargetSettings
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.systemd.properties import LOADED, Properties
from memmon_systemd.systemd.unit import one_of_each_template
from memmon_systemd.units.hook_name import hook_name

CONDITION: Final = "--condition-unit"
"""The option of the hook without which nothing is asked."""


@dataclass(frozen=True, slots=True)
class HookProblem:
    """Why a service isn't of use as a hook of a unit, and what would work."""

    option: str
    hook: str
    problem: str


def problems_of_hooks(manager: Manager, unit: str, settings: TargetSettings) -> tuple[HookProblem, ...]:
    """What is wrong with the hooks of one unit; BusError."""
    found = []
    for option, pattern in (
        (CONDITION, settings.condition_unit),
        ("--on-request", settings.on_request),
    ):
        if pattern is not None:
            hook = hook_name(pattern, unit)
            problem = _problem(manager, unit, option, hook)
            if problem is not None:
                found.append(HookProblem(option, hook, problem))
    return tuple(found)


def warn_of_hooks(targets: Mapping[str, TargetSettings], manager: Manager, report: Report) -> None:
    """A line for each hook that isn't of use; `targets` has the settings of each unit.

    For only one of a template's units: instances are alike.
    """
    for name in one_of_each_template(targets):
        try:
            problems = problems_of_hooks(manager, name, targets[name])
        except BusError as error:
            report.warn.hooks_unknown(name, str(error))
            continue
        for one in problems:
            report.warn.hook_unfit(name, one.option, one.hook, one.problem)


def _problem(manager: Manager, unit: str, option: str, hook: str) -> str | None:
    if hook == unit:
        return "it is the unit itself: name another service"
    try:
        properties = manager.properties(manager.unit(hook))
    except BusError as error:
        if not error.is_answer:
            raise
        return f"{error}: name another service"
    load_state = os.fsdecode(properties[b"LoadState"])
    if load_state != LOADED:
        prefix, at, _ = hook.partition("@")
        file = f"{prefix}@.service" if at else hook
        return f"systemd has no such unit ({load_state}): create {file}"
    return _unfit(properties, unit, option)


def _unfit(properties: Properties, unit: str, option: str) -> str | None:
    kind = os.fsdecode(properties[b"Type"])
    if option == CONDITION and kind != "oneshot":
        return f"it is Type={kind}, whose start says nothing of its success: use Type=oneshot"
    if option == CONDITION and properties[b"RemainAfterExit"]:
        return "it has RemainAfterExit=yes: systemd runs it once only: leave that out"
    name = os.fsencode(unit)
    if name in properties[b"Conflicts"]:
        return f"it has Conflicts={unit}: its start would stop the unit: leave that out"
    for key in ("Requires", "Requisite", "BindsTo", "PartOf"):
        if name in properties[key.encode()]:
            return f"it has {key}={unit}: it is stopped with the unit: leave that out, or use Wants="
    return None
