"""The unit of README.md, with the drop-in that it shows."""

from pathlib import Path

from kit import run
from recipes.page import Page, install, install_app
from recipes.service import Recipe, assert_page_shows_this_run

PAGE = Page("../README.md")
APP = Path("/usr/bin/myapp")
LEAK = Path("/srv/myapp/leak")
# So the process is called myapp.
RUNS_THE_WORKER = f"""\
import runpy, sys
sys.argv = ["myapp", "{LEAK}"]
runpy.run_path("/srv/myapp/worker.py")
"""


def test_the_unit_of_the_readme_is_asked_at_90_percent_and_comes_back() -> None:
    install_app("worker.py", "/srv/myapp")
    LEAK.write_text("0")
    APP.write_text(f"#!/usr/bin/python3\n{RUNS_THE_WORKER}")
    APP.chmod(0o755)
    install(*PAGE.files)
    run("systemctl", "enable", "--now", "myapp")
    assert_page_shows_this_run(PAGE, "memory-monitor --check -m 90% myapp")
    myapp = Recipe("myapp", is_machine_wide=True)
    with myapp.running():
        before = myapp.main_process()
        myapp.wait_until_measured()
        LEAK.write_text("40")
        myapp.wait_until_says(": signalled: ")
        LEAK.write_text("0")
        myapp.wait_for_another(before)
        myapp.wait_until_ok()
        assert_page_shows_this_run(PAGE, "journalctl --no-hostname -u myapp")
