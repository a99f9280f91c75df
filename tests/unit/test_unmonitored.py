"""Units that are configured in their files, and aren't monitored: found as systemd finds its files."""

from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from memmon_systemd.ctl.unmonitored import Unmonitored, unmonitored
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.manager import Manager

SECTION = "[X-MemoryMonitor]\nThreshold=80%\n"


class Files:
    """A service manager with units of one directory of files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.states: dict[str, str] = {}
        self.silent = False

    def write(self, path: str, text: str = SECTION) -> None:
        (self.directory / path).parent.mkdir(exist_ok=True)
        (self.directory / path).write_text(text)

    def unit_path(self) -> list[str]:
        return ["/missing", str(self.directory)]

    def load(self, name: str) -> tuple[str, str]:
        if self.silent:
            raise BusError(110, "no answer within 1 s", was_called=True)
        return name, "loaded" if self.unit_files(name) else "not-found"

    def unit(self, name: str) -> str:
        return name

    def state(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(active_state=self.states.get(name, "inactive"))

    def list_units(self, pattern: str) -> list[tuple[str, str]]:
        return [(name, "loaded") for name in self.states if fnmatchcase(name, pattern)]

    def unit_files(self, name: str) -> tuple[str, ...]:
        template = name.partition("@")[0] + "@.service" if "@" in name else name
        files = [self.directory / template, *sorted((self.directory / f"{name}.d").glob("*.conf"))]
        return tuple(str(path) for path in files if path.exists())

    def found(self, monitored: tuple[str, ...] = (), monitors: tuple[str, ...] = ()) -> list[Unmonitored]:
        return unmonitored(cast(Manager, self), monitored, monitors)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_unit_that_does_not_run_is_found_by_its_file_or_a_drop_in(files: Files) -> None:
    files.write("own.service")
    files.write("plain.service", "[Service]\n")
    files.write("dropped.service", "[Service]\n")
    files.write("dropped.service.d/a.conf", SECTION.replace("80%", "1G"))
    files.write("service.d/00-all.conf")
    files.write("out.service")
    files.write("out.service.d/a.conf", SECTION.replace("80%", "infinity"))
    assert files.found() == [
        Unmonitored("dropped.service", "inactive", "memory-monitor", "1 GiB", None),
        Unmonitored("own.service", "inactive", "memory-monitor", "80%", None),
    ]
    assert files.found(monitored=("own.service", "dropped.service")) == []


def test_of_a_template_the_instances_count_that_systemd_knows(files: Files) -> None:
    files.write("worker@.service")
    files.states = {"worker@1.service": "failed", "other@1.service": "active"}
    assert [(one.name, one.active_state) for one in files.found()] == [("worker@1.service", "failed")]


def test_one_that_runs_and_is_not_monitored_is_a_problem(files: Files) -> None:
    files.write("own.service")
    files.write("wrong.service", SECTION.replace("80%", "1 apple"))
    files.states = {"own.service": "active", "wrong.service": "active"}
    without, wrong = files.found()
    assert str(without.problem).endswith(
        "memory-monitor.service isn't running: systemctl enable --now memory-monitor"
    )
    assert "wrong.service:2: Threshold=: '1 apple' is not a size" in str(wrong.problem)
    assert "see journalctl -u memory-monitor" in str(files.found(monitors=("memory-monitor",))[0].problem)


@pytest.mark.parametrize("path", ["own.target", "own.target.d/a.conf", "own.timer", "own.path"])
def test_a_section_where_there_are_no_processes_is_a_problem(files: Files, path: str) -> None:
    files.write(path)
    unit = path.partition(".d/")[0]
    (found,) = files.found()
    assert found.name == unit
    assert f"a {unit.rpartition('.')[2]} has no processes: not monitored" in str(found.problem)
    assert files.found(monitors=("memory-monitor",)) == [found]


def test_an_enabled_instance_whose_monitor_is_not_there_is_found(files: Files) -> None:
    files.write("app.service", "[Service]\n")
    files.write("app.service.wants/memory-monitor@app.service", "")
    assert files.found() == [Unmonitored("app.service", "inactive", "memory-monitor@app", None, None)]
    files.states = {"app.service": "active"}
    assert "systemctl start 'memory-monitor@app'" in str(files.found()[0].problem)
    assert files.found(monitored=("app.service",)) == []


def test_a_systemd_that_does_not_answer_is_no_empty_list(files: Files) -> None:
    files.write("own.service")
    files.silent = True
    with pytest.raises(BusError):
        files.found()
