"""What `--check` judges of how often it would be started: pure, from facts to findings."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from memmon_systemd.check.facts import Case
from memmon_systemd.check.findings import Finding, Id, Level, Remedy
from memmon_systemd.check.growth import growth_of
from memmon_systemd.check.rules_restart import edit
from memmon_systemd.formatting import format_seconds
from memmon_systemd.settings import UNIT_BUDGET, Action, Rate
from memmon_systemd.systemd.restart_rules import verdict


def start_limit(case: Case) -> Finding | None:
    """It would be started too often: systemd then refuses to."""
    service = case.subject.service
    if service is None or case.reaches_nobody or case.settings.action is Action.RELOAD:
        return None
    burst, interval_s = service.start_limit_burst, service.start_limit_interval_s
    if not burst or not interval_s or _most_requests(case.budget, interval_s) < burst:
        return None
    if case.sends_signal:
        ends = verdict(service.restart, case.signal_number, case.subject.disposition)
        if ends is not None and ends.expected:
            return None  # It isn't even started once.
    asked, growth = case.settings, growth_of(case)
    grown_s = growth.time_s(case.subject.threshold_bytes) + asked.for_s
    life_s = max(grown_s, asked.min_age_s) + service.restart_s
    if burst * life_s >= interval_s:
        return None
    within = f" within {format_seconds(interval_s)}" if interval_s < float("inf") else ""
    text = (
        f"{growth.words} it would be started {burst} times{within} (StartLimitBurst=), after which systemd"
        " leaves it down"
    )
    budget = case.budget if case.budget.count is not None else UNIT_BUDGET
    # What bounds the starts instead is said beside it.
    way = replace(edit(case, "Unit", "StartLimitIntervalSec=0"), option=f"--budget {budget}")
    return Finding(Id.START_LIMIT, Level.WARNING, text, way)


def _most_requests(budget: Rate, interval_s: float) -> float:
    """How many requests a budget allows within a time."""
    if budget.count is None or interval_s == float("inf"):
        return float("inf")
    return budget.count * math.ceil(interval_s / budget.window_s)


def no_bound(case: Case) -> Finding | None:
    """Nothing bounds how often it is restarted."""
    service = case.subject.service
    if service is None or case.subject.is_process or case.budget.count is not None:
        return None
    if case.settings.action is Action.RELOAD or (
        service.start_limit_burst and service.start_limit_interval_s
    ):
        return None
    text = (
        "neither --budget nor StartLimitBurst= bounds how often it is restarted: with a threshold below what"
        " it needs, that is without end"
    )
    return Finding(Id.NO_BOUND, Level.WARNING, text, Remedy(option=f"--budget {UNIT_BUDGET}"))


RULES: Final = (start_limit, no_bound)
