"""The command line: arguments to settings, errors to one line and an exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from memmon_systemd.errors import EXIT_FAILED, EXIT_HUNG_UP, EXIT_OK, EXIT_USAGE, StartError, UsageError
from memmon_systemd.imports import forget
from memmon_systemd.output.standard import write_error, write_text
from memmon_systemd.settings import Settings

_PARSERS_MODULES = (
    "memmon_systemd.arguments",
    "memmon_systemd.argv",
    "memmon_systemd.argument_rules",
    "memmon_systemd.options",
    "memmon_systemd.parsing",
    "argparse",
    "gettext",
    "locale",
)


def guard_standard_descriptors() -> None:
    """Opens /dev/null on each of descriptors 0, 1 and 2 that is closed (as after `2>&-`).

    Otherwise the next file to be opened would get that number, and the log lines with it. To be
    called before anything else is opened. OSError if there is no /dev/null.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    _end_at_once_on_signals()
    guard_standard_descriptors()
    try:
        settings = _parsed(sys.argv[1:] if arguments is None else arguments)
    except UsageError as error:
        return _fail(f"{error}; see memory-monitor --help", EXIT_USAGE)
    if isinstance(settings, str):
        return _tell(settings)
    if settings.is_report or settings.once:
        _die_of_signals()
    try:
        # Imported here: what these take is what the parser has given back.
        from memmon_systemd.app import run

        return run(settings, os.environ)
    except UsageError as error:
        return _fail(str(error), EXIT_USAGE)
    except (StartError, OSError, ImportError) as error:  # A library that can't be mapped is an ImportError.
        return _fail(str(error), EXIT_FAILED)
    except MemoryError:
        return _fail(
            "not enough memory to start: raise LimitAS=, LimitDATA= or LimitSTACK=",
            EXIT_FAILED,
        )


def _parsed(arguments: Sequence[str]) -> Settings | str:
    """The settings, or what --help or --version ask for; UsageError."""
    from memmon_systemd.argv import settings_of_words

    try:
        settings = settings_of_words(arguments)
    except UsageError:
        # What is wrong is said as every program says it, by argparse, which has the help, too.
        from memmon_systemd.arguments import TextWanted, parse

        try:
            settings = parse(arguments)
        except TextWanted as wanted:
            return str(wanted)
    forget(_PARSERS_MODULES)
    return settings


def _tell(text: str) -> int:
    _die_of_signals()
    try:
        write_text(text)
    except OSError as error:
        return _fail(str(error), EXIT_FAILED)
    return EXIT_OK


def _end_at_once_on_signals() -> None:
    """While it starts there is nothing to wind up."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(EXIT_OK)

    def hang_up(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(_fail("ended by SIGHUP", EXIT_HUNG_UP))

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # As it is after nohup(1).
        signal.signal(signal.SIGHUP, hang_up)
    # A line that a background job writes to a terminal under `stty tostop` would stop the monitor.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)


def _die_of_signals() -> None:
    """Where the exit status is an answer, an end by a signal must not be 0, which says that all is well."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _fail(message: str, status: int) -> int:
    write_error(message)
    return status
