"""A virtual machine with a real systemd, in which memory-monitor is installed and tested.

    python3 tests/vm/machine.py                          all tests of tests/vm
    python3 tests/vm/machine.py --test test_x.py::test_y that one; a file or an expression of -k, too
    python3 tests/vm/machine.py -- test_x.py -k leak     anything after -- is for pytest
    python3 tests/vm/machine.py --run 'systemctl status' any command instead of pytest
    python3 tests/vm/machine.py --suite trixie           Debian 13 instead of 12

QEMU emulates the processor, so this works where there is no hardware virtualisation (or a broken
one), at about a tenth of the speed. What the command prints in the machine comes out here, line by
line, and its exit status becomes this program's; 1 also where the machine itself failed.

How it works: the root disk (root_image.py) is built once and never written to; each run boots a
throw-away overlay of it. The repository's files, the Debian package built of them (deb.py), the command
and what --add names go in as a tar on a second disk. The machine's service vm-job.service unpacks it and
runs job.sh, which writes to the second serial port, so that no message of the kernel or of systemd gets
between; the console, on the first, is kept and shown if the machine fails. Results leave on a third disk
(results.py): build/test-results/vm-SUITE.xml, and vm-SUITE.journal where the job failed.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from deb import packages_of_this_tree
from job import REPO, Addition, JobError, limited, pytest_command, selection, write_job
from qemu import Machine, MachineError, NotBootedError, Run
from results import Results, ResultsError, forget, keep, make_disk
from root_image import VARIANTS, BuildError, Image, image_for

CACHE = REPO / ".vm"
# timeout(1) ended the job.
TIMED_OUT = 124
ENDING = (signal.SIGINT, signal.SIGTERM)

DEBIAN_PACKAGE_OF = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "setpriv": "util-linux",
    "git": "git",
    "gcc": "gcc libc6-dev",
}


def demand_tools() -> None:
    """Raises MachineError with one line that says which Debian packages are missing."""
    missing = [tool for tool in DEBIAN_PACKAGE_OF if shutil.which(tool) is None]
    if missing:
        packages = " ".join(DEBIAN_PACKAGE_OF[tool] for tool in missing)
        raise MachineError(f"not installed: {', '.join(missing)}; apt install {packages}")


def addition(text: str) -> Addition:
    """Parses HOSTPATH:VMPATH."""
    host, _, vm = text.rpartition(":")
    if not Path(host).exists() or not host:
        raise argparse.ArgumentTypeError(f"{text!r}: no such file on this machine: {host!r}")
    if not vm.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r}: the path in the machine must begin with /")
    return Addition(Path(host), vm)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line; usage errors end the program with status 2."""
    parser = argparse.ArgumentParser(
        description="Run memory-monitor's tests, or a command, in a machine with systemd.",
        epilog="With --run the exit status is the command's, else pytest's; 1 if the machine fails.",
    )
    parser.add_argument("--run", metavar="CMD", help="run this shell command instead of pytest")
    parser.add_argument("--test", metavar="TEST", help="a file, file::test, or an expression as of pytest -k")
    parser.add_argument("--suite", choices=VARIANTS, default="bookworm", help="the Debian in it")
    parser.add_argument(
        "--add",
        metavar="HOSTPATH:VMPATH",
        type=addition,
        action="append",
        default=[],
        help="ship this file or directory too (repeatable)",
    )
    parser.add_argument("--memory", metavar="MIB", type=int, default=1536, help="default 1536")
    # Emulated processors wait for each other whenever one changes what both have mapped. Two machines on two
    # real ones: 7 min 41 s and 8 min 29 s with one each, 9 min 13 s and 10 min 10 s with two each.
    parser.add_argument("--processors", metavar="NUMBER", type=int, default=1, help="default 1")
    parser.add_argument(
        "--results",
        metavar="NAME",
        help="what the files in build/test-results are called; default vm-SUITE",
    )
    parser.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=float,
        default=2600,
        help="for the job; default 2600",
    )
    parser.add_argument(
        "--skip-idle",
        action="store_true",
        help="the machine's clock counts instructions and skips what the machine is idle, with one processor",
    )
    parser.add_argument(
        "--keep-root",
        action="store_true",
        help="keep this run's root disk as .vm/kept-SUITE.ext4, to mount and look into",
    )
    parser.add_argument("pytest_args", nargs="*", metavar="PYTEST_ARG", help="after --, for pytest")
    chosen = parser.parse_args(arguments)
    if chosen.run is not None and (chosen.pytest_args or chosen.test):
        parser.error("--run takes one command, quoted; there can be no tests or pytest arguments beside it")
    return chosen


def run_machine(chosen: argparse.Namespace) -> int:
    """Gives the exit status of the chosen command in the machine."""
    name = chosen.results or f"vm-{chosen.suite}"
    forget(name)
    demand_tools()
    command = command_of(chosen)
    packages = packages_of_this_tree()
    image = image_for(chosen.suite, CACHE)
    if chosen.keep_root:
        image = _with_own_root(image, CACHE / f"kept-{chosen.suite}.ext4")
    with tempfile.TemporaryDirectory(prefix="memory-monitor-vm-") as work:
        machine = Machine(
            image=image,
            job=Path(work, "job.tar"),
            results=Path(work, "results"),
            console=Path(work, "console"),
            memory_mib=chosen.memory,
            processors=chosen.processors,
            root_is_kept=chosen.keep_root,
            skips_idle=chosen.skip_idle,
        )
        write_job(machine.job, limited(command, chosen.deadline), packages, chosen.add)
        status, results = run_job(machine, chosen, name)
    say_what_came_out(results, name)
    if status == TIMED_OUT:
        raise MachineError(f"the job was not done within {chosen.deadline:g} s")
    if status == 0 and chosen.run is None and results.xml is None:
        raise MachineError("pytest says that all is well, but its results did not come out")
    return status


def run_job(machine: Machine, chosen: argparse.Namespace, name: str) -> tuple[int, Results]:
    """The exit status of the job and what came out; MachineError if the machine failed twice.

    Until pytest has tested something, all that can fail is the emulated machine: then it is booted once
    more, and that is said.
    """
    try:
        status, results = run_once(machine, chosen.deadline, name)
        if chosen.run is not None or results.xml is not None or status in {0, TIMED_OUT}:
            return status, results
        why = f"nothing was tested, the job ended with status {status}"
    except NotBootedError as error:
        why = str(error)
    print(f"machine.py: {why}\nmachine.py: so it is booted once more", file=sys.stderr, flush=True)
    return run_once(machine, chosen.deadline, name)


def run_once(machine: Machine, deadline_s: float, name: str) -> tuple[int, Results]:
    """Boots the machine for its job. Raises MachineError."""
    make_disk(machine.results)
    status = Run(machine, deadline_s).exit_status()
    return status, keep(machine.results, name)


def command_of(chosen: argparse.Namespace) -> str:
    """The shell command that was chosen, or the one that runs the chosen tests. Raises JobError."""
    if chosen.run is not None:
        return str(chosen.run)
    selected = selection(chosen.test) if chosen.test else []
    return pytest_command([*selected, *chosen.pytest_args])


def say_what_came_out(results: Results, name: str) -> None:
    """Says which tests passed only at the second try, and where the journal of what failed is."""
    if results.second_tries:
        tries = f"{len(results.second_tries)} passed only at the second try"
        print(f"{name}: {tries}: {', '.join(results.second_tries)}", file=sys.stderr)
    if results.journal is not None:
        print(f"{name}: the journal of the machine is in {results.journal}", file=sys.stderr)


def _with_own_root(image: Image, root: Path) -> Image:
    copied = subprocess.run(["cp", "--sparse=always", image.root, root], check=False)
    if copied.returncode != 0:
        raise MachineError(f"{image.root} can't be copied to {root}")
    return replace(image, root=root)


def main() -> int:
    """Runs the chosen command in the machine; an error is one line, with the console if need be."""

    def end(number: int, _frame: object) -> NoReturn:
        # Through the clean-up, which must not be ended by a second one.
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        print("machine.py: interrupted", file=sys.stderr)
        sys.exit(128 + number)

    for each in ENDING:
        signal.signal(each, end)
    try:
        return run_machine(parse())
    except (MachineError, JobError, BuildError, ResultsError, OSError) as error:
        print(f"machine.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
