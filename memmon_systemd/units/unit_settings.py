"""From the section of a unit's files to the settings of that unit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from memmon_systemd.argument_rules import IN_UNIT_FILE, check_moments
from memmon_systemd.errors import UsageError
from memmon_systemd.formatting import one_line
from memmon_systemd.linux import cgroup
from memmon_systemd.options import KEYS
from memmon_systemd.parsing import quoted
from memmon_systemd.settings import PROCESS_METRICS, Metric, TargetSettings
from memmon_systemd.units.unit_file import SECTION

if TYPE_CHECKING:
    from memmon_systemd.units.unit_file import Section

OPT_OUT: Final = "infinity"
"""As Threshold=: this unit isn't monitored, whatever wider drop-ins say."""
_THRESHOLD: Final = "Threshold"
_EXTENSION: Final = "X-"
"""How keys start that systemd ignores without a word."""
_LONGEST_GUESSED: Final = 64


@dataclass(frozen=True, slots=True)
class UnitSettings:
    """What a unit's files ask for."""

    settings: TargetSettings | None
    """None: it isn't to be monitored, where this is valid."""
    is_valid: bool
    """False where a value is wrong or a file could not be read: what was in force before stays."""
    problems: tuple[str, ...]
    """A line each, with path and line; those of the section too."""
    wrong: tuple[str, ...] = ()
    """Those of them because of which there are no settings, or not valid ones."""


class _Problems:
    """What is wrong with a section, in the order in which it was found."""

    def __init__(self, section: Section) -> None:
        self.all = list(section.problems)
        self.wrong = [] if section.is_complete else list(section.problems)

    def ignored(self, problem: str) -> None:
        """The others hold without it."""
        self.all.append(problem)

    def refused(self, problem: str) -> None:
        """Nothing of the section holds, for this."""
        self.all.append(problem)
        self.wrong.append(problem)


def is_opt_out(section: Section) -> bool:
    """Whether the section says that the unit isn't monitored."""
    threshold = section.assignments.get(_THRESHOLD)
    return threshold is not None and threshold.value in ("", OPT_OUT)


def unit_settings(section: Section, unit_name: str, defaults: TargetSettings) -> UnitSettings:
    """The settings that a unit's section asks for.

    What it doesn't set, or sets to nothing, is as in `defaults`, but for the threshold.
    """
    problems = _Problems(section)
    settings, is_valid = None, True
    if section.is_present:
        settings, is_valid = _settings(section, unit_name, defaults, problems)
    is_valid = is_valid and section.is_complete
    settings = settings if is_valid else None
    return UnitSettings(settings, is_valid, tuple(problems.all), tuple(problems.wrong))


def _settings(
    section: Section, unit_name: str, defaults: TargetSettings, problems: _Problems
) -> tuple[TargetSettings | None, bool]:
    """The settings, and whether they are valid; what is wrong is added to the problems."""
    if not unit_name.endswith(cgroup.UNIT_SUFFIXES):
        kind = unit_name.rpartition(".")[2]
        problems.refused(f"{section.header}: a {one_line(kind)} has no processes: not monitored")
        return None, True
    values, is_valid = _values(section, problems)
    threshold = section.assignments.get(_THRESHOLD)
    if threshold is None:
        problems.refused(f"{section.header}: no {_THRESHOLD}= in [{SECTION}]: not monitored")
    if threshold is None or is_opt_out(section):
        return None, True
    if not is_valid:
        return None, False
    settings = replace(defaults, **values)  # type: ignore[arg-type]  # Each parser gives what its field holds.
    try:
        check_moments(settings, IN_UNIT_FILE)
    except UsageError as error:
        key = str(error).partition("=")[0]
        problems.refused(f"{section.assignments.get(key, threshold).place}: {error}")
        return None, False
    return settings, True


def _values(section: Section, problems: _Problems) -> tuple[dict[str, object], bool]:
    """By field what the section sets, and whether each value has the right form."""
    values: dict[str, object] = {}
    is_valid = True
    for key, assignment in section.assignments.items():
        option = KEYS.get(key)
        if option is None:
            if not key.startswith(_EXTENSION):
                problems.ignored(f"{assignment.place}: {_unknown(key)}")
        elif assignment.value and not (key == _THRESHOLD and assignment.value == OPT_OUT):
            try:
                value = option.parse(assignment.value)
                if value in PROCESS_METRICS:
                    works = ", ".join(metric for metric in Metric if metric not in PROCESS_METRICS)
                    raise UsageError(f"'{value}' is of processes: use one of {works}")
            except UsageError as error:
                problems.refused(f"{assignment.place}: {key}=: {error}")
                is_valid = False
            else:
                values[option.field] = value
    return values, is_valid


def _unknown(key: str) -> str:
    # Imported here: only a mistake needs it, and it takes difflib.
    from memmon_systemd.nearest import nearest

    near = nearest(key[:_LONGEST_GUESSED], (), KEYS)
    guess = f"did you mean {near[0]}=?" if near else f"use one of {', '.join(KEYS)}"
    return f"{quoted(key)} is no key of [{SECTION}] and is ignored: {guess}"
