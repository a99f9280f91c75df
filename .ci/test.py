"""Runs every kind of check that this machine can run; ends with one line for each kind.

`test.py KIND...` runs those alone. The exit status is 0 if all that was run passed. With CI=true on
Linux nothing may be left out: a kind that can't be run is a failure then, and so is a skipped test.
"""

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "test-results"
ON_LINUX = sys.platform == "linux"
NOTHING_LEFT_OUT = ON_LINUX and os.environ.get("CI") == "true"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of check: its command, and what says why it can't be run here (None: it can).

    After `limit_s` it is interrupted and has failed.
    """

    name: str
    command: tuple[str, ...]
    reason_against: Callable[[], str | None] = lambda: None
    limit_s: float | None = None

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
    return absent("qemu-system-x86_64", "mmdebstrap", "mke2fs", "git")


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


# A test that hangs: many times what these take on two cores.
HANGS_S = 900
INTERRUPTED_S = 30

SUDO = () if os.geteuid() == 0 else ("sudo",)

KINDS = (
    Kind("ruff", (sys.executable, "-m", "ruff", "check", "--quiet", ".")),
    Kind("mypy", (sys.executable, "-m", "mypy")),
    Kind("unit", pytest("unit"), limit_s=HANGS_S),
    Kind("process", pytest("process"), limit_s=HANGS_S),
    Kind("audit", pytest("audit"), against_audit, limit_s=HANGS_S),
    # The machine has a deadline of its own.
    Kind("vm", (*SUDO, sys.executable, "tests/vm/machine.py"), against_vm),
)


def run(kind: Kind) -> Outcome:
    """Runs one kind, its output to the terminal."""
    print(f"\n===== {kind.name}", flush=True)
    kind.results.unlink(missing_ok=True)
    begun = time.monotonic()
    status = exit_status(kind)
    took = f"{time.monotonic() - begun:.0f} s"
    counts = count_tests(kind.results)
    counted = ", ".join(f"{count} {what}" for what, count in counts.items())
    if status is None:
        return Outcome(f"FAILED: {kind.name} — not done within {took}", True)
    if status != 0:
        return Outcome(f"FAILED: {kind.name} — {counted or f'status {status}'}, {took}", True)
    if NOTHING_LEFT_OUT and counts["skipped"]:
        return Outcome(f"FAILED: {kind.name} — {counted}, {took}; CI may skip none", True)
    return Outcome(f"ran: {kind.name} — {counted or 'passed'}, {took}", False)


def exit_status(kind: Kind) -> int | None:
    """Runs the command of a kind; if it isn't done by its limit, interrupts it and gives None."""
    with subprocess.Popen(kind.command, cwd=ROOT) as process:
        try:
            return process.wait(kind.limit_s)
        except subprocess.TimeoutExpired:
            # As Ctrl-C would: pytest ends what it started and shows which line it was at.
            process.send_signal(signal.SIGINT)
        try:
            process.wait(INTERRUPTED_S)
        except subprocess.TimeoutExpired:
            process.kill()
    return None


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


def main(names: list[str]) -> int:
    """Runs the kinds of these names, all of them if there are none; gives the exit status."""
    unknown = set(names) - {kind.name for kind in KINDS}
    if unknown:
        print(f"no such kind: {', '.join(unknown)}; there are {', '.join(k.name for k in KINDS)}")
        return 2
    kinds = [kind for kind in KINDS if not names or kind.name in names]
    # Before anything is run: it may ask for a password.
    reasons = {kind: kind.reason_against() for kind in kinds}
    outcomes = [
        run(kind)
        if reason is None
        else Outcome(f"not run: {kind.name} — {reason}", is_failure=NOTHING_LEFT_OUT)
        for kind, reason in reasons.items()
    ]
    print()
    for outcome in outcomes:
        print(outcome.line)
    return int(any(outcome.is_failure for outcome in outcomes))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
