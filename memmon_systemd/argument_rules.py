"""Which arguments don't go together, or are in two words. Forgotten with the parser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from memmon_systemd import parsing
from memmon_systemd.errors import UsageError
from memmon_systemd.parsing import quoted
from memmon_systemd.settings import Action, NameKind, Settings, Share, Size, TargetSettings

_MEASURES: Final[Mapping[str, Callable[[str], object]]] = {
    "-m": parsing.parse_threshold,
    "--max-memory": parsing.parse_threshold,
    "-i": parsing.parse_time,
    "--interval": parsing.parse_time,
    "--growth": parsing.parse_rate,
    "--for": parsing.parse_time,
    "--repeat": parsing.parse_time,
}
"""The options whose values have units."""


def check_presence(names: Sequence[str], threshold: object, *, configured: bool) -> None:
    """Refuse a missing NAME or threshold, and both where units have their own; UsageError."""
    if configured:
        if names:
            raise UsageError(f"--configured: is for all units that say so: leave {quoted(names[0])} out")
        if threshold is not None:
            raise UsageError("--configured: each unit has its own Threshold=: leave -m out")
        return
    missing = [what for what, has in (("-m/--max-memory", threshold), ("NAME", names)) if not has]
    if missing:
        raise UsageError(f"the following arguments are required: {', '.join(missing)}")


def check_modes(wanted: Settings) -> None:
    """Refuse modes that don't go together; UsageError."""
    others = (
        ("--once", wanted.once),
        ("--until-stopped", wanted.until_stopped),
        ("--dry-run", wanted.target.dry_run),
        ("--verbose", wanted.verbosity > 0),
        ("--quiet", wanted.verbosity < 0),
    )
    for option, given in others:
        if wanted.check and given:
            raise UsageError(f"--check: changes nothing and exits: leave {option} out")
    if wanted.once and wanted.until_stopped:
        raise UsageError("--once: polls once and exits: leave --until-stopped out")
    if wanted.configured:
        for option, given in (
            ("--as", wanted.name_kind is not NameKind.AUTO),
            ("--until-stopped", wanted.until_stopped),
            ("--check", wanted.check),
        ):
            if given:
                raise UsageError(f"{option}: is for a NAME: leave it or --configured out")
    if wanted.json and not wanted.check:
        raise UsageError("--json: is the format of a report: add --check")


class Wording(NamedTuple):
    """What a user has written, as messages name it."""

    threshold: str
    hard_threshold: str
    then_restart: str
    restart: str


ON_COMMAND_LINE: Final = Wording("-m", "--hard", "--then-restart", "--restart")
IN_UNIT_FILE: Final = Wording("Threshold=", "HardThreshold=", "ThenRestart=", "Action=restart")


def check_moments(asked: TargetSettings, wording: Wording = ON_COMMAND_LINE) -> None:
    """Refuse rules of when to ask that don't go together; UsageError."""
    hard, threshold = asked.hard_threshold, asked.threshold
    is_above = True
    if isinstance(hard, Size) and isinstance(threshold, Size):
        is_above = hard.size_bytes > threshold.size_bytes
    elif isinstance(hard, Share) and isinstance(threshold, Share):
        is_above = hard.percent > threshold.percent
    if not is_above:
        raise UsageError(
            f"{wording.hard_threshold}: {hard} is not above the threshold of {threshold}:"
            f" use more than {wording.threshold}"
        )
    if asked.then_restart_s is not None and asked.action is Action.RESTART:
        raise UsageError(
            f"{wording.then_restart}: {wording.restart} does that at once: leave one of them out"
        )


def check_split_values(arguments: Sequence[str]) -> None:
    """Refuse "-m 500 MiB x": a value in two words, of which the second would be a NAME; UsageError."""
    for first, second, third in zip(arguments, arguments[1:], [*arguments[2:], ""], strict=False):
        option, equals, value = first.partition("=")
        if equals:
            name = second
        elif option[:2] in _MEASURES and option[2:]:
            option, value, name = option[:2], option[2:], second
        else:
            value, name = second, third
        parse_value = _MEASURES.get(option)
        if parse_value is not None and not name.isdecimal() and _is_parsed(parse_value, f"{value} {name}"):
            raise UsageError(
                f"{option}: '{value} {name}' is in two words: use '{value}{name}', or -- before a NAME"
            )


def _is_parsed(parse_value: Callable[[str], object], text: str) -> bool:
    try:
        parse_value(text)
    except UsageError:
        return False
    return True
