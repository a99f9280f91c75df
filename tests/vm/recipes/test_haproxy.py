"""docs/recipes/haproxy.md."""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from kit import eventually, run
from recipes.page import Page, install, install_app
from recipes.service import Recipe, assert_page_shows_this_run, forget_log

PAGE = Page("recipes/haproxy.md")
SERVERS = (Recipe("web@1", is_machine_wide=True), Recipe("web@2", is_machine_wide=True))
DEADLINE_S = 600.0
"""Python answers 40 requests per second here, of which each leaks 32 KiB."""
# More patient than any restart takes here: to wait is not to fail. SIGINT ends it sooner.
LOAD = ("wrk", "--threads", "1", "--connections", "2", "--timeout", "60s", "--duration", "30m")
URL = "http://127.0.0.1:8000/"


@contextmanager
def served() -> Iterator[None]:
    """The page's files are in their places, HAProxy and both servers run; all that is stopped again."""
    install_app("web.py", "/srv/web")
    install(*PAGE.files)
    forget_log()
    units = ("haproxy.service", *(one.unit for one in SERVERS))
    run("systemctl", "restart", *units)
    try:
        yield
    finally:
        run("systemctl", "stop", "memory-monitor", *units)


class Load:
    """wrk, which asks for one page after the other."""

    def __init__(self) -> None:
        """It begins."""
        self._wrk = subprocess.Popen((*LOAD, URL), stdout=subprocess.PIPE, text=True)

    def end(self) -> str:
        """What it says in the end."""
        self._wrk.send_signal(signal.SIGINT)
        said, _ = self._wrk.communicate(timeout=DEADLINE_S)
        print(said)
        served = re.search(r"(\d+) requests in", said)
        assert served is not None
        assert int(served[1]) > 100
        return said


def failures_in(said: str) -> list[str]:
    """The lines of wrk that are there only if requests have failed."""
    return [line for line in said.splitlines() if "Non-2xx" in line or "Socket errors" in line]


def test_no_request_fails_while_both_servers_restart_one_at_a_time() -> None:
    with served():
        run("systemctl", "start", "memory-monitor")
        print(run("memory-monitor", "--check", "web@1.service"))
        load = Load()
        for server in SERVERS:
            eventually(
                lambda says=server.says: says("active again after"),  # type: ignore[misc]
                f"{server.unit} came back",
                DEADLINE_S,
                lambda: "\n".join(line for one in SERVERS for line in one.log()),
            )
        assert failures_in(load.end()) == []
        assert not any(server.says("hard") for server in SERVERS)
        assert_page_shows_this_run(PAGE, "journalctl --no-hostname -u 'web@*' -u 'drain@*'")


def test_the_load_would_show_a_server_that_ends_before_it_is_drained() -> None:
    with served():
        load = Load()
        for _ in range(5):
            before = SERVERS[0].main_process()
            run("systemctl", "kill", SERVERS[0].unit)
            SERVERS[0].wait_for_another(before)
        assert failures_in(load.end())
