"""The arguments: from argv to settings.

Nobody needs this once they are parsed: `cli` forgets this module, and argparse with it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Final, NoReturn, TypeVar

from memmon_systemd import __version__, parsing
from memmon_systemd.errors import UsageError
from memmon_systemd.settings import Action, KillWhom, Metric, NameKind, Settings, Share, Size, TargetSettings

T = TypeVar("T")

_DESCRIPTION = "Signals a systemd unit, or processes, when they use more memory than a threshold."
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
_EPILOG = """\
NAME is a unit (myapp.service, or myapp where a unit of that name is loaded), a glob of units
("worker@*.service"), or the first letters of a process name; --as decides where the guess is wrong.
Exit status: 0 stopped, within, or nothing found; 1 failed; 2 usage; 3 over (--once) or problems
found (--check); 4 not found (--once, --check).
Example: memory-monitor -m 500 -i 3 -s SIGUSR1 example-process"""


def parse(arguments: Sequence[str]) -> Settings:
    """The settings that the arguments ask for; UsageError, and TextWanted at --help and --version."""
    given = vars(_parser().parse_args(arguments))
    _check_split_values(arguments)
    verbosity = int(given.pop("verbose")) - int(given.pop("quiet"))
    names = tuple(given.pop("names"))
    of_target = {field.name: given.pop(field.name) for field in fields(TargetSettings)}
    wanted = Settings(names, TargetSettings(**of_target), **given, verbosity=verbosity)
    _check_modes(wanted)
    _check_moments(wanted.target)
    return wanted


def _check_moments(asked: TargetSettings) -> None:
    """Refuse rules of when to ask that don't go together; UsageError."""
    hard, threshold = asked.hard_threshold, asked.threshold
    if isinstance(hard, Size) and isinstance(threshold, Size) and hard.size_bytes <= threshold.size_bytes:
        raise UsageError(f"--hard: {hard} is not above the threshold of {threshold}: use more than -m")
    if isinstance(hard, Share) and isinstance(threshold, Share) and hard.percent <= threshold.percent:
        raise UsageError(f"--hard: {hard} is not above the threshold of {threshold}: use more than -m")
    if asked.then_restart_s is not None and asked.action is Action.RESTART:
        raise UsageError("--then-restart: --restart does that at once: leave one of them out")


def _check_split_values(arguments: Sequence[str]) -> None:
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


def _check_modes(wanted: Settings) -> None:
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
            raise UsageError(f"--check: acts on nothing and ends by itself: leave {option} out")
    if wanted.once and wanted.until_stopped:
        raise UsageError("--once: ends after one look: leave --until-stopped out")
    if wanted.json and not wanted.check:
        raise UsageError("--json: is the form of a report: add --check")


class TextWanted(Exception):  # noqa: N818 - no error
    """What the arguments ask for is this text: that of --help, or of --version."""


class _Tell(argparse.Action):
    """Asks for the text that it has, or for the help. argparse would lose what can't be printed."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        raise TextWanted(self.const or parser.format_help())


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are exceptions."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.removeprefix("argument "))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="memory-monitor",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        add_help=False,
        allow_abbrev=False,
        formatter_class=_help_formatter,
    )
    add = parser.add_argument
    add("-h", "--help", action=_Tell, nargs=0, dest=argparse.SUPPRESS, help="print this help and exit")
    add("names", nargs="+", metavar="NAME", type=_as(parsing.parse_name), help="what to monitor")
    add(
        "-m",
        "--max-memory",
        dest="threshold",
        metavar="SIZE",
        required=True,
        type=_as(parsing.parse_threshold),
        help="the threshold: MiB (500), a suffix (1.5G, 512MiB), or a share of the unit's own limit (80%%)",
    )
    add(
        "-i",
        "--interval",
        dest="interval_s",
        metavar="TIME",
        default=2.0,
        type=_as(parsing.parse_interval),
        help="the longest time between two looks: seconds, or a time span (500ms, 1min); default 2",
    )
    add(
        "-s",
        "--signal",
        dest="signal_number",
        metavar="SIGNAL",
        type=_as(parsing.parse_signal_or_auto),
        help="SIGTERM, USR1, 15, SIGRTMIN+3, or the one that systemd would restart the unit with and SIGTERM"
        " for a process; default: auto",
    )
    add(
        "--metric",
        metavar="M",
        type=_one_of(Metric),
        help="units: unreclaimable (default), current, working-set, anon; processes: rss (default), pss",
    )
    add("--swap", action="store_true", help="count swap too")
    add(
        "--growth",
        dest="growth_bytes_per_s",
        metavar="RATE",
        type=_as(parsing.parse_rate),
        help="the fastest growth to catch within 50 ms, per second (1G); default: the limit in an interval",
    )
    add(
        "--for",
        dest="for_s",
        metavar="TIME",
        default=0.0,
        type=_as(parsing.parse_time),
        help="over the threshold for this long before acting; default 0",
    )
    add(
        "--hard",
        dest="hard_threshold",
        metavar="SIZE",
        type=_as(parsing.parse_threshold),
        help="a second threshold, above which --for, --min-age and --at-most don't hold; default: none",
    )
    add(
        "--min-age",
        dest="min_age_s",
        metavar="TIME",
        default=0.0,
        type=_as(parsing.parse_time),
        help="the age from which an invocation, or a process, is asked; default 0",
    )
    add(
        "--budget",
        metavar="N/TIME",
        type=_as(parsing.parse_budget),
        help="how many invocations of a unit are asked at most within a time; default: 10/1h, or infinity for"
        " processes",
    )
    add(
        "--at-most",
        metavar="N",
        type=_as(parsing.parse_count),
        help="how many units of a NAME or template may be down at a time; default: no bound",
    )
    add(
        "--repeat",
        dest="repeat_s",
        metavar="TIME",
        type=_as(parsing.parse_repeat),
        help="while it stays above the threshold, ask again this often, or never (infinity); default:"
        " TimeoutStopSec of the unit, or the interval for a process",
    )
    add(
        "--then-restart",
        dest="then_restart_s",
        metavar="TIME",
        type=_as(parsing.parse_interval),
        help="have systemd restart a unit that still runs this long after the first request; default: off",
    )
    add(
        "--kill-whom",
        metavar="W",
        type=_one_of(KillWhom),
        help="main, control or all, as in systemctl kill; default main, or all without a main process",
    )
    add(
        "--restart",
        dest="action",
        action="store_const",
        const=Action.RESTART,
        default=Action.SIGNAL,
        help="ask systemd to restart the unit instead of signalling it",
    )
    add(
        "--reload",
        dest="action",
        action="store_const",
        const=Action.RELOAD,
        help="ask systemd to reload the unit instead of signalling it",
    )
    add("--user", action="store_true", help="the user's service manager instead of the system's")
    add(
        "--as",
        dest="name_kind",
        metavar="KIND",
        default=NameKind.AUTO,
        type=_one_of(NameKind),
        help="what NAME is: auto (default), unit, process, or owner (the units that own such processes)",
    )
    add(
        "-n",
        "--dry-run",
        action="store_true",
        help="do everything but act; say what would have been done",
    )
    add(
        "--once",
        action="store_true",
        help="look once, act if over, exit: 0 within, 3 over, 4 not found",
    )
    add(
        "--until-stopped",
        action="store_true",
        help="end with status 0 when the unit has stopped for good",
    )
    add(
        "--check",
        action="store_true",
        help="say what is wrong with the target and these options, act on nothing, exit: 0 nothing, 3"
        " errors or warnings, 4 not found",
    )
    add("--json", action="store_true", help="with --check: the report as JSON")
    add("-v", "--verbose", action="store_true", help="say every reading")
    add("-q", "--quiet", action="store_true", help="say only actions and errors")
    version = f"memory-monitor {__version__}\n"
    add(
        "--version",
        action=_Tell,
        nargs=0,
        dest=argparse.SUPPRESS,
        const=version,
        help="print the version and exit",
    )
    return parser


def _help_formatter(prog: str) -> argparse.HelpFormatter:
    """What argparse has, told the width: to ask for that it would import shutil, bz2, lzma at every start."""
    try:
        columns = int(os.environ.get("COLUMNS", "")) or os.get_terminal_size().columns
    except (OSError, ValueError):
        columns = 80
    return argparse.RawDescriptionHelpFormatter(prog, width=max(columns, 40) - 2)


def _as(parse_value: Callable[[str], T]) -> Callable[[str], T]:
    """A parser of values for argparse, which puts the option's name before the message."""

    def convert(text: str) -> T:
        try:
            return parse_value(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _one_of(choices: type[T]) -> Callable[[str], T]:
    def convert(text: str) -> T:
        try:
            return choices(text)  # type: ignore[call-arg]  # every enum here is made from its value
        except ValueError:
            works = ", ".join(choice.value for choice in choices)  # type: ignore[attr-defined]
            raise argparse.ArgumentTypeError(f"'{text}' is none of {works}") from None

    return convert
