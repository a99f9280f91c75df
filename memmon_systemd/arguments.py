"""The arguments: from argv to settings.

Nobody needs this once they are parsed: `cli` forgets this module, and argparse with it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from memmon_systemd import __version__, parsing
from memmon_systemd.argv import settings_of_fields
from memmon_systemd.errors import UsageError
from memmon_systemd.options import OPTIONS
from memmon_systemd.settings import Settings

T = TypeVar("T")

_DESCRIPTION = "Signals a systemd unit, or processes, when they use more memory than a threshold."
_USAGE = """\
memory-monitor -m SIZE [OPTIONS] NAME...
       memory-monitor --configured [OPTIONS]
       memory-monitor --check [-m SIZE] [OPTIONS] NAME...
       memory-monitor --check-config FILE"""
_EPILOG = """\
NAME is a unit (myapp.service, or myapp if a unit of that name is loaded), a glob of units
("worker@*.service"), or a process-name prefix. If the guess is wrong, use --as.
Exit status: 0 stopped, not above the threshold, or no problems; 1 failed; 2 wrong usage; 3 above
the threshold (--once) or problems found (--check); 4 not found (--once, --check); 129 hung up.
Example: memory-monitor -m 500 -i 3 -s SIGUSR1 example-process"""


def parse(arguments: Sequence[str]) -> Settings:
    """The settings that the arguments ask for; UsageError, and TextWanted at --help and --version."""
    return settings_of_fields(vars(_parser().parse_args(arguments)), arguments)


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
        usage=_USAGE,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        add_help=False,
        allow_abbrev=False,
        formatter_class=_help_formatter,
    )
    add = parser.add_argument
    add("-h", "--help", action=_Tell, nargs=0, dest=argparse.SUPPRESS, help="print this help and exit")
    add("names", nargs="*", metavar="NAME", type=_as_argument(parsing.parse_name), help="what to monitor")
    _add_options(parser)
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


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    for option in OPTIONS:
        if not option.flags:
            continue
        if option.metavar is None:
            add(
                *option.flags,
                dest=option.field,
                action="store_const",
                const=option.constant,
                default=option.default,
                help=option.help,
            )
        else:
            add(
                *option.flags,
                dest=option.field,
                metavar=option.metavar,
                type=_as_argument(option.parse),
                default=option.default,
                help=option.help,
            )


def _as_argument(parse_value: Callable[[str], T]) -> Callable[[str], T]:
    """A parser of values for argparse, which puts the option's name before the message."""

    def convert(text: str) -> T:
        try:
            return parse_value(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _help_formatter(prog: str) -> argparse.HelpFormatter:
    """What argparse has, told the width: to ask for that it would import shutil, bz2, lzma at every start."""
    try:
        columns = int(os.environ.get("COLUMNS", "")) or os.get_terminal_size().columns
    except (OSError, ValueError):
        columns = 80
    return argparse.RawDescriptionHelpFormatter(prog, width=max(columns, 40) - 2)
