"""docs/fleet.md, but for its Ansible role."""

import json
import re
from pathlib import Path

from kit import eventually, property_of, run
from recipes.page import REPO, Page, install, install_app, shown
from recipes.service import ASKED, Recipe, assert_page_shows_this_run, forget_log

PAGE = Page("fleet.md")
DIRECTORY = Path("/srv/worker")
COUNT = f"journalctl -q -o cat --output-fields=MEMORY_MONITOR_UNIT MESSAGE_ID={ASKED}"


def worker(instance: int) -> Recipe:
    """One of the fleet, which does not leak yet."""
    Path(DIRECTORY, str(instance)).write_text("0")
    return Recipe(f"worker@{instance}", is_machine_wide=True)


def leak_until_it_was_asked_and_came_back(one: Recipe, instance: int) -> None:
    """Makes it leak."""
    before = one.main_process()
    Path(DIRECTORY, str(instance)).write_text("40")
    one.wait_until_says(": signalled: ")
    Path(DIRECTORY, str(instance)).write_text("0")
    one.wait_for_another(before)
    assert one.says("the job at hand is finished")


def assert_list_is_like(page: list[str], real: list[str]) -> None:
    """The same units in the same states, in any order: growth may not be known yet."""
    print("", "$ memmonctl", *real, sep="\n")
    assert page[0] == real[0]
    assert page[1].split() == real[1].split()
    assert sorted(line.split()[:2] for line in page[2:]) == sorted(line.split()[:2] for line in real[2:])


def assert_the_textfile_collector_gets(unit: str) -> None:
    """By the page's command."""
    text = (REPO / "docs/fleet.md").read_text()
    (command,) = re.findall(r"^    (memmonctl metrics --textfile .*)$", text, re.MULTILINE)
    collected = Path(command.split()[-1])
    collected.parent.mkdir(parents=True, exist_ok=True)
    run("sh", "-c", command)
    assert f'"{unit}"' in collected.read_text()
    assert [path.name for path in collected.parent.iterdir()] == [collected.name]


def test_one_monitor_asks_the_instance_that_leaks_and_finds_those_that_come_later() -> None:
    install_app("worker.py", str(DIRECTORY))
    install(*(file for file in PAGE.files if "/worker@.service" in file.path))
    forget_log()
    first, second, third = workers = [worker(instance) for instance in (1, 2, 3)]
    run("systemctl", "start", first.unit, second.unit)
    run("systemctl", "enable", "--now", "memory-monitor")
    try:
        first.wait_until_says(": ok: ")
        second.wait_until_says(": ok: ")
        print(run("memory-monitor", "--check", first.unit))
        others = first.main_process()
        leak_until_it_was_asked_and_came_back(second, 2)
        run("systemctl", "start", third.unit)
        third.wait_until_says(": ok: ")
        leak_until_it_was_asked_and_came_back(third, 3)
        assert first.main_process() == others
        assert first.times_asked() == 0
        assert property_of(first.monitor, "NRestarts") == "0"
        third.wait_until_says("active again")
        assert_the_textfile_collector_gets(first.unit)
        history = run("memmonctl", "history")
        assert "worker@2" in history, history
        assert "worker@3" in history, history
        assert_list_is_like(PAGE.log("memmonctl"), shown("memmonctl"))
        assert_page_shows_this_run(PAGE, "journalctl -o cat -u 'worker@*'")
        assert_page_shows_this_run(PAGE, f"{COUNT} | sort | uniq -c")
    finally:
        run("systemctl", "disable", "--now", first.monitor)
        run("systemctl", "stop", *(one.unit for one in workers))


def test_a_default_for_all_services_only_logs_what_would_be_done() -> None:
    (default,) = (file for file in PAGE.files if "/service.d/" in file.path)
    install(default)
    run("systemctl", "start", "memory-monitor.service")

    def dry_runs() -> dict[str, bool]:
        return {one["name"]: one["dry_run"] for one in json.loads(run("memmonctl", "--json"))["targets"]}

    try:
        eventually(
            lambda: dry_runs().get("dbus.service"), "dbus in a dry run", detail=lambda: str(dry_runs())
        )
        assert all(dry_runs().values())
    finally:
        run("systemctl", "stop", "memory-monitor.service")
        Path(default.path).unlink()
        run("systemctl", "daemon-reload")
