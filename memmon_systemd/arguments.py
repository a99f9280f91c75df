"""The arguments: from argv to settings.

Nobody needs this once they are parsed: `cli` forgets this module, and argparse with it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import NoReturn, TypeVar

from memmon_systemd import __version__, parsing
from memmon_systemd.argument_rules import check_modes, check_moments, check_split_values
from memmon_systemd.errors import UsageError
from memmon_systemd.settings import Action, KillWhom, Metric, NameKind, Settings, TargetSettings

T = TypeVar("T")

_DESCRIPTION = "Signals a systemd unit, or processes, when they use more memory than a threshold."
_EPILOG = """\
NAME is a unit (myapp.service, or myapp if a unit of that name is loaded), a glob of units
("worker@*.service"), or a process-name prefix. If the guess is wrong, use --as.
Exit status: 0 stopped, not above the threshold, or no problems; 1 failed; 2 wrong usage; 3 above
the threshold (--once) or problems found (--check); 4 not found (--once, --check); 129 hung up.
Example: memory-monitor -m 500 -i 3 -s SIGUSR1 example-process"""


def parse(arguments: Sequence[str]) -> Settings:
    """The settings that the arguments ask for; UsageError, and TextWanted at --help and --version."""
    given = vars(_parser().parse_args(arguments))
    check_split_values(arguments)
    verbosity = int(given.pop("verbose")) - int(given.pop("quiet"))
    names = tuple(given.pop("names"))
    of_target = {field.name: given.pop(field.name) for field in fields(TargetSettings)}
    wanted = Settings(names, TargetSettings(**of_target), **given, verbosity=verbosity)
    check_modes(wanted)
    check_moments(wanted.target)
    return wanted


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
        help="the threshold: MiB (500), a suffix (1.5G, 512MiB), or a share of the memory limit (80%%)",
    )
    add(
        "-i",
        "--interval",
        dest="interval_s",
        metavar="TIME",
        default=2.0,
        type=_as(parsing.parse_interval),
        help="polling interval: seconds, or a time span (500ms, 1min); default 2",
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
        help="the fastest growth to catch within 50 ms, per second (1G); default: threshold / interval",
    )
    add(
        "--for",
        dest="for_s",
        metavar="TIME",
        default=0.0,
        type=_as(parsing.parse_time),
        help="how long it must stay above the threshold before it is signalled; default 0",
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
        help="which processes: main, control or all, as in systemctl kill; default: the main process, or all"
        " if there never was one",
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
        help="log what would be done, but do nothing",
    )
    add(
        "--once",
        action="store_true",
        help="poll once, signal what is above the threshold, exit: 0 not above, 3 above, 4 not found",
    )
    add(
        "--until-stopped",
        action="store_true",
        help="exit with status 0 when the unit was running and has stopped for good",
    )
    add(
        "--check",
        action="store_true",
        help="check the target and these options, report problems, exit: 0 none, 3 errors or warnings, 4 not"
        " found; change nothing",
    )
    add("--json", action="store_true", help="with --check: the report as JSON")
    add("-v", "--verbose", action="store_true", help="log every reading")
    add("-q", "--quiet", action="store_true", help="log only requests and errors")
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
            raise argparse.ArgumentTypeError(f"'{text}' is not one of {works}") from None

    return convert
