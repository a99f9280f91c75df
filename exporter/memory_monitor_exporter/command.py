"""The command memory-monitor-exporter: its arguments, its errors."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from memmon_systemd import __version__
from memmon_systemd.cli import guard_standard_descriptors
from memmon_systemd.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, StartError, UsageError
from memmon_systemd.formatting import format_seconds
from memmon_systemd.output import places
from memmon_systemd.output.standard import write_error, write_text
from memmon_systemd.parsing import parse_time
from memory_monitor_exporter.collector import MetricsPage, StateCollector
from memory_monitor_exporter.listening import passed_sockets
from memory_monitor_exporter.server import Server

COMMAND: Final = "memory-monitor-exporter"
_NEVER: Final = "infinity"
_SHORTEST_IDLE_S: Final = 1.0


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are exceptions."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.removeprefix("argument "))


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = _Parser(
        prog=COMMAND,
        description="Tells Prometheus what memory-monitor monitors, on the socket that systemd passes to it.",
        epilog="Exit status: 0 idle for long enough; 1 failed; 2 wrong usage.",
        add_help=False,
        allow_abbrev=False,
    )
    add = found.add_argument
    never = f"exit after so long without a connection; {_NEVER} (default)"
    add("--exit-idle-time", metavar="TIME", type=_idle_s, help=never)
    where = f"of the state files; {places.SYSTEM} (default)"
    add("--directory", metavar="DIR", default=places.SYSTEM, help=where)
    add("-h", "--help", action="store_true", help="print this help")
    add("--version", action="store_true", help="print the version")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    guard_standard_descriptors()
    try:
        given = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
        if given.help or given.version:
            write_text(parser().format_help() if given.help else f"{COMMAND} {__version__}\n")
        else:
            _serve(given.directory, given.exit_idle_time)
        return EXIT_OK
    except UsageError as error:
        write_error(f"{error}; see {COMMAND} --help", COMMAND)
        return EXIT_USAGE
    except (StartError, OSError) as error:
        write_error(str(error), COMMAND)
        return EXIT_FAILED


def _serve(directory: str, idle_s: float | None) -> None:
    sockets = passed_sockets(os.environ, os.getpid())
    Server(sockets, MetricsPage(StateCollector([directory], _warn)), _warn).run(idle_s)
    _warn(f"nobody has asked for {format_seconds(idle_s or 0.0)}: it ends, and the socket starts it again")


def _warn(message: str) -> None:
    write_error(message, COMMAND)


def _idle_s(text: str) -> float | None:
    try:
        return None if text == _NEVER else parse_time(text, least_s=_SHORTEST_IDLE_S)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
