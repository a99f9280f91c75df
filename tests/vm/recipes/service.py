"""A recipe's service and its monitor, as the page has them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kit import eventually, journal, property_of, run
from recipes.page import Page, assert_is_like, shown

DEADLINE_S: Final = 120.0
"""For what takes 10 s on real hardware: a start of Java, say."""
SECTION: Final = """\
MemoryMax=60M
Restart=always
RestartSec=100ms
[X-MemoryMonitor]
Threshold=30M
Interval=1s
"""
"""Of a service that leaks, in its unit file, and of its monitor."""
ASKED: Final = "43b9da7a063b459bb9ea683a83c3f93b"
"""MESSAGE_ID of the line that says what was done (Event.ACTED)."""


def forget_log() -> None:
    """Begins the journal anew: a page shows one run."""
    run("journalctl", "--rotate")
    run("journalctl", "--vacuum-time=1us")


class Recipe:
    """One service with the monitor of it."""

    def __init__(self, name: str, monitor: str = "", *, is_machine_wide: bool = False) -> None:
        """The service NAME and memory-monitor@NAME, unless that is another, or the machine-wide monitor."""
        self.unit = f"{name}.service"
        instance = f"memory-monitor@{monitor or name}.service"
        self.monitor = "memory-monitor.service" if is_machine_wide else instance
        self._configuration = Path(f"/etc/memory-monitor/{monitor or name}.conf")

    @contextmanager
    def running(self, *with_it: str) -> Iterator[None]:
        """The service and its monitor are started, and stopped afterwards; --check finds no fault."""
        forget_log()
        run("systemctl", "start", *with_it, self.unit)
        self.assert_check_finds_no_fault()
        run("systemctl", "enable", "--runtime", "--now", self.monitor)
        try:
            yield
        finally:
            # Else it would come with the service next time, and --check would warn that there is one already.
            run("systemctl", "disable", "--runtime", "--now", self.monitor)
            run("systemctl", "stop", *with_it, self.unit)

    def assert_check_finds_no_fault(self) -> None:
        """With the settings that the monitor has; prints the report."""
        lines = self._configuration.read_text().splitlines() if self._configuration.exists() else []
        given = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        settings = {"MAX_MEMORY": "90%", "SIGNAL": "SIGTERM", "OPTIONS": ""} | given
        options = ("-m", settings["MAX_MEMORY"], "-s", settings["SIGNAL"], *settings["OPTIONS"].split())
        print(f"\n{run('memory-monitor', '--check', *options, self.unit)}")

    def was_asked(self) -> bool:
        """Whether the monitor has acted."""
        return self.times_asked() > 0

    def times_asked(self) -> int:
        """How often the monitor has acted so far."""
        return len(journal(f"OBJECT_SYSTEMD_UNIT={self.unit}", f"MESSAGE_ID={ASKED}"))

    def main_process(self) -> str:
        """The PID of the service that runs, or 0."""
        return property_of(self.unit, "MainPID")

    def says(self, words: str) -> bool:
        """Whether its log has these words."""
        return any(words in line for line in self.log())

    def log(self) -> list[str]:
        """Its log, with what the monitor and systemd say of it."""
        return shown(f"journalctl --no-hostname -u {self.unit}")

    def wait_until_says(self, words: str) -> None:
        """Waits for these words in its log."""
        eventually(lambda: self.says(words), words, DEADLINE_S, lambda: "\n".join(self.log()))

    def wait_until_measured(self) -> None:
        """Waits until the monitor has said so, within the threshold."""
        self.wait_until_says(f"{self.unit}: ok: ")

    def wait_for_another(self, main_process: str) -> None:
        """Waits until it runs with another main process."""

        def is_new() -> bool:
            active = property_of(self.unit, "ActiveState") == "active"
            return active and self.main_process() not in (main_process, "0")

        eventually(is_new, f"{self.unit} came back", DEADLINE_S, lambda: "\n".join(self.log()))

    def wait_until_monitor_saw_it_come_back(self) -> None:
        """Waits for the monitor's last line on a request."""
        self.wait_until_says("active again after")

    def wait_until_ok(self) -> None:
        """Waits until the monitor finds it within the threshold."""

        def is_ok() -> bool:
            return "ok: " in property_of(self.monitor, "StatusText")

        eventually(is_ok, "it is within", DEADLINE_S, lambda: "\n".join(self.log()))


def assert_page_shows_this_run(page: Page, command: str, run_it: Callable[[str], list[str]] = shown) -> None:
    """The page's log is that of a run like this one; prints the whole of it."""
    real = run_it(command)
    print(f"\n$ {command}", *real, sep="\n")
    assert_is_like(page.log(command), real)
