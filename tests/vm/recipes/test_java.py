"""docs/recipes/java.md."""

from kit import eventually, property_of, run
from recipes.page import APPS, Page, install
from recipes.service import DEADLINE_S, Recipe, assert_page_shows_this_run
from recipes.web import InFlight, answers, leak_until

PAGE = Page("recipes/java.md")
SHOP = Recipe("app")


def test_sigterm_runs_the_shutdown_hooks_and_status_143_is_a_success() -> None:
    run("javac", "-d", "/srv/app", str(APPS / "App.java"))
    install(*PAGE.files)
    with SHOP.running():
        eventually(answers, "Java answers", DEADLINE_S)
        SHOP.wait_until_measured()
        before = SHOP.main_process()
        in_flight = InFlight()
        leak_until(SHOP.was_asked)
        SHOP.wait_until_says("shutdown hook: finishing")
        assert in_flight.is_pending()
        assert in_flight.finish() == "finished\n"
        SHOP.wait_for_another(before)
        SHOP.wait_until_monitor_saw_it_come_back()
        eventually(answers, "it answers again", DEADLINE_S)
        assert SHOP.says("Deactivated successfully")
        assert property_of(SHOP.unit, "NRestarts") == "1"
        assert_page_shows_this_run(PAGE, "journalctl --no-hostname -u app")


def test_without_successexitstatus_143_is_a_failure_to_systemd() -> None:
    (unit,) = [file for file in PAGE.files if file.path.endswith("/app.service")]
    run("javac", "-d", "/srv/app", str(APPS / "App.java"))
    install(*PAGE.files)
    run("systemd-run", "--unit=bare", "/usr/bin/java", "-cp", "/srv/app", "App")
    assert "SuccessExitStatus=143" in unit.text
    eventually(answers, "Java answers", DEADLINE_S)
    run("systemctl", "kill", "bare.service")
    eventually(lambda: property_of("bare.service", "ActiveState") == "failed", "it failed", DEADLINE_S)
    assert property_of("bare.service", "ExecMainStatus") == "143"
    run("systemctl", "reset-failed", "bare.service")
