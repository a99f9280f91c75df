"""Arguments read without argparse, by a monitor that runs; and what is made of those that were read.

argparse takes 1.1 MB, and memory from the system: `arguments` has it for the start, and the tests hold both
against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Final

from memmon_systemd import parsing
from memmon_systemd.argument_rules import check_modes, check_moments, check_required, check_split_values
from memmon_systemd.errors import UsageError
from memmon_systemd.options import OPTIONS, Option
from memmon_systemd.settings import UNSET, Settings, TargetSettings

_COMMAND: Final = "memory-monitor"
_BY_FLAG: Final = {flag: option for option in OPTIONS for flag in option.flags}


def settings_of_words(words: Sequence[str]) -> Settings:
    """The settings that the arguments ask for; UsageError, at --help and --version too."""
    # Any: a field has the type that the parser of its option gives.
    given: dict[str, Any] = {option.field: option.default for option in OPTIONS if option.flags}
    names: list[str] = []
    left = list(reversed(words))
    while left:
        word = left.pop()
        if word == "--":
            names += reversed(left)
            break
        if word.startswith("-") and word != "-":
            _take_option(word, left, given)
        else:
            names.append(word)
    return settings_of_fields(given | {"names": [_named(name) for name in names]}, words)


def settings_of_fields(given: dict[str, Any], words: Sequence[str]) -> Settings:
    """What was given, by field, as settings, if it goes together; `words` are the arguments. UsageError."""
    verbosity = int(given.pop("verbose")) - int(given.pop("quiet"))
    names = tuple(given.pop("names"))
    of_target = {field.name: given.pop(field.name) for field in fields(TargetSettings)}
    is_without = of_target["threshold"] is None
    if is_without:
        of_target["threshold"] = UNSET.threshold
    wanted = Settings(names, TargetSettings(**of_target), **given, verbosity=verbosity)
    check_required(wanted, is_without_threshold=is_without)
    check_split_values(words)
    wanted = replace(wanted, by_monitors_settings=is_without and wanted.check)
    check_modes(wanted)
    check_moments(wanted.target)
    return wanted


def arguments_of(words: Sequence[str]) -> Sequence[str] | None:
    """The arguments in a command line of memory-monitor; None where it is another program's."""
    for place, word in enumerate(words[:4]):
        is_module = words[max(place - 1, 0) : place + 1] == ["-m", "memmon_systemd"]
        if word.rpartition("/")[2] == _COMMAND or is_module:
            return words[place + 1 :]
    return None


def _take_option(word: str, left: list[str], given: dict[str, Any]) -> None:
    """One word that begins with a dash, and its value, which may be the next of those `left`."""
    flag, equals, value = word.partition("=")
    if flag not in _BY_FLAG and not word.startswith("--"):
        flag, equals, value = word[:2], word[2:], word[2:].removeprefix("=")
    option = _BY_FLAG.get(flag)
    if option is None:
        raise UsageError(f"unrecognized arguments: {word}")
    shown = "/".join(option.flags)
    if option.metavar is None:
        given[option.field] = option.constant
        if equals and (word.startswith("--") or equals == "="):
            raise UsageError(f"{shown}: ignored explicit argument {value!r}")
        if equals:  # "-nv": the next one in the same word.
            _take_option(f"-{value}", left, given)
        return
    if not equals:
        if not left or (left[-1].startswith("-") and left[-1] != "-"):
            raise UsageError(f"{shown}: expected one argument")
        value = left.pop()
    given[option.field] = _parsed(option, shown, value)


def _parsed(option: Option, shown: str, value: str) -> object:
    try:
        return option.parse(value)
    except UsageError as error:
        raise UsageError(f"{shown}: {error}") from None


def _named(name: str) -> str:
    try:
        return parsing.parse_name(name)
    except UsageError as error:
        raise UsageError(f"NAME: {error}") from None
