"""A virtual machine with a real systemd, in which memory-monitor is installed and tested.

    python3 tests/vm/machine.py                          all tests of tests/vm
    python3 tests/vm/machine.py -- test_x.py -k leak     those; anything after -- is for pytest
    python3 tests/vm/machine.py --run 'systemctl status' any command instead of pytest
    python3 tests/vm/machine.py --suite trixie           Debian 13 instead of 12

QEMU emulates the processor, so this works where there is no hardware virtualisation (or a broken
one), at about a tenth of the speed. What the command prints in the machine comes out here, line by
line, and its exit status becomes this program's; 1 also where the machine itself failed.

How it works: the root disk (root_image.py) is built once and never written to; each run boots a
throw-away overlay of it. The repository's files, the command and what --add names go in as a tar
on a second disk. The machine's service vm-job.service unpacks it and runs job.sh, which
writes to the second serial port, so that no message of the kernel or of systemd gets between; the
console, on the first, is kept and shown if the machine fails.
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

from job import REPO, Addition, JobError, pytest_command, write_job
from qemu import Machine, MachineError, Run
from root_image import VARIANTS, BuildError, Image, image_for

CACHE = REPO / ".vm"

DEBIAN_PACKAGE_OF = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "setpriv": "util-linux",
    "git": "git",
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
    parser.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=float,
        default=2400,
        help="for booting and the job; default 2400",
    )
    parser.add_argument(
        "--keep-root",
        action="store_true",
        help="keep this run's root disk as .vm/kept-SUITE.ext4, to mount and look into",
    )
    parser.add_argument("pytest_args", nargs="*", metavar="PYTEST_ARG", help="after --, for pytest")
    chosen = parser.parse_args(arguments)
    if chosen.run is not None and chosen.pytest_args:
        parser.error("--run takes one command, quoted; there can be no pytest arguments beside it")
    return chosen


def run_machine(chosen: argparse.Namespace) -> int:
    """Gives the exit status of the chosen command in the machine."""
    demand_tools()
    image = image_for(chosen.suite, CACHE)
    if chosen.keep_root:
        image = _with_own_root(image, CACHE / f"kept-{chosen.suite}.ext4")
    command = chosen.run if chosen.run is not None else pytest_command(chosen.pytest_args)
    with tempfile.TemporaryDirectory(prefix="memory-monitor-vm-") as work:
        machine = Machine(
            image=image,
            job=Path(work, "job.tar"),
            console=Path(work, "console"),
            memory_mib=chosen.memory,
            root_is_kept=chosen.keep_root,
        )
        write_job(machine.job, command, chosen.add)
        return Run(machine, chosen.deadline).exit_status()


def _with_own_root(image: Image, root: Path) -> Image:
    copied = subprocess.run(["cp", "--sparse=always", image.root, root], check=False)
    if copied.returncode != 0:
        raise MachineError(f"{image.root} can't be copied to {root}")
    return replace(image, root=root)


def main() -> int:
    """Runs the chosen command in the machine; an error is one line, with the console if need be."""

    def end(number: int, _frame: object) -> NoReturn:
        # Through the clean-up, as Ctrl-C does.
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        return run_machine(parse())
    except (MachineError, JobError, BuildError, OSError) as error:
        print(f"machine.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("machine.py: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
