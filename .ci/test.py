"""Runs every kind of check that this machine can run; ends with one line for each kind.

`test.py KIND...` runs those alone, `test.py --test TEST vm-trixie` one test in the machine with Debian 13.
The exit status is 0 if all that was run passed. With CI=true on Linux nothing may be left out: a kind that
can't be run is a failure then, and so is a skipped test.
"""

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from threading import Timer
from typing import IO, NoReturn

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "test-results"
ON_LINUX = sys.platform == "linux"
NOTHING_LEFT_OUT = ON_LINUX and os.environ.get("CI") == "true"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of check: its command, and what says why it can't be run here (None: it can).

    After `limit_s` it is interrupted and has failed. Those that are `side_by_side` run at the same time.
    """

    name: str
    command: tuple[str, ...]
    reason_against: Callable[[], str | None] = lambda: None
    limit_s: float | None = None
    side_by_side: bool = False

    @property
    def results(self) -> Path:
        """The JUnit XML file that pytest writes of this kind."""
        return RESULTS / f"{self.name}.xml"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one kind: the line that says it, and whether it makes the whole fail."""

    line: str
    is_failure: bool


def absent(*tools: str) -> str | None:
    """Gives the reason against a kind that needs programs which are not there."""
    # mke2fs is in /usr/sbin, which only root has in its PATH on Debian.
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
    missing = [tool for tool in tools if shutil.which(tool, path=path) is None]
    if not missing:
        return None
    return f"not installed, and .ci/setup could not install it: {', '.join(missing)}"


def against_audit() -> str | None:
    """Allocations are counted by LD_PRELOAD and strace."""
    if not ON_LINUX:
        return f"counting allocations takes Linux, and this is {platform.system()}"
    return absent("gcc", "strace")


def against_vm() -> str | None:
    """The machine with a real systemd is made by Debian's tools, as root."""
    if not ON_LINUX:
        return f"the machine with systemd takes Linux to make, and this is {platform.system()}"
    if not may_be_root():
        return "the machine with systemd takes root to make, and this user has no sudo"
    return absent("qemu-system-x86_64", "mmdebstrap", "mke2fs", "git", "dpkg-buildpackage", "lintian")


def may_be_root() -> bool:
    """Says whether sudo makes root of this user, by a password only if there is a terminal."""
    if os.geteuid() == 0:
        return True
    if shutil.which("sudo") is None:
        return False
    if subprocess.run(["sudo", "-n", "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
        return True
    return sys.stdin.isatty() and subprocess.run(["sudo", "-v"], check=False).returncode == 0


def pytest(folder: str) -> tuple[str, ...]:
    """Gives the command that runs the tests of a folder in tests/."""
    results = f"--junit-xml={RESULTS / folder}.xml"
    return (sys.executable, "-m", "pytest", f"tests/{folder}", results)


SUDO = () if os.geteuid() == 0 else ("sudo",)


def machine(suite: str, test: str | None) -> Kind:
    """Gives the kind that runs all tests, or that one, in the machine with this Debian.

    It has one processor, so two of them go side by side. It has its own deadline.
    """
    selected = ("--test", test) if test is not None else ()
    command = (*SUDO, sys.executable, "tests/vm/machine.py", "--suite", suite, *selected)
    return Kind(f"vm-{suite}", command, against_vm, side_by_side=True)


def starved(suite: str) -> Kind:
    """Gives the kind that takes the memory of a small machine away.

    It runs alone: beside another machine it takes three times as long, and its rounds are against the clock.
    """
    name = f"starved-{suite}"
    small = ("--memory", "512", "--processors", "2", "--results", name)
    command = (*SUDO, sys.executable, "tests/vm/machine.py", "--suite", suite, *small)
    return Kind(name, (*command, "--", "tests/vm/starved"), against_vm)


# A test that hangs: many times what these take on two cores.
HANGS_S = 900
INTERRUPTED_S = 30
# So long what was told to end by Ctrl-C may take before it is told again.
CTRL_C_S = 10.0


def all_kinds(vm_test: str | None = None) -> tuple[Kind, ...]:
    """Gives the kinds in their order; in the machines only that test is run if there is one."""
    return (
        Kind("ruff", (sys.executable, "-m", "ruff", "check", "--quiet", ".")),
        Kind("mypy", (sys.executable, "-m", "mypy")),
        Kind("unit", pytest("unit"), limit_s=HANGS_S),
        Kind("process", pytest("process"), limit_s=HANGS_S),
        Kind("audit", pytest("audit"), against_audit, limit_s=HANGS_S),
        starved("bookworm"),
        starved("trixie"),
        machine("bookworm", vm_test),
        machine("trixie", vm_test),
    )


RUNNING: list[subprocess.Popen[bytes]] = []


def run_all(kinds: Sequence[Kind]) -> list[Outcome]:
    """Runs kinds one after the other, and at last those that go side by side."""
    alone = [run(kind) for kind in kinds if not kind.side_by_side]
    return alone + run_side_by_side([kind for kind in kinds if kind.side_by_side])


def run_side_by_side(kinds: Sequence[Kind]) -> list[Outcome]:
    """Runs kinds at the same time; what the first writes is seen at once, the others' when they are done."""
    if not kinds:
        return []
    first, *others = kinds
    with ExitStack() as stack:
        kept = [stack.enter_context(TemporaryFile()) for _ in others]
        pool = stack.enter_context(ThreadPoolExecutor(len(kinds)))
        waiting = [pool.submit(run, kind, output) for kind, output in zip(others, kept, strict=True)]
        outcomes = [run(first)]
        for kind, output, outcome in zip(others, kept, waiting, strict=True):
            outcomes.append(outcome.result())
            print(f"\n===== {kind.name}, at the same time", flush=True)
            output.seek(0)
            shutil.copyfileobj(output, sys.stdout.buffer)
            sys.stdout.flush()
    return outcomes


def run(kind: Kind, output: IO[bytes] | None = None) -> Outcome:
    """Runs one kind, what it writes to the terminal, or to that file."""
    if output is None:
        print(f"\n===== {kind.name}", flush=True)
    kind.results.unlink(missing_ok=True)
    begun = time.monotonic()
    status = exit_status(kind, output)
    took = f"{time.monotonic() - begun:.0f} s"
    counts = count_tests(kind.results)
    counted = ", ".join(f"{count} {what}" for what, count in counts.items())
    tries = second_tries(kind.results)
    told = f"{took}; {len(tries)} passed only at the second try: {', '.join(tries)}" if tries else took
    if status is None:
        return Outcome(f"FAILED: {kind.name} — not done within {told}", True)
    if status != 0 or counts["failed"]:
        return Outcome(f"FAILED: {kind.name} — {counted or f'status {status}'}, {told}", True)
    if NOTHING_LEFT_OUT and counts["skipped"]:
        return Outcome(f"FAILED: {kind.name} — {counted}, {told}; CI may skip none", True)
    return Outcome(f"ran: {kind.name} — {counted or 'passed'}, {told}", False)


def exit_status(kind: Kind, output: IO[bytes] | None) -> int | None:
    """Runs the command of a kind; if it isn't done by its limit, interrupts it and gives None."""
    stderr = None if output is None else subprocess.STDOUT
    process = subprocess.Popen(kind.command, cwd=ROOT, stdout=output, stderr=stderr)
    RUNNING.append(process)
    try:
        with process:
            return ended_in_time(process, kind.limit_s)
    finally:
        RUNNING.remove(process)


def ended_in_time(process: subprocess.Popen[bytes], limit_s: float | None) -> int | None:
    """Waits for the end of a process and gives its status; None if it had to be interrupted."""
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        interrupt(process)
    try:
        process.wait(INTERRUPTED_S)
    except subprocess.TimeoutExpired:
        process.kill()
    return None


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """Does as Ctrl-C would: pytest and the machine end what they started, and pytest shows where it was."""
    try:
        process.send_signal(signal.SIGINT)
    except PermissionError:
        # sudo is root's.
        subprocess.run((*SUDO, "kill", "-INT", str(process.pid)), check=False)


def end(number: int, _frame: object) -> NoReturn:
    """Interrupts all that runs, and ends when that has ended.

    By Ctrl-C a terminal has told them all, and to tell them twice would end their clean-up; kill has not.
    """

    def interrupt_what_runs() -> None:
        for process in RUNNING:
            interrupt(process)

    timer = Timer(CTRL_C_S if number == signal.SIGINT else 0.0, interrupt_what_runs)
    timer.daemon = True
    timer.start()
    sys.exit(128 + number)


def count_tests(results: Path) -> Counter[str]:
    """Counts the tests in a JUnit XML file by what became of them; none if there is no file."""
    counts: Counter[str] = Counter()
    if not results.exists():
        return counts
    for case in ET.parse(results).iter("testcase"):
        found = {child.tag: child.get("type") for child in case}
        if "failure" in found or "error" in found:
            counts["failed"] += 1
        elif "skipped" not in found:
            counts["passed"] += 1
        elif found["skipped"] == "pytest.xfail":
            counts["failed as expected"] += 1
        else:
            counts["skipped"] += 1
    return counts


def second_tries(results: Path) -> list[str]:
    """Gives the names of the tests that failed and then passed; tests/vm/results.py marks them."""
    if not results.exists():
        return []
    cases = ET.parse(results).iter("testcase")
    mark = "properties/property[@name='passed only at the second try']"
    return [case.get("name", "") for case in cases if case.find(mark) is not None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the kinds of these names, all of them if there are none; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--test", help="of those in a machine: a file, file::test, or as of pytest -k")
    parser.add_argument("names", metavar="KIND", nargs="*", help=", ".join(k.name for k in all_kinds()))
    chosen = parser.parse_args(arguments)
    kinds = {kind.name: kind for kind in all_kinds(chosen.test)}
    unknown = [name for name in chosen.names if name not in kinds]
    if unknown:
        parser.error(f"no such kind: {', '.join(unknown)}; there are {', '.join(kinds)}")
    if chosen.test is not None and not all(name.startswith("vm-") for name in chosen.names or kinds):
        parser.error(f"--test {chosen.test}: only for kinds that run in a machine: vm-bookworm, vm-trixie")
    wanted = [kind for kind in kinds.values() if not chosen.names or kind.name in chosen.names]
    # Before anything is run: it may ask for a password.
    reasons = {kind: kind.reason_against() for kind in wanted}
    outcomes = run_all([kind for kind, reason in reasons.items() if reason is None])
    outcomes += [
        Outcome(f"not run: {kind.name} — {reason}", is_failure=NOTHING_LEFT_OUT)
        for kind, reason in reasons.items()
        if reason is not None
    ]
    print()
    for outcome in outcomes:
        print(outcome.line)
    return int(any(outcome.is_failure for outcome in outcomes))


if __name__ == "__main__":
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, end)
    sys.exit(main())
