"""docs/recipes/celery.md."""

import tempfile
from pathlib import Path

import pytest
from kit import eventually, run
from recipes.page import Page, install, install_app
from recipes.service import DEADLINE_S, Recipe, assert_page_shows_this_run

PAGE = Page("recipes/celery.md")
JOBS = Recipe("jobs")


def call(task: str, *arguments: str | int) -> None:
    """Puts a task into the queue."""
    calls = f"import jobs; jobs.{task}.delay(*{list(arguments)!r})"
    run("env", "-C", "/srv/jobs", "python3", "-c", calls)


class Slow:
    """A task that is being worked on, until it is allowed to end."""

    def __init__(self) -> None:
        """Returns when it has begun."""
        directory = Path(tempfile.mkdtemp())
        directory.chmod(0o777)
        self._go, self._how_far = directory / "go", directory / "how-far"
        call("slow", str(self._go), str(self._how_far))
        eventually(lambda: self.how_far() == "begun", "the task begins", DEADLINE_S)

    def how_far(self) -> str:
        """What it has written."""
        return self._how_far.read_text() if self._how_far.exists() else ""

    def finish(self) -> None:
        """Lets it end."""
        self._go.touch()


def test_sigterm_is_a_warm_shutdown_the_task_at_hand_is_finished() -> None:
    install_app("jobs.py", "/srv/jobs")
    install(*PAGE.files)
    with JOBS.running():
        JOBS.wait_until_says("ready.")
        before = JOBS.main_process()
        task = Slow()
        call("leak", 150)
        eventually(JOBS.was_asked, "it is asked", DEADLINE_S)
        JOBS.wait_until_says("Warm shutdown")
        assert task.how_far() == "begun"
        task.finish()
        eventually(lambda: task.how_far() == "finished", "the task is finished", DEADLINE_S)
        JOBS.wait_for_another(before)
        JOBS.wait_until_monitor_saw_it_come_back()
        assert_page_shows_this_run(PAGE, "journalctl --no-hostname -u jobs")


# Why --repeat must not be short, and --kill-whom not `all`.
@pytest.mark.parametrize(
    "kill",
    [
        pytest.param(("--signal=TERM", "--kill-whom=main"), id="a-second-SIGTERM"),
        pytest.param(("--signal=QUIT", "--kill-whom=main"), id="SIGQUIT"),
        pytest.param(("--signal=TERM", "--kill-whom=all"), id="SIGTERM-to-all"),
    ],
)
def test_what_else_is_sent_drops_the_task_at_hand(kill: tuple[str, ...]) -> None:
    install_app("jobs.py", "/srv/jobs")
    install(*PAGE.files)
    with JOBS.running():
        JOBS.wait_until_says("ready.")
        before = JOBS.main_process()
        task = Slow()
        run("systemctl", "kill", "--kill-whom=main", JOBS.unit)
        JOBS.wait_until_says("Warm shutdown")
        run("systemctl", "kill", *kill, JOBS.unit)
        JOBS.wait_for_another(before)
        assert task.how_far() == "begun"
