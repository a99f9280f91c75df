"""docs/recipes/nodejs.md."""

from kit import eventually, run
from recipes.page import APPS, Page, install, install_app
from recipes.service import Recipe, assert_page_shows_this_run
from recipes.web import InFlight, answers, leak_until

PAGE = Page("recipes/nodejs.md")
SHOP = Recipe("web")


def test_with_a_handler_of_sigterm_the_request_at_hand_is_finished() -> None:
    install_app("server.js", "/srv/web")
    install(*PAGE.files)
    with SHOP.running():
        eventually(answers, "Node.js answers")
        SHOP.wait_until_measured()
        before = SHOP.main_process()
        in_flight = InFlight()
        leak_until(SHOP.was_asked)
        SHOP.wait_until_says("SIGTERM: no new connections")
        assert in_flight.is_pending()
        assert in_flight.finish() == "finished\n"
        SHOP.wait_for_another(before)
        SHOP.wait_until_monitor_saw_it_come_back()
        eventually(answers, "it answers again")
        assert_page_shows_this_run(PAGE, "journalctl --no-hostname -u web")


def test_without_a_handler_it_is_cut_off() -> None:
    install_app("server.js", "/srv/web")
    run("systemd-run", "--unit=cut", "/usr/bin/node", "/srv/web/server.js", "without-handler")
    eventually(answers, "Node.js answers")
    in_flight = InFlight()
    run("systemctl", "kill", "cut.service")
    assert in_flight.finish() != "finished\n"


def test_the_page_shows_the_handler_that_was_tried() -> None:
    (excerpt,) = [block for block in PAGE.blocks if block.startswith("process.on('SIGTERM'")]
    indented = "".join(f"  {line}\n" for line in excerpt.splitlines())
    assert indented in (APPS / "server.js").read_text()
