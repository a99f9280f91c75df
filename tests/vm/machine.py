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
import io
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from root_image import SUITES, BuildError, Image, image_for

REPO = Path(__file__).resolve().parents[2]
CACHE = REPO / ".vm"
REPO_IN_VM = "srv/memory-monitor"

DEBIAN_PACKAGE_OF = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "setpriv": "util-linux",
    "git": "git",
}

KERNEL_ARGUMENTS = (
    *("root=/dev/vda", "rw", "console=ttyS0", "loglevel=4", "psi=1"),
    # QEMU ends on a panic, instead of hanging until the deadline.
    "panic=-1",
    # No colours on the console: it is read only after a failure, as text.
    "TERM=dumb",
    # The kernel doesn't trust the emulated TSC, though QEMU keeps it the same on all processors.
    # Without it each look at the clock is a system call that leaves the emulation (HPET).
    "tsc=reliable",
)

# Written by job.sh.
BEGINS = "@@vm-job begins"
ENDS = "@@vm-job ends "

# Booting takes 15 to 30 s on two idle cores; a boot that hangs should not take the whole deadline.
BOOT_DEADLINE_S = 300
CONSOLE_LINES_SHOWN = 30


class MachineError(Exception):
    """The machine could not be run to the end of its job; the message says why."""


@dataclass(frozen=True, slots=True)
class Addition:
    """A file or directory of the host and where it goes in the machine."""

    host: Path
    vm: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What to boot: `root_is_kept` writes to the image's root disk instead of to an overlay."""

    image: Image
    job: Path
    console: Path
    memory_mib: int
    root_is_kept: bool

    def command(self) -> list[str]:
        """The command line of QEMU; the first serial port is the console, the second the job's."""
        snapshot = "off" if self.root_is_kept else "on"
        return [
            # QEMU ends with this program even if that is killed.
            *("setpriv", "--pdeathsig=KILL", "--"),
            *("qemu-system-x86_64", "-machine", "q35", "-nodefaults", "-display", "none"),
            *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"),
            *("-m", f"{self.memory_mib}M", "-no-reboot"),
            *("-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd)),
            *("-append", " ".join(KERNEL_ARGUMENTS)),
            *("-drive", f"if=virtio,format=raw,snapshot={snapshot},file={self.image.root}"),
            *("-drive", f"if=virtio,format=raw,readonly=on,file={self.job}"),
            *("-serial", f"file:{self.console}", "-serial", "stdio"),
        ]


class Run:
    """One run of a machine, from power on to the end of its job."""

    def __init__(self, machine: Machine, deadline_s: float) -> None:
        self._machine = machine
        self._deadline_s = deadline_s
        # The limit, in seconds, that was exceeded and for which QEMU was ended.
        self._exceeded_s: float | None = None

    def exit_status(self) -> int:
        """Boots, prints what the job prints, and gives the job's exit status.

        Raises MachineError if the machine failed, or was not done by the deadline.
        """
        with subprocess.Popen(
            self._machine.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as qemu:
            boot_timer = self._timer(BOOT_DEADLINE_S, qemu)
            timer = self._timer(self._deadline_s, qemu)
            try:
                return self._read_job(qemu, boot_timer)
            finally:
                boot_timer.cancel()
                timer.cancel()
                qemu.kill()

    def _timer(self, limit_s: float, qemu: subprocess.Popen[bytes]) -> threading.Timer:
        def end() -> None:
            self._exceeded_s = limit_s
            qemu.kill()

        timer = threading.Timer(limit_s, end)
        timer.daemon = True
        timer.start()
        return timer

    def _read_job(self, qemu: subprocess.Popen[bytes], boot_timer: threading.Timer) -> int:
        assert qemu.stdout is not None
        has_booted = False
        for line_of_bytes in qemu.stdout:
            line = line_of_bytes.decode(errors="replace").rstrip("\r\n")
            if line == BEGINS:
                has_booted = True
                boot_timer.cancel()
                continue
            # The last line of the job may have had no end.
            text, marker, status = line.partition(ENDS)
            if text or not marker:
                print(text, flush=True)
            if marker:
                return int(status)
        raise self._error(qemu.wait(), has_booted)

    def _error(self, qemu_status: int, has_booted: bool) -> MachineError:
        if self._exceeded_s is None:
            why = f"QEMU ended with status {qemu_status} before the job did"
        else:
            what = "the job did not end" if has_booted else "the machine did not boot"
            why = f"{what} within {self._exceeded_s:g} s"
        if has_booted:
            return MachineError(why)
        return MachineError(f"{why}; the console's last lines:\n{self._last_console_lines()}")

    def _last_console_lines(self) -> str:
        if not self._machine.console.exists():
            return "(none)"
        text = self._machine.console.read_text(errors="replace")
        return "\n".join(text.splitlines()[-CONSOLE_LINES_SHOWN:]) or "(none)"


def write_job(job: Path, command: str, additions: Sequence[Addition]) -> None:
    """Writes the tar that the machine unpacks over its root."""
    with tarfile.open(job, "w") as tar:
        for name in repository_files():
            tar.add(REPO / name, f"{REPO_IN_VM}/{name}", filter=_as_root)
        tar.add(Path(__file__).with_name("job.sh"), "srv/vm-job", filter=_as_root)
        for addition in additions:
            tar.add(addition.host, addition.vm.lstrip("/"), filter=_as_root)
        text = command.encode()
        member = tarfile.TarInfo("srv/vm-command")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))


def repository_files() -> list[str]:
    """The files that git knows or would know, without those deleted in the work tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        raise MachineError(f"git ls-files failed in {REPO} with status {listed.returncode}")
    names = sorted(set(listed.stdout.split("\0")) - {""})
    return [name for name in names if (REPO / name).is_symlink() or (REPO / name).exists()]


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The machine's root owns what is shipped, and everybody can read it."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def pytest_command(arguments: Sequence[str]) -> str:
    """pytest in the machine: all of tests/vm, unless the arguments name files of it.

    -P: what is tested is the installed package and not the source beside the tests.
    """
    tests = REPO / "tests" / "vm"
    in_repo = [
        f"tests/vm/{argument}" if (tests / argument.partition("::")[0]).is_file() else argument
        for argument in arguments
    ]
    names_tests = any((REPO / argument.partition("::")[0]).exists() for argument in in_repo)
    chosen = [] if names_tests else ["tests/vm"]
    pytest = ["python3", "-P", "-m", "pytest", "-p", "no:cacheprovider", *chosen, *in_repo]
    return f"test -x /usr/bin/memory-monitor && {shlex.join(pytest)}"


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
    parser.add_argument("--suite", choices=SUITES, default="bookworm", help="the Debian in it")
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
        "--deadline", metavar="SECONDS", type=float, default=1200, help="for all; default 1200"
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
        kept = CACHE / f"kept-{chosen.suite}.ext4"
        subprocess.run(["cp", "--sparse=always", image.root, kept], check=True)
        image = Image(kept, image.kernel, image.initrd)
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


def main() -> int:
    """Runs the chosen command in the machine; an error is one line, with the console if need be."""

    def end(number: int, _frame: object) -> NoReturn:
        # Through the clean-up, as Ctrl-C does.
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        return run_machine(parse())
    except (MachineError, BuildError) as error:
        print(f"machine.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("machine.py: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
