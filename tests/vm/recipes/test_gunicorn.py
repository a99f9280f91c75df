"""docs/recipes/gunicorn.md."""

from kit import eventually
from recipes.page import Page, install, install_app
from recipes.service import Recipe, assert_page_shows_this_run
from recipes.web import InFlight, answers, leak_until

PAGE = Page("recipes/gunicorn.md")
CONFIGURATION = "/etc/memory-monitor/shop.conf"
SHOP = Recipe("shop")
LOG = "journalctl --no-hostname -u shop"


def test_sigterm_lets_the_workers_finish_and_no_request_is_refused_while_it_restarts() -> None:
    install_app("shop.py", "/srv/shop")
    install(*PAGE.files, PAGE.file(CONFIGURATION))
    with SHOP.running("shop.socket"):
        eventually(answers, "gunicorn answers")
        SHOP.wait_until_measured()
        before = SHOP.main_process()
        in_flight = InFlight()
        errors = leak_until(SHOP.was_asked)
        SHOP.wait_until_says("Worker exiting")
        assert in_flight.is_pending()
        assert in_flight.finish() == "finished\n"
        SHOP.wait_for_another(before)
        assert answers()
        SHOP.wait_until_monitor_saw_it_come_back()
        assert errors == []
        assert_page_shows_this_run(PAGE, LOG)


def test_sighup_changes_the_workers_and_the_master_stays() -> None:
    install_app("shop.py", "/srv/shop")
    install(*PAGE.files, PAGE.file(CONFIGURATION, 1))
    with SHOP.running("shop.socket"):
        eventually(answers, "gunicorn answers")
        SHOP.wait_until_measured()
        before = SHOP.main_process()
        in_flight = InFlight()
        errors = leak_until(SHOP.was_asked)
        SHOP.wait_until_says("Worker exiting")
        assert in_flight.is_pending()
        assert in_flight.finish() == "finished\n"
        SHOP.wait_until_says("ok: within again")
        assert SHOP.main_process() == before
        assert errors == []
        # More than there are: gunicorn 20.1 may print two tracebacks as several workers end at once, for its
        # handler of SIGCHLD logs, and is called again meanwhile.
        assert_page_shows_this_run(PAGE, f"{LOG} -n 100")
