"""What `--check` judges of the units that are started before a request, or at it."""

from __future__ import annotations

from typing import Final

from memmon_systemd.check.facts import Case
from memmon_systemd.check.findings import Finding, Id, Level
from memmon_systemd.units.hook_problems import CONDITION


def hook_unfit(case: Case) -> Finding | None:
    """A hook isn't of use; where that is the condition, the unit is never asked."""
    problems = case.subject.hook_problems
    if not problems:
        return None
    text = "; ".join(f"{one.option} {one.hook}: {one.problem}" for one in problems)
    is_condition = any(one.option == CONDITION for one in problems)
    return Finding(Id.HOOK_UNFIT, Level.ERROR if is_condition else Level.WARNING, text)


RULES: Final = (hook_unfit,)
