"""A scope, as containers have: systemd doesn't start it again, and whoever made it may."""

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from kit import Leaky, Monitor, run

UNIT = "made-by-hand.scope"


@contextmanager
def scope(leaky: Leaky, starts: int) -> Iterator[subprocess.Popen[bytes]]:
    """A transient scope with one process."""
    command = ("systemd-run", "--scope", "--quiet", "--collect", f"--unit={UNIT}")
    with subprocess.Popen((*command, *shlex.split(leaky.exec_line("grow 1")))) as process:
        try:
            leaky.wait_for("grow 1", starts)
            yield process
        finally:
            process.kill()


def test_that_it_isnt_started_again_is_no_error_and_the_next_of_its_name_is_measured() -> None:
    leaky = Leaky("made-by-hand")
    with Monitor("-m", "60", "-i", "0.2", "made-by-*.scope") as monitor:
        with scope(leaky, 1) as process:
            monitor.wait_for(f"{UNIT}: ok:")
            leaky.tell("grow 70")
            leaky.wait_for("SIGTERM")
            process.wait()
            monitor.wait_for(rf"{UNIT}: ended after .*; systemd doesn't start scopes again$")
        with scope(leaky, 2):
            monitor.wait_for(f"{UNIT}: ok:", 2)
        assert not monitor.lines_with("isn't back")
        assert not monitor.lines_with("error:")
    run("systemctl", "reset-failed")
