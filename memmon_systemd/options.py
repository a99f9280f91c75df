"""All that can be set, in one table: by an option of the command, by a key of a unit's section, or by both.

argparse's options and --help are made of it, and the section is read by it; tests compare it with the manual
pages and the completions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from memmon_systemd import parsing
from memmon_systemd.errors import UsageError
from memmon_systemd.settings import Action, KillWhom, Metric, NameKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What sets one field of the settings."""

    field: str
    """Of TargetSettings or Settings, or what `arguments` makes one of."""
    flags: tuple[str, ...] = ()
    """On the command line; none where only a unit's section has it."""
    key: str | None = None
    """In a unit's section; None where only the command has it."""
    metavar: str | None = None
    """What --help shows for the value; None where the option takes none, and the key a boolean."""
    parse: Callable[[str], object] = parsing.parse_boolean
    """From what a user writes to the value of the field; UsageError."""
    default: object = None
    is_required: bool = False
    """Whether there is no default: a unit's section without the key doesn't count."""
    constant: object = True
    """The value of the field where an option is given that takes none."""
    choices: tuple[str, ...] = ()
    """All values, where they are words."""
    help: str = ""
    """%% is a percent sign, as in argparse."""


def _one_of(choices: type[StrEnum]) -> Callable[[str], StrEnum]:
    def convert(text: str) -> StrEnum:
        try:
            return choices(text)
        except ValueError:
            raise UsageError(f"{parsing.quoted(text)} is not one of {', '.join(choices)}") from None

    return convert


_MEASURED: Final = (
    Option(
        field="threshold",
        flags=("-m", "--max-memory"),
        key="Threshold",
        metavar="SIZE",
        parse=parsing.parse_threshold,
        is_required=True,
        help="the threshold: MiB (500), a suffix (1.5G, 512MiB), or a share of the memory limit (80%%);"
        " default: none; required without --configured, with --check that of NAME's section or own monitor",
    ),
    Option(
        field="interval_s",
        flags=("-i", "--interval"),
        key="Interval",
        metavar="TIME",
        parse=parsing.parse_interval,
        default=2.0,
        help="polling interval: seconds, or a time span (500ms, 1min); default 2",
    ),
    Option(
        field="signal_number",
        flags=("-s", "--signal"),
        key="Signal",
        metavar="SIGNAL",
        parse=parsing.parse_signal_or_auto,
        help="SIGTERM, USR1, 15, SIGRTMIN+3, or the one that systemd would restart the unit with and SIGTERM"
        " for a process; default: auto",
    ),
    Option(
        field="metric",
        flags=("--metric",),
        key="Metric",
        metavar="M",
        parse=_one_of(Metric),
        choices=tuple(Metric),
        help="units: unreclaimable (default), current, working-set, anon; processes: rss (default), pss",
    ),
    Option(field="swap", flags=("--swap",), key="Swap", default=False, help="count swap too"),
    Option(
        field="growth_bytes_per_s",
        flags=("--growth",),
        key="Growth",
        metavar="RATE",
        parse=parsing.parse_rate,
        help="the fastest growth to catch within 50 ms, per second (1G); default: threshold / interval",
    ),
)

_WHEN: Final = (
    Option(
        field="for_s",
        flags=("--for",),
        key="For",
        metavar="TIME",
        parse=parsing.parse_time,
        default=0.0,
        help="how long it must stay above the threshold before it is signalled; default 0",
    ),
    Option(
        field="hard_threshold",
        flags=("--hard",),
        key="HardThreshold",
        metavar="SIZE",
        parse=parsing.parse_threshold,
        help="a second threshold, above which --for, --min-age, --at-most and --condition-unit don't hold;"
        " default: none",
    ),
    Option(
        field="min_age_s",
        flags=("--min-age",),
        key="MinAge",
        metavar="TIME",
        parse=parsing.parse_time,
        default=0.0,
        help="the age from which an invocation, or a process, is asked; default 0",
    ),
    Option(
        field="budget",
        flags=("--budget",),
        key="Budget",
        metavar="N/TIME",
        parse=parsing.parse_budget,
        help="how many invocations of a unit are asked at most within a time; default: 10/1h, or infinity for"
        " processes",
    ),
    Option(
        field="at_most",
        flags=("--at-most",),
        key="AtMost",
        metavar="N",
        parse=parsing.parse_count,
        help="how many units of a NAME or template may be down at a time; default: no bound",
    ),
    Option(
        field="condition_unit",
        flags=("--condition-unit",),
        key="ConditionUnit",
        metavar="UNIT",
        parse=parsing.parse_hook,
        help="start this oneshot service first, and ask only if it succeeds; default: none",
    ),
    Option(
        field="condition_timeout_s",
        flags=("--condition-timeout",),
        key="ConditionTimeout",
        metavar="TIME",
        parse=parsing.parse_interval,
        default=30.0,
        help="how long that service may take; default 30",
    ),
    Option(
        field="repeat_s",
        flags=("--repeat",),
        key="Repeat",
        metavar="TIME",
        parse=parsing.parse_repeat,
        help="while it stays above the threshold, ask again this often, or never (infinity); default:"
        " TimeoutStopSec of the unit, or the interval for a process",
    ),
)

_HOW: Final = (
    Option(
        field="then_restart_s",
        flags=("--then-restart",),
        key="ThenRestart",
        metavar="TIME",
        parse=parsing.parse_interval,
        help="have systemd restart a unit that still runs this long after the first request; default: off",
    ),
    Option(
        field="on_request",
        flags=("--on-request",),
        key="OnRequest",
        metavar="UNIT",
        parse=parsing.parse_hook,
        help="start this service at each request, without waiting for it; default: none",
    ),
    Option(
        field="kill_whom",
        flags=("--kill-whom",),
        key="KillWhom",
        metavar="W",
        parse=_one_of(KillWhom),
        choices=tuple(KillWhom),
        help="which processes: main, control or all, as in systemctl kill; default: main, or all if the unit"
        " never had a main process",
    ),
    Option(
        field="action",
        key="Action",
        metavar="A",
        parse=_one_of(Action),
        default=Action.SIGNAL,
        choices=tuple(Action),
    ),
    Option(
        field="action",
        flags=("--restart",),
        constant=Action.RESTART,
        default=Action.SIGNAL,
        help="ask systemd to restart the unit instead of signalling it",
    ),
    Option(
        field="action",
        flags=("--reload",),
        constant=Action.RELOAD,
        default=Action.SIGNAL,
        help="ask systemd to reload the unit instead of signalling it",
    ),
)

_MODES: Final = (
    Option(
        field="configured",
        flags=("--configured",),
        default=False,
        help="monitor every unit with a section [X-MemoryMonitor] in its files instead of a NAME; options are"
        " defaults for what a section doesn't set",
    ),
    Option(
        field="user",
        flags=("--user",),
        default=False,
        help="the user's service manager instead of the system's",
    ),
    Option(
        field="name_kind",
        flags=("--as",),
        metavar="KIND",
        parse=_one_of(NameKind),
        default=NameKind.AUTO,
        choices=tuple(NameKind),
        help="what NAME is: auto (default), unit, process, or owner (the units that own such processes)",
    ),
    Option(
        field="dry_run",
        flags=("-n", "--dry-run"),
        key="DryRun",
        default=False,
        help="log what would be done, but do nothing",
    ),
    Option(
        field="once",
        flags=("--once",),
        default=False,
        help="poll once, signal what is above the threshold, exit: 0 not above, 3 above, 4 not found",
    ),
    Option(
        field="until_stopped",
        flags=("--until-stopped",),
        default=False,
        help="exit with status 0 when the unit was running and has stopped for good",
    ),
    Option(
        field="check",
        flags=("--check",),
        default=False,
        help="check the target and these options, report problems, exit: 0 none, 3 errors or warnings, 4 not"
        " found; change nothing",
    ),
    Option(
        field="check_config",
        flags=("--check-config",),
        metavar="FILE",
        parse=str,
        help="check a settings file of memory-monitor@.service, or a file with a section [X-MemoryMonitor],"
        " exit: 0 it can be used, 2 it can't; default: none",
    ),
    Option(field="json", flags=("--json",), default=False, help="with --check: the report as JSON"),
    Option(field="verbose", flags=("-v", "--verbose"), default=False, help="log every reading"),
    Option(field="quiet", flags=("-q", "--quiet"), default=False, help="log only requests and errors"),
)

OPTIONS: Final = (*_MEASURED, *_WHEN, *_HOW, *_MODES)
"""In the order of --help."""
KEYS: Final = {option.key: option for option in OPTIONS if option.key is not None}
