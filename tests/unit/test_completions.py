"""What Tab completes, pressed in bash and in zsh."""

import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memmon_systemd.arguments import _parser
from memmon_systemd.options import OPTIONS as TABLE

COMPLETIONS = Path(__file__).parents[2] / "completions"
# By a private name: argparse has no public list of its options.
OPTIONS = {option: action for action in _parser()._actions for option in action.option_strings}

# Functions of the shell: the command says what it was given, and the two that the completions ask answer.
COMMON = r"""
memory-monitor() { printf '<%s>\n' "$*"; }
systemctl() { printf '%s loaded active running\n' "seen$1@1.service" my-app.service 'odd\x2dname.service'; }
ps() { printf '%s\n' prog1 prog1; }
"""
SET_UP = {
    "bash": f". {COMPLETIONS}/bash/memory-monitor\n",
    "zsh": f"fpath=({COMPLETIONS}/zsh $fpath); autoload -U compinit; compinit -u -D\n",
}
PROMPT = "next: "
ARGUMENTS = {"bash": ("--norc", "--noprofile", "-i"), "zsh": ("-f", "-i")}
DEADLINE_S = 30.0


class Shell:
    """A shell in a terminal of its own."""

    def __init__(self, name: str, directory: Path) -> None:
        """Starts it; it has read the completions when made."""
        set_up = directory / "set-up"
        set_up.write_text(f"{COMMON}{SET_UP[name]}echo '<set up>'\n")
        self.terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            (name, *ARGUMENTS[name]),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | {"TERM": "dumb", "PS1": PROMPT, "HISTFILE": ""},
            start_new_session=True,
        )
        os.close(theirs)
        self._run(f". {set_up}")

    def complete(self, typed: str) -> str:
        """The arguments that the command gets after Tab."""
        return self._run(f"memory-monitor {typed}\t")

    def end(self) -> None:
        """Takes its terminal away."""
        os.close(self.terminal)
        self.process.kill()
        self.process.wait()

    def _run(self, line: str) -> str:
        """Types a line; what was written in <> before the next prompt."""
        os.write(self.terminal, f"{line}\r".encode())
        written = ""
        end_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < end_s:
            if select.select([self.terminal], [], [], 0.1)[0]:
                written += os.read(self.terminal, 65536).decode()
            # The prompt comes after the terminal has been prepared for the next line.
            if found := re.search(f"<([^>]*)>.*{PROMPT}", written, re.DOTALL):
                return found[1]
        raise AssertionError(f"{line!r}: not done within {DEADLINE_S} s\n{written}")


@pytest.fixture(scope="module", params=SET_UP)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    shell = Shell(request.param, tmp_path_factory.mktemp(request.param))
    yield shell
    shell.end()


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.startswith("--")])
def test_every_option_is_completed(shell: Shell, option: str) -> None:
    begun = option[:-1]
    if any(other != option and other.startswith(begun) for other in OPTIONS):
        begun = option  # --a is the beginning of --as and of --at-most.
    assert shell.complete(begun).rstrip("=") == option


VALUES = {"--signal": ("SIGTERM", "SIGQUIT")} | {
    option.flags[-1]: option.choices for option in TABLE if option.flags and option.choices
}


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option, values in VALUES.items() for value in values]
)
def test_every_value_is_completed(shell: Shell, option: str, value: str) -> None:
    for typed in (f"{option} {value}", f"{option}={value}"):
        assert shell.complete(typed[:-1]) == typed


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("-m 5 my", "my-app.service"),
        ("-m 5 pro", "prog1"),
        # The manager that is asked is in the name.
        ("-m 5 seen--system@", "seen--system@1.service"),
        ("-m 5 --user seen", "seen--user@1.service"),
        ("-m 5 odd", r"odd\x2dname.service"),
        ("-m 5 --as process my", "my"),
        ("-m 5 --as unit pro", "pro"),
        # A size is whatever you like.
        ("-m my", "my"),
    ],
)
def test_units_and_processes_are_completed(shell: Shell, typed: str, completed: str) -> None:
    assert shell.complete(typed) == f"{typed.rpartition(' ')[0]} {completed}"


def test_zsh_says_of_every_option_whether_it_takes_a_value() -> None:
    text = (COMPLETIONS / "zsh" / "_memory-monitor").read_text()
    listed = text.partition("_arguments -s -S")[2]
    takes_value = {
        option: bool(sign) for option, sign in re.findall(r"(?<=['\"{,)])(-[\w-]+)([=+]?)(?=[\[,}])", listed)
    }
    assert takes_value == {option: action.nargs != 0 for option, action in OPTIONS.items()}


def test_bash_offers_no_option_that_does_not_exist() -> None:
    text = (COMPLETIONS / "bash" / "memory-monitor").read_text()
    offered = re.search(r"printf '%s\\n' (-m .*?)\n\s*;;", text, re.DOTALL)
    assert offered
    assert set(offered[1].replace("\\\n", " ").split()) == set(OPTIONS)
