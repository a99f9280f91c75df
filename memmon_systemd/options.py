"""The options, one by one: their values, defaults and help; forgotten once they are parsed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from memmon_systemd import parsing
from memmon_systemd.errors import UsageError
from memmon_systemd.settings import Action, KillWhom, Metric, NameKind

T = TypeVar("T")
_Add = Callable[..., object]


def add_options(add: _Add) -> None:
    """Add them all but --help and --version, in the order of --help."""
    _add_what_is_measured(add)
    _add_when_it_asks(add)
    _add_how_it_asks(add)
    _add_modes(add)


def _add_what_is_measured(add: _Add) -> None:
    add(
        "-m",
        "--max-memory",
        dest="threshold",
        metavar="SIZE",
        type=as_argument(parsing.parse_threshold),
        help="the threshold: MiB (500), a suffix (1.5G, 512MiB), or a share of the memory limit (80%%);"
        " default: none, but with --check that of NAME's own monitor",
    )
    add(
        "-i",
        "--interval",
        dest="interval_s",
        metavar="TIME",
        default=2.0,
        type=as_argument(parsing.parse_interval),
        help="polling interval: seconds, or a time span (500ms, 1min); default 2",
    )
    add(
        "-s",
        "--signal",
        dest="signal_number",
        metavar="SIGNAL",
        type=as_argument(parsing.parse_signal_or_auto),
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
        type=as_argument(parsing.parse_rate),
        help="the fastest growth to catch within 50 ms, per second (1G); default: threshold / interval",
    )


def _add_when_it_asks(add: _Add) -> None:
    add(
        "--for",
        dest="for_s",
        metavar="TIME",
        default=0.0,
        type=as_argument(parsing.parse_time),
        help="how long it must stay above the threshold before it is signalled; default 0",
    )
    add(
        "--hard",
        dest="hard_threshold",
        metavar="SIZE",
        type=as_argument(parsing.parse_threshold),
        help="a second threshold, above which --for, --min-age and --at-most don't hold; default: none",
    )
    add(
        "--min-age",
        dest="min_age_s",
        metavar="TIME",
        default=0.0,
        type=as_argument(parsing.parse_time),
        help="the age from which an invocation, or a process, is asked; default 0",
    )
    add(
        "--budget",
        metavar="N/TIME",
        type=as_argument(parsing.parse_budget),
        help="how many invocations of a unit are asked at most within a time; default: 10/1h, or infinity for"
        " processes",
    )
    add(
        "--at-most",
        metavar="N",
        type=as_argument(parsing.parse_count),
        help="how many units of a NAME or template may be down at a time; default: no bound",
    )
    add(
        "--repeat",
        dest="repeat_s",
        metavar="TIME",
        type=as_argument(parsing.parse_repeat),
        help="while it stays above the threshold, ask again this often, or never (infinity); default:"
        " TimeoutStopSec of the unit, or the interval for a process",
    )


def _add_how_it_asks(add: _Add) -> None:
    add(
        "--then-restart",
        dest="then_restart_s",
        metavar="TIME",
        type=as_argument(parsing.parse_interval),
        help="have systemd restart a unit that still runs this long after the first request; default: off",
    )
    add(
        "--kill-whom",
        metavar="W",
        type=_one_of(KillWhom),
        help="which processes: main, control or all, as in systemctl kill; default: main, or all if the unit"
        " never had a main process",
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


def _add_modes(add: _Add) -> None:
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
    add(
        "--check-config",
        metavar="FILE",
        help="check a settings file of memory-monitor@.service, exit: 0 it can be used, 2 it can't; default:"
        " none",
    )
    add("--json", action="store_true", help="with --check: the report as JSON")
    add("-v", "--verbose", action="store_true", help="log every reading")
    add("-q", "--quiet", action="store_true", help="log only requests and errors")


def as_argument(parse_value: Callable[[str], T]) -> Callable[[str], T]:
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
