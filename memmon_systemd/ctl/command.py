"""The command memmonctl: its arguments, its errors."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from memmon_systemd import __version__
from memmon_systemd.cli import guard_standard_descriptors
from memmon_systemd.ctl import check, history, list_targets, metrics, pause, status, suggest, top
from memmon_systemd.ctl.call import Call, CallError
from memmon_systemd.ctl.words import Terminal
from memmon_systemd.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, StartError, UsageError
from memmon_systemd.linux.time_namespace import check_clocks
from memmon_systemd.output import places
from memmon_systemd.output.standard import write_error, write_text
from memmon_systemd.parsing import parse_count, parse_time

COMMAND: Final = "memmonctl"
_EPILOG: Final = """\
Exit status: 0 done; 1 failed; 2 wrong usage; 3 no monitor is running, or check has found problems;
4 not monitored.
Example: memmonctl pause myapp 1h"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are exceptions."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.removeprefix("argument "))


class _Help(argparse.Action):
    """Prints by our own way: argparse's loses what can't be written."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        write_text(self.const or parser.format_help())
        raise SystemExit(EXIT_OK)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    for number in (signal.SIGPIPE, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # As of any program: `memmonctl | head` ends without a word.
    guard_standard_descriptors()
    try:
        return _run(parser().parse_args(sys.argv[1:] if arguments is None else arguments))
    except UsageError as error:
        return _fail(f"{error}; see {COMMAND} --help", EXIT_USAGE)
    except CallError as error:
        return _fail(str(error), error.status)
    except (StartError, OSError) as error:
        return _fail(str(error), EXIT_FAILED)


def _run(given: argparse.Namespace) -> int:
    check_clocks()
    call = Call(os.environ, _directories(given), given.json, Terminal.of(os.environ), _managers(given))
    verbs: dict[str, Callable[[], int]] = {
        "list": lambda: list_targets.run(call),
        "top": lambda: top.run(call),
        "status": lambda: status.run(call, given.name, given.plot),
        "suggest": lambda: suggest.run(call, given.name, given.plot),
        "history": lambda: history.run(
            call, given.name or given.unit, given.since, given.until, given.lines, is_users=given.user
        ),
        "check": lambda: check.run(call, given.names),
        "pause": lambda: pause.pause(call, *_pause_words(given)),
        "resume": lambda: pause.resume(call, _resume_word(given)),
        "metrics": lambda: metrics.run(call, given.textfile),
    }
    return verbs[given.verb or "list"]()


def parser() -> argparse.ArgumentParser:
    """The verbs and their options."""
    top = _Parser(
        prog=COMMAND,
        description="Shows what memory-monitor monitors, and pauses it.",
        epilog=_EPILOG,
        add_help=False,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_common(top, is_top=True)
    version = f"{COMMAND} {__version__}\n"
    top.add_argument(
        "--version", action=_Help, nargs=0, dest=argparse.SUPPRESS, const=version, help="print the version"
    )
    verbs = top.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text, add_help=False, allow_abbrev=False)
        _add_common(added, is_top=False)
        return added

    verb("list", "all that is monitored, the nearest to its threshold first (default)")
    verb("top", "the same, drawn again each second; q quits")
    _add_one(verb("status", "one unit: settings, readings by every metric, last requests"))
    _add_history(verb("history", "when units were asked, and what became of it"))
    verb("check", "memory-monitor --check with the settings of the running monitors").add_argument(
        "names", metavar="NAME", nargs="*"
    )
    _add_one(verb("suggest", "a threshold for a unit, why, and what to write in its file"))
    for name, text in (
        ("pause", "ask nothing of a unit for a time, or until it is resumed"),
        ("resume", "end a pause"),
    ):
        added = verb(name, text)
        added.add_argument("words", nargs="*", metavar="NAME [TIME]" if name == "pause" else "NAME")
        added.add_argument("--all", action="store_true", help="everything that is monitored")
    _add_textfile(verb("metrics", "OpenMetrics text, for Prometheus"))
    return top


def _add_common(to: argparse.ArgumentParser, *, is_top: bool) -> None:
    """Options that may stand before or behind the verb."""
    default = False if is_top else argparse.SUPPRESS
    add = to.add_argument
    add("-h", "--help", action=_Help, nargs=0, dest=argparse.SUPPRESS, help="print this help")
    add("--json", action="store_true", default=default, help="the answer as one JSON object")
    add("--user", action="store_true", default=default, help="only monitors of this user")
    add("--system", action="store_true", default=default, help="only monitors of the system")
    add(
        "--directory",
        metavar="DIR",
        default=None if is_top else argparse.SUPPRESS,
        help="read the state files of another directory",
    )


def _add_one(to: argparse.ArgumentParser) -> None:
    to.add_argument("name", metavar="NAME")
    to.add_argument("--plot", metavar="FILE", help="draw its chart in a file, such as x.svg")


def _add_textfile(to: argparse.ArgumentParser) -> None:
    text = "write a file for node_exporter's textfile collector instead"
    to.add_argument("--textfile", metavar="FILE", help=text)


def _add_history(history: argparse.ArgumentParser) -> None:
    add = history.add_argument
    add("name", metavar="NAME", nargs="?")
    add("-u", "--unit", metavar="NAME", help="the same as NAME")
    add("--since", metavar="TIME", help="from then on, as in journalctl(1)")
    add("--until", metavar="TIME", help="up to then")
    add("-n", "--lines", metavar="N", type=_count, help="only the last N requests")


def _count(text: str) -> int:
    try:
        return parse_count(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _directories(given: argparse.Namespace) -> list[str]:
    if given.directory is not None:
        return [given.directory]
    users = places.users_directory(os.environ)
    if given.user:
        if users is None:
            raise UsageError("--user: XDG_RUNTIME_DIR isn't set: log in as that user")
        return [users]
    return [places.SYSTEM] if given.system or users is None else [places.SYSTEM, users]


def _managers(given: argparse.Namespace) -> list[bool]:
    if given.directory is not None:
        return []
    users = f"{os.environ.get('XDG_RUNTIME_DIR', '')}/systemd/private"
    system = not given.user and os.path.isdir("/run/systemd/system")
    return [False] * system + [True] * (not given.system and os.path.exists(users))


def _pause_words(given: argparse.Namespace) -> tuple[str, float | None]:
    words = [pause.ALL, *given.words] if given.all else list(given.words)
    if not 1 <= len(words) <= 2:
        raise UsageError("pause takes a NAME (or --all) and a TIME, or no TIME: memmonctl pause myapp 1h")
    return words[0], parse_time(words[1], least_s=1.0) if len(words) == 2 else None


def _resume_word(given: argparse.Namespace) -> str:
    words = [pause.ALL, *given.words] if given.all else list(given.words)
    if len(words) != 1:
        raise UsageError("resume takes a NAME, or --all: memmonctl resume myapp")
    return str(words[0])


def _fail(message: str, status: int) -> int:
    write_error(message, COMMAND)
    return status


if __name__ == "__main__":
    sys.exit(main())
