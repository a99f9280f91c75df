"""The command as a user runs it, each time a process of its own."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from memmon_systemd import __version__
from tests.process.leaker import Leaker
from tests.unit.trees import linux_only

ROOT = Path(__file__).resolve().parents[2]
MOST_KIB = 64 * 1024
"""Of address space, so of RSS too; the interpreter alone takes 14 MB."""
MOST_DESCRIPTORS = 24
NOBODY = f"mmx{os.getpid()}"
"""No process has this name."""

Start = Callable[..., Leaker]


def run(arguments: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run it where there is no service manager, within bounds of memory and descriptors."""
    environment = {
        "PATH": os.environ["PATH"],
        "XDG_RUNTIME_DIR": str(tmp_path),
        "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path}/no-system-bus",
    }
    bounds = f"ulimit -n {MOST_DESCRIPTORS}"
    if sys.platform == "linux":
        bounds += f"; ulimit -v {MOST_KIB}"
    command = [sys.executable, "-m", "memmon_systemd", *shlex.split(arguments)]
    return subprocess.run(
        ["sh", "-c", f'{bounds}; exec "$@"', "sh", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


USAGE = [
    # the size
    ("-m 0 x", "'0' is not a size above zero: use MiB (500), a suffix"),
    ("-m -5 x", "'-5' is not a size: use MiB (500), a suffix"),
    ("-m 5X x", "'5X' is not a size: use MiB (500), a suffix"),
    ("-m '' x", "'' is not a size: use MiB (500), a suffix"),
    ("-m 200% x", "'200%' is not a usable share: use more than 0% and at most 100%"),
    ("x", "required: -m/--max-memory"),
    ("-m 0.8 x", "'0.8' is less than 1 MiB: use 80% for a share, or a suffix (0.8G)"),
    ("-m 500K x", "'500K' is less than 1 MiB: use at least 1M; without a suffix a number is MiB (500)"),
    # a value in two words
    ("-m 40 % x", "'%' is not a name: use no space in a share (-m 80%)"),
    ("-m 40 MiB x", "-m: '40 MiB' is in two words: use '40MiB', or -- before a NAME"),
    ("-m40 M x", "-m: '40 M' is in two words: use '40M', or -- before a NAME"),
    ("--max-memory 1.5 G x", "--max-memory: '1.5 G' is in two words: use '1.5G', or -- before a NAME"),
    ("-m 5 -i 2 s x", "-i: '2 s' is in two words: use '2s', or -- before a NAME"),
    ("-m 5 -i2 s", "-i: '2 s' is in two words: use '2s', or -- before a NAME"),
    ("-m 5 --for 1min 30s x", "--for: '1min 30s' is in two words: use '1min30s', or -- before a NAME"),
    ("-m 5 --repeat=5 min x", "--repeat: '5 min' is in two words: use '5min', or -- before a NAME"),
    ("-m 5 --growth 5 M x", "--growth: '5 M' is in two words: use '5M', or -- before a NAME"),
    ("-m 5 --min-age 5 min x", "--min-age: '5 min' is in two words: use '5min', or -- before a NAME"),
    ("-m 5 --hard 90 M x", "--hard: '90 M' is in two words: use '90M', or -- before a NAME"),
    ("-m 5 --then-restart=1 h x", "--then-restart: '1 h' is in two words: use '1h', or -- before a NAME"),
    ("-m 5 --budget 3/1 h x", "--budget: '3/1 h' is in two words: use '3/1h', or -- before a NAME"),
    # the other values
    ("-m 5 -i 0 x", "'0' is too short: use at least 10ms"),
    ("-m 5 --for 5x x", "'5x' is not a time: use seconds (2.5) or a time span"),
    ("-m 5 --growth fast x", "'fast' is not a rate: use MiB per second (500)"),
    ("-m 5 -s SIGFOO x", "'SIGFOO' is not a signal: use a name such as SIGTERM"),
    ("-m 5 --kill-whom none x", "'none' is not one of main, control, all"),
    ("-m 5 --metric vsz x", "'vsz' is not one of unreclaimable, current, working-set, anon, rss, pss"),
    ("-m 5 --as pid x", "'pid' is not one of auto, unit, process, owner"),
    ("-m 5 --max x", "unrecognized arguments: --max"),
    ("-m 5 --colour x", "unrecognized arguments: --colour"),
    # the name
    ("-m 5", "required: NAME"),
    ("-m 5 ''", "'' is not a name: use a unit (myapp.service) or a process-name prefix"),
    ("-m 5 /usr/bin/x", "'/usr/bin/x' is not a name: use one without a slash"),
    ("-m 5 'x\ny'", r"'x\ny' is not a name: use one without control characters"),
    ("-m 5 x.timer", "'x.timer' has no processes: name a .service"),
    # what doesn't go together
    ("-m 5 --as process --restart x", "--restart: 'x' is a process and only units have that: name a unit"),
    ("-m 5 --as process --metric anon x", "--metric anon: 'x' is a process: use rss or pss"),
    ("-m 5 --metric rss x.service", "--metric rss: 'x.service' means units: use unreclaimable"),
    ("-m 5 --check --once x", "--check: changes nothing and exits: leave --once out"),
    ("-m 5 --check --until-stopped x", "--check: changes nothing and exits: leave --until-stopped"),
    ("-m 5 --check -n x", "--check: changes nothing and exits: leave --dry-run out"),
    ("-m 5 --check -q x", "--check: changes nothing and exits: leave --quiet out"),
    ("-m 5 --check -v x", "--check: changes nothing and exits: leave --verbose out"),
    ("-m 5 --check --restart --as process x", "--restart: 'x' is a process and only units have that"),
    ("-m 5 --json x", "--json: is the format of a report: add --check"),
    ("-m 5 --json --once x", "--json: is the format of a report: add --check"),
    ("-m 5 --once --until-stopped x", "--once: polls once and exits: leave --until-stopped out"),
]


@pytest.mark.parametrize(("arguments", "words"), USAGE, ids=[arguments for arguments, _ in USAGE])
def test_what_cant_be_done_is_refused_in_one_line_that_names_the_value_and_what_works(
    tmp_path: Path, arguments: str, words: str
) -> None:
    done = run(arguments, tmp_path)
    assert words in done.stderr
    assert done.stderr.startswith("memory-monitor: ")
    assert done.stderr.count("\n") == 1
    assert (done.returncode, done.stdout) == (2, "")


@linux_only
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("-m 5 --user x", 2, "--user: no user's service manager: {tmp_path}/bus: no bus there; log in"),
        ("-m 5 x.service", 1, "systemd can't be asked: {tmp_path}/no-system-bus: no bus there; --as process"),
    ],
)
def test_without_a_service_manager_one_line_says_so(
    tmp_path: Path, arguments: str, status: int, words: str
) -> None:
    done = run(arguments, tmp_path)
    assert words.format(tmp_path=tmp_path) in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.returncode == status


@linux_only
def test_a_users_service_manager_without_dbus_is_said_with_the_package_that_helps(tmp_path: Path) -> None:
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "private").touch()
    done = run("-m 5 --user x", tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"memory-monitor: --user: the user's service manager has no D-Bus: {tmp_path}/bus: no bus there;"
        " install dbus-user-session and log in again\n"
    )


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (f"-m 100% {NOBODY}", 4, "is above 100%"),
        (f"-m 500 {NOBODY}", 4, f"{NOBODY}: waiting: there is no process of that name"),
        (
            f"-m 1.5G -i 500ms -s usr1 {NOBODY}",
            4,
            "send SIGUSR1 when memory is above 1.5 GiB; polling interval 500 ms",
        ),
        (f"-m 500 -- G {NOBODY}", 4, "polling interval 2 s: G, "),
        (f"-m 500 -s SIGKILL {NOBODY}", 4, "warning: SIGKILL isn't graceful"),
        (f"-m 500 -s 9 {NOBODY}", 4, "warning: SIGKILL isn't graceful"),
    ],
)
def test_once_without_such_a_process_says_so(tmp_path: Path, arguments: str, status: int, words: str) -> None:
    done = run(f"--once --as process {arguments}", tmp_path)
    assert done.stderr.count(words) == 1
    assert done.returncode == status


@linux_only
def test_once_signals_what_is_over_and_tells_it_by_its_status(tmp_path: Path, start_leaker: Start) -> None:
    child = start_leaker(NOBODY + "-child", mib=30)
    within = run(f"--once --as process -m 40 -s USR1 {NOBODY}-child", tmp_path)
    assert within.returncode == 0, within.stderr
    dry = run(f"--once --as process -m 20 -s USR1 -n {NOBODY}-child", tmp_path)
    assert dry.returncode == 3, dry.stderr
    assert child.lines == ["ready"]
    over = run(f"--once --as process -m 20 -s USR1 {NOBODY}-child", tmp_path)
    assert over.returncode == 3, over.stderr
    child.wait_for_signals("SIGUSR1", 1, deadline_s=10)


@pytest.mark.parametrize("options", ["--check", "--check --json"])
def test_a_check_without_such_a_process_says_so(tmp_path: Path, options: str) -> None:
    done = run(f"{options} --as process -m 5 {NOBODY}", tmp_path)
    assert done.returncode == 4
    words = f"memory-monitor: '{NOBODY}': no process has a name that starts with it"
    assert done.stderr.startswith(words)
    assert done.stderr.count("\n") == 1
    assert bool(done.stdout) == ("--json" in options)


def test_quiet_says_nothing_where_nothing_is_done(tmp_path: Path) -> None:
    assert run(f"--once --as process -q -m 5 {NOBODY}", tmp_path).stderr == ""


def test_help_names_every_option_and_exit_status(tmp_path: Path) -> None:
    done = run("--help", tmp_path)
    assert done.returncode == 0
    options = (
        "--max-memory --interval --signal --metric --swap --growth --for --repeat --kill-whom --restart"
        " --user --as --dry-run --once --until-stopped --check --json --verbose --quiet --version"
    )
    assert [option for option in options.split() if option not in done.stdout] == []
    statuses = "2 wrong usage; 3 above the threshold (--once) or problems found (--check); 4 not found"
    assert statuses in " ".join(done.stdout.split())


def test_version_is_that_of_the_package(tmp_path: Path) -> None:
    assert run("--version", tmp_path).stdout == f"memory-monitor {__version__}\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            "MemoryError()",
            "not enough memory to start: raise LimitAS=, LimitDATA= or LimitSTACK=",
        ),
        ("ImportError('libffi.so.8: failed to map segment')", "libffi.so.8: failed to map segment"),
        ("OSError(12, 'Cannot allocate memory', '/x')", "[Errno 12] Cannot allocate memory: '/x'"),
    ],
)
def test_without_memory_to_start_one_line_says_so(error: str, words: str) -> None:
    program = f"""if True:
        import sys
        from memmon_systemd import app, cli
        def run(*_):
            raise {error}
        app.run = run
        sys.exit(cli.main(["-m", "5", "x"]))"""
    done = subprocess.run(
        (sys.executable, "-c", program), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == f"memory-monitor: {words}\n"
    assert done.returncode == 1
