"""docs/coming-from-other-tools.md."""

from pathlib import Path

from kit import eventually, run
from recipes.page import Page, install, install_app, shown
from recipes.service import DEADLINE_S, Recipe, assert_page_shows_this_run

PAGE = Page("coming-from-other-tools.md")
LEAK = Path("/srv/resizer/leak")
LOG = "cat /var/log/supervisor/memory-monitor.log"


def prepare() -> None:
    """The program, which does not leak yet, and the files of the page."""
    install_app("worker.py", "/srv/resizer")
    Path("/srv/resizer/worker.py").rename("/srv/resizer/resizer.py").chmod(0o755)
    LEAK.write_text("0")
    install(*PAGE.files)


def test_beside_supervisor_it_signals_the_process_and_supervisor_starts_it_again() -> None:
    prepare()
    run("supervisorctl", "update")
    try:
        eventually(lambda: any(": ok: " in line for line in shown(LOG)), "it is measured", DEADLINE_S)
        LEAK.write_text("4")
        eventually(lambda: any("signalled" in line for line in shown(LOG)), "it is asked", DEADLINE_S)
        LEAK.write_text("0")

        def runs_again() -> bool:
            return len([line for line in shown(LOG) if ": ok: " in line]) >= 2

        eventually(runs_again, "supervisor starts it again", DEADLINE_S, lambda: "\n".join(shown(LOG)))
        assert_page_shows_this_run(PAGE, LOG)
    finally:
        run("supervisorctl", "stop", "all")


def test_monit_takes_the_rule_that_is_replaced() -> None:
    prepare()
    run("monit", "-t")


def test_for_and_restart_do_what_the_rule_of_monit_did() -> None:
    prepare()
    service = Recipe("resizer")
    with service.running():
        before = service.main_process()
        service.wait_until_measured()
        LEAK.write_text("4")
        eventually(service.was_asked, "it is asked", DEADLINE_S, lambda: "\n".join(service.log()))
        LEAK.write_text("0")
        service.wait_for_another(before)
        service.wait_until_ok()
        service.wait_until_monitor_saw_it_come_back()
        assert_page_shows_this_run(PAGE, "journalctl --no-hostname -u resizer")
