"""Which arguments don't go together, or are in two words. Forgotten with the parser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from memmon_systemd.errors import UsageError
from memmon_systemd.options import OPTIONS
from memmon_systemd.parsing import quoted
from memmon_systemd.settings import UNSET, Action, NameKind, Settings, Share, Size, TargetSettings

_MEASURES: Final = {
    flag: option.parse
    for option in OPTIONS
    for flag in option.flags
    if option.metavar in ("SIZE", "TIME", "RATE", "N/TIME")
}
"""The options whose values have units, each with what parses one."""


def check_required(wanted: Settings, *, is_without_threshold: bool) -> None:
    """Refuse what is incomplete, as argparse would, and what is too much; UsageError."""
    if wanted.check_config is not None:
        others = Settings((), UNSET, check_config=wanted.check_config)
        if wanted != others:
            raise UsageError("--check-config: checks that file alone: leave everything else out")
        return
    if wanted.configured:
        if wanted.names:
            raise UsageError(
                f"--configured: is for all units that say so: leave {quoted(wanted.names[0])} out"
            )
        if not is_without_threshold:
            raise UsageError("--configured: each unit has its own Threshold=: leave -m out")
        return
    missing = ["-m/--max-memory"] if is_without_threshold and not wanted.check else []
    if not wanted.names:
        missing.append("NAME")
    if missing:
        raise UsageError(f"the following arguments are required: {', '.join(missing)}")
    if is_without_threshold and wanted.target != UNSET:
        raise UsageError("--check: without -m the options are those of NAME's section or own monitor: add -m")


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
    if wanted.once and wanted.target.condition_unit is not None:
        raise UsageError("--once: polls once, and can't wait for --condition-unit: leave one of them out")
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


@dataclass(frozen=True, slots=True)
class Wording:
    """What a user has written, as messages name it.

    No NamedTuple: that compiles its annotations, for which Python 3.11 makes all classes of `ast`, for good
    (0.18 MB of 11).
    """

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
        if (
            parse_value is not None
            and name
            and not name.isdecimal()
            and _is_parsed(parse_value, f"{value} {name}")
        ):
            raise UsageError(
                f"{option}: '{value} {name}' is in two words: use '{value}{name}', or -- before a NAME"
            )


def _is_parsed(parse_value: Callable[[str], object], text: str) -> bool:
    try:
        parse_value(text)
    except UsageError:
        return False
    return True
