"""docs/recipes/haproxy.md."""

import re
import subprocess

from kit import eventually, journal, run
from recipes.page import Page, assert_is_like, install, install_app, shown
from recipes.service import ASKED, DEADLINE_S, forget_log

PAGE = Page("recipes/haproxy.md")
LOG = "journalctl --no-hostname -u web@1"
LOAD = ("wrk", "--threads", "1", "--connections", "4", "--duration", "60s", "http://127.0.0.1:8000/")


def times_asked(unit: str) -> int:
    return len(journal(f"OBJECT_SYSTEMD_UNIT={unit}", f"MESSAGE_ID={ASKED}"))


def test_no_request_fails_while_both_servers_restart_one_at_a_time() -> None:
    install_app("web.py", "/srv/web")
    install(*PAGE.files)
    forget_log()
    run("systemctl", "restart", "haproxy", "web@1", "web@2")
    run("systemctl", "start", "memory-monitor")
    try:
        load = subprocess.Popen(LOAD, stdout=subprocess.PIPE, text=True)
        eventually(
            lambda: times_asked("web@1.service") and times_asked("web@2.service"),
            "both were asked",
            DEADLINE_S,
            lambda: "\n".join(shown("journalctl --no-hostname -n 60")),
        )
        said, _ = load.communicate()
        print(said)
        served = re.search(r"(\d+) requests in", said)
        assert served is not None
        assert int(served[1]) > 100
        assert "Non-2xx" not in said
        assert "Socket errors" not in said
    finally:
        run("systemctl", "stop", "memory-monitor", "web@1", "web@2", "haproxy")
    real = shown(LOG)
    print(f"\n$ {LOG}", *real, sep="\n")
    assert_is_like(PAGE.log(LOG), real)
