"""docs/recipes/user-service.md."""

from pathlib import Path

from kit import eventually, run
from recipes.page import Page, install, install_app
from recipes.service import DEADLINE_S, assert_page_shows_this_run

PAGE = Page("recipes/user-service.md")
HOME = Path("/home/tester")
LOG = "journalctl --user --no-hostname -u indexer -u memory-monitor@indexer"


def as_tester(*command: str) -> str:
    """What the command prints, run by the user."""
    return run("runuser", "-u", "tester", "--", "env", "XDG_RUNTIME_DIR=/run/user/1000", *command)


def log() -> list[str]:
    """What the page shows."""
    return as_tester(*LOG.split()).splitlines()


def has(words: str, count: int = 1) -> bool:
    """Whether so many lines of it have these words."""
    return len([line for line in log() if words in line]) >= count


def test_a_users_service_is_asked_by_the_users_monitor() -> None:
    # As on a machine that was installed as usual: the journal is kept, and each user can read the own.
    Path("/var/log/journal").mkdir(exist_ok=True)
    run("journalctl", "--flush")
    install_app("worker.py", str(HOME))
    install(*PAGE.files, home=HOME)
    (HOME / "leak").write_text("0")
    run("chown", "-R", "tester:", str(HOME))
    as_tester("systemctl", "--user", "daemon-reload")
    as_tester("systemctl", "--user", "start", "indexer")
    print(as_tester("memory-monitor", "--check", "--user", "-m", "80%", "indexer.service"))
    as_tester("systemctl", "--user", "enable", "--now", "indexer", "memory-monitor@indexer")
    try:
        eventually(lambda: has(": ok: "), "it is measured", DEADLINE_S, lambda: "\n".join(log()))
        (HOME / "leak").write_text("40")
        eventually(lambda: has("signalled: "), "it is asked", DEADLINE_S, lambda: "\n".join(log()))
        (HOME / "leak").write_text("0")
        eventually(lambda: has(": ok: ", 2), "it is there again", DEADLINE_S, lambda: "\n".join(log()))
        eventually(lambda: has("active again"), "that was seen", DEADLINE_S, lambda: "\n".join(log()))
        assert_page_shows_this_run(PAGE, LOG, lambda _: log())
    finally:
        as_tester("systemctl", "--user", "stop", "indexer", "memory-monitor@indexer")
