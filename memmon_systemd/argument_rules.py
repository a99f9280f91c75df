"""Which arguments don't go together, or are in two words. Forgotten with the parser."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

from memmon_systemd.errors import UsageError
from memmon_systemd.options import add_options
from memmon_systemd.settings import UNSET, Action, Settings, Share, Size, TargetSettings

_MEASURES: Final = ("SIZE", "TIME", "RATE", "N/TIME")
"""How --help writes the values that have units."""


def check_required(wanted: Settings, is_without_threshold: bool) -> None:
    """Refuse what is incomplete, as argparse would; UsageError."""
    if wanted.check_config is not None:
        others = Settings((), UNSET, check_config=wanted.check_config)
        if wanted != others:
            raise UsageError("--check-config: checks that file alone: leave everything else out")
        return
    missing = ["-m/--max-memory"] if is_without_threshold and not wanted.check else []
    if not wanted.names:
        missing.append("NAME")
    if missing:
        raise UsageError(f"the following arguments are required: {', '.join(missing)}")
    if is_without_threshold and wanted.target != UNSET:
        raise UsageError("--check: without -m the options are those of NAME's own monitor: add -m")


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
    if wanted.json and not wanted.check:
        raise UsageError("--json: is the format of a report: add --check")


def check_moments(asked: TargetSettings) -> None:
    """Refuse rules of when to ask that don't go together; UsageError."""
    hard, threshold = asked.hard_threshold, asked.threshold
    if isinstance(hard, Size) and isinstance(threshold, Size) and hard.size_bytes <= threshold.size_bytes:
        raise UsageError(f"--hard: {hard} is not above the threshold of {threshold}: use more than -m")
    if isinstance(hard, Share) and isinstance(threshold, Share) and hard.percent <= threshold.percent:
        raise UsageError(f"--hard: {hard} is not above the threshold of {threshold}: use more than -m")
    if asked.then_restart_s is not None and asked.action is Action.RESTART:
        raise UsageError("--then-restart: --restart does that at once: leave one of them out")


def check_split_values(arguments: Sequence[str]) -> None:
    """Refuse "-m 500 MiB x": a value in two words, of which the second would be a NAME; UsageError."""
    measures = _measures()
    for first, second, third in zip(arguments, arguments[1:], [*arguments[2:], ""], strict=False):
        option, equals, value = first.partition("=")
        if equals:
            name = second
        elif option[:2] in measures and option[2:]:
            option, value, name = option[:2], option[2:], second
        else:
            value, name = second, third
        parse_value = measures.get(option)
        if (
            parse_value is not None
            and name
            and not name.isdecimal()
            and _is_parsed(parse_value, f"{value} {name}")
        ):
            raise UsageError(
                f"{option}: '{value} {name}' is in two words: use '{value}{name}', or -- before a NAME"
            )


@cache
def _measures() -> dict[str, Callable[[str], object]]:
    """The options whose values have units, each with what parses one."""
    found: dict[str, Callable[[str], object]] = {}

    def add(*names: str, metavar: str = "", type: Callable[[str], object] = str, **_: object) -> None:
        if metavar in _MEASURES:
            found.update(dict.fromkeys(names, type))

    add_options(add)
    return found


def _is_parsed(parse_value: Callable[[str], object], text: str) -> bool:
    try:
        parse_value(text)
    except (UsageError, argparse.ArgumentTypeError):
        return False
    return True
