"""In a time namespace clocks differ from those of systemd and of other monitors (time_namespaces(7))."""

import os
import subprocess
import sys

import pytest

from tests.process.kit import MINE, ROOT

SOON_S = 20.0
MONITOR = (sys.executable, "-m", "memmon_systemd")
MEMMONCTL = (sys.executable, "-m", "memmon_systemd.ctl.command")
AHEAD = ("unshare", "--time", "--fork", "--monotonic", "1000", "--boottime", "100000")
ITS_OWN_PROC = ("unshare", "--pid", "--fork", "--mount-proc")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    if not os.path.exists("/proc/self/timens_offsets"):
        pytest.skip("this kernel has no time namespaces")
    if os.geteuid() != 0:
        pytest.skip("needs root: a time namespace is made by nobody else")
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SOON_S, check=False)


@pytest.mark.parametrize(
    "command",
    [
        (*MONITOR, "-m", "20", f"{MINE}-x"),
        (*MONITOR, "-m", "20", "--once", f"{MINE}-x"),
        (*MONITOR, "--check", "-m", "20", f"{MINE}-x"),
        MEMMONCTL,
        (*MEMMONCTL, "pause", "x", "1h"),
        (*MEMMONCTL, "metrics"),
    ],
)
@pytest.mark.parametrize("prefix", [(), ("setpriv", "--reuid=65534", "--clear-groups", "--")])
def test_where_its_clocks_are_not_those_of_process_1_it_refuses_to_start(
    command: tuple[str, ...], prefix: tuple[str, ...]
) -> None:
    done = run(*AHEAD, *prefix, *command)
    assert done.returncode == 1, done
    assert "(monotonic is 1000 s ahead, boottime is 100000 s ahead)" in done.stderr
    assert "nsenter --target 1 --time" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_behind_those_of_process_1_it_refuses_as_well() -> None:
    done = run("unshare", "--time", "--fork", "--monotonic", "-5", *MONITOR, "-m", "20", f"{MINE}-x")
    assert done.returncode == 1, done
    assert "(monotonic is 5 s behind)" in done.stderr


@pytest.mark.parametrize(
    "prefix",
    [
        ("unshare", "--time", "--fork"),
        (*AHEAD, *ITS_OWN_PROC),
        (*AHEAD, "nsenter", "--target", str(os.getpid()), "--time"),
    ],
    ids=["no offset", "process 1 is inside", "entered that of process 1"],
)
def test_with_the_clocks_of_process_1_it_starts(prefix: tuple[str, ...]) -> None:
    done = run(*prefix, *MONITOR, "-m", "20", "--once", f"{MINE}-x")
    assert done.returncode == 4, done
