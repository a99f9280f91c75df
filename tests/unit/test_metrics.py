"""The metrics: their names, labels and values, in the two forms of text; and the file for node_exporter."""

import os
import re
import signal
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import parser as classic_parser
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as strict_parser

from memmon_systemd import __version__
from memmon_systemd.ctl.command import main
from memmon_systemd.ctl.exposition import classic, openmetrics
from memmon_systemd.ctl.families import Family, families_of
from memmon_systemd.ctl.state import MonitorState, States
from memmon_systemd.linux import cgroup, limits
from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.output.record import MonitorRecord, Record
from tests.unit.trees import MIB, make_cgroup, use

MONITOR = MonitorRecord("memory-monitor@app", "1.0", 7, 1, bytes(16), 0, False, 5.0)
HOSTILE = 'a"b\\c\nd\udcffé\r{}=,#.service'
CLEAN = 'a"b\\c\nd\\udcffé\r{}=,#.service'
"""What isn't UTF-8 can't be in a label: it is written as \\udcXX."""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hierarchy of cgroups with app.service in it, which uses 30 MiB."""
    monkeypatch.setattr(cgroup, "find_hierarchy", lambda: Hierarchy(str(tmp_path), memory=True))
    make_cgroup(tmp_path / "system.slice" / "app.service", 30 * MIB)
    return tmp_path


def record(name: str = "app.service", **values: Any) -> Record:
    given = {
        "state": "ok",
        "metric": "current",
        "threshold_bytes": 100,
        "interval_s": 2.0,
        "action": "signal",
    }
    return Record(name, **{**given, **values})


def state(*records: Record, **values: Any) -> MonitorState:
    given = {"torn": 0, "is_running": True, "path": "/run/memory-monitor/a/a.state", "monitor": MONITOR}
    return MonitorState(records=records, **{**given, **values})


def told(*states: MonitorState) -> dict[str, list[tuple[dict[str, str], float | int]]]:
    """The samples of each family, by its short name."""
    found = families_of(States(states, []))
    return {family.sample_name.removeprefix("memory_monitor_"): list(family.samples) for family in found}


def everything(tree: Path, name: str = "app.service") -> list[Family]:
    """Families of which each has a sample."""
    directory = tree / "system.slice" / "app.service"
    (directory / "memory.max").write_text(f"{200 * MIB}\n")
    given = {"cgroup": str(directory), "hold": "budget", "hard_bytes": 7, "requests": 3, "failed_requests": 1}
    full = record(name, begun_s=time.monotonic() - 60, last_request_s=1795848738.25, **given)
    return families_of(States([state(full)], []))


def test_the_metrics_are_those_that_were_promised(tree: Path) -> None:
    text = openmetrics(everything(tree))
    assert text.endswith("# EOF\n")
    samples = re.findall(r"^(memory_monitor_\w+)\{(.*)\} (.*)$", text, re.MULTILINE)
    unit = 'name="app.service"'
    begun_s = f"{time.time() - 60:.0f}"
    assert [(name.removeprefix("memory_monitor_"), labels) for name, labels, _ in samples] == [
        ("usage_bytes", f'metric="current",{unit}'),
        ("threshold_bytes", unit),
        ("hard_threshold_bytes", unit),
        ("limit_bytes", unit),
        ("requests_total", f'action="signal",{unit},result="done"'),
        ("requests_total", f'action="signal",{unit},result="failed"'),
        ("held", f'{unit},reason="budget"'),
        ("failed_readings_total", unit),
        ("last_request_timestamp_seconds", unit),
        ("invocation_start_timestamp_seconds", unit),
        ("up", 'monitor="memory-monitor@app"'),
        ("build_info", f'version="{__version__}"'),
    ]
    values = [value for _, _, value in samples]
    assert values[:-3] == [
        *(str(30 * MIB), "100", "7", str(200 * MIB)),
        *("3", "1", "1", "0", "1795848738.250"),
    ]
    assert abs(int(values[-3]) - int(begun_s)) <= 1
    assert values[-2:] == ["1", "1"]


def parse_openmetrics(text: str) -> Iterable[Metric]:
    parsed: Iterable[Metric] = strict_parser.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return parsed


def parse_classic(text: str) -> Iterable[Metric]:
    return classic_parser.text_string_to_metric_families(text)


def same(families: Iterable[Metric]) -> dict[str, Any]:
    """What a parser understood, by sample."""
    return {
        f"{sample.name} {sorted(sample.labels.items())}": (
            sample.value,
            "gauge" if family.type == "info" else family.type,
            family.documentation,
        )
        for family in families
        for sample in family.samples
    }


@pytest.mark.parametrize("name", ["app.service", r"a\x2db@1.service", HOSTILE])
def test_a_strict_parser_understands_both_forms_alike_whatever_a_unit_is_called(
    tree: Path, name: str
) -> None:
    families = everything(tree, name)
    strict = same(parse_openmetrics(openmetrics(families)))
    assert len(strict) == 12
    assert same(parse_classic(classic(families))) == strict
    # Any other is an error for node_exporter, and the whole file with it.
    assert set(re.findall(r"^# TYPE \S+ (\w+)$", classic(families), re.MULTILINE)) == {"gauge", "counter"}
    expected = CLEAN if name == HOSTILE else name
    parsed = {family.name: family for family in parse_openmetrics(openmetrics(families))}
    assert [sample.labels["name"] for sample in parsed["memory_monitor_held"].samples] == [expected]


def test_both_forms_are_utf_8(tree: Path) -> None:
    families = everything(tree, HOSTILE)
    assert openmetrics(families).encode().decode().count(r"\\udcff") == 10
    assert classic(families).encode()


def test_without_a_monitor_there_is_only_what_says_so() -> None:
    text = classic(families_of(States([], [])))
    assert text.splitlines()[2:] == [f'memory_monitor_build_info{{version="{__version__}"}} 1']


def test_a_unit_without_a_limit_has_no_limit_in_the_metrics(tree: Path) -> None:
    free, bound = (tree / "system.slice" / name for name in ("free.service", "app.service"))
    make_cgroup(free, MIB)
    (free / "memory.max").write_text("max\n")
    (bound / "memory.max").write_text("max\n")
    records = [record("free.service", cgroup=str(free)), record(cgroup=str(bound))]
    assert told(state(*records))["limit_bytes"] == []
    (tree / "system.slice" / "memory.max").write_text("9000\n")
    assert told(state(*records))["limit_bytes"] == [
        ({"name": "app.service"}, 9000),
        ({"name": "free.service"}, 9000),
    ]
    (bound / "memory.max").write_text("4096\n")
    assert told(state(*records))["limit_bytes"][0] == ({"name": "app.service"}, 4096)


def test_the_limit_of_a_slice_is_read_once_for_all_its_units(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    tightest_limit = limits.tightest_limit

    def counted(directory: str, root: str) -> limits.Limit | None:
        read.append(os.path.basename(directory))
        return tightest_limit(directory, root)

    monkeypatch.setattr(limits, "tightest_limit", counted)
    (tree / "system.slice" / "memory.max").write_text("9000\n")
    names = [f"u{number}.service" for number in range(10)]
    directories = [make_cgroup(tree / "system.slice" / name, MIB) for name in names]
    found = told(state(*(record(d.name, cgroup=str(d)) for d in directories)))
    assert [size for _, size in found["limit_bytes"]] == [9000] * 10
    assert read == ["system.slice"]


@pytest.mark.usefixtures("tree")
def test_a_unit_that_two_monitors_have_is_there_once() -> None:
    other = replace(MONITOR, name="other")
    assert told(state(record()), state(record(threshold_bytes=7), monitor=other))["threshold_bytes"] == [
        ({"name": "app.service"}, 100)
    ]


def test_a_process_is_not_there() -> None:
    process = record("app[12]", pid=12, is_unit=False)
    assert told(state(process))["requests_total"] == []


def test_a_monitor_that_was_killed_is_down_and_one_that_was_stopped_is_not_there() -> None:
    over = replace(MONITOR, name="over", has_ended=True)
    killed = state(record(), is_running=False)
    found = told(killed, state(is_running=False, monitor=over))
    assert found["up"] == [({"monitor": "memory-monitor@app"}, 0)]
    assert found["threshold_bytes"] == []


def test_two_monitors_of_one_name_are_one_series_a_user_may_have_one_too() -> None:
    killed = state(is_running=False)
    for states in ((killed, state()), (state(), killed), (state(), state())):
        assert told(*states)["up"] == [({"monitor": "memory-monitor@app"}, 1)]


def test_a_unit_that_has_stopped_since_is_left_out_of_the_usage(tree: Path) -> None:
    gone = record("gone.service", cgroup=str(tree / "system.slice" / "gone.service"))
    found = told(state(gone))
    assert found["usage_bytes"] == []
    assert found["threshold_bytes"] == [({"name": "gone.service"}, 100)]


def test_usage_is_what_the_cgroup_says_now(tree: Path) -> None:
    directory = tree / "system.slice" / "app.service"
    found = told(state(record(cgroup=str(directory))))
    assert found["usage_bytes"] == [({"name": "app.service", "metric": "current"}, 30 * MIB)]
    use(directory, 40 * MIB)
    assert told(state(record(cgroup=str(directory))))["usage_bytes"][0][1] == 40 * MIB


def metrics_of(directory: Path, *options: str) -> int:
    """The status of the command; the signals that it sets are those of this process again."""
    before = {number: signal.getsignal(number) for number in (signal.SIGPIPE, signal.SIGINT)}
    try:
        return main(["--directory", str(directory), "metrics", *options])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def textfile(directory: Path, file: Path) -> int:
    return metrics_of(directory, "--textfile", str(file))


def test_the_textfile_is_replaced_as_a_whole_and_everybody_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "memory-monitor.prom"
    file.write_text("old\n")
    with file.open() as being_read:
        mask = os.umask(0o077)
        assert textfile(tmp_path, file) == 0
        os.umask(mask)
        assert being_read.read() == "old\n"
    assert "memory_monitor_build_info" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == [file.name]


def test_what_a_killed_run_has_left_is_no_obstacle(tmp_path: Path) -> None:
    file = tmp_path / "memory-monitor.prom"
    (tmp_path / f"{file.name}.{os.getpid()}").write_text("half")
    assert textfile(tmp_path, file) == 0
    assert os.listdir(tmp_path) == [file.name]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            "missing/a.prom",
            "missing/a.prom can't be written: No such file or directory: it has to be a",
        ),
        ("a.txt", "a.txt' doesn't end in .prom: node_exporter reads no other: /var/lib/prometheus/"),
        ("directory.prom", "directory.prom can't be written: Is a directory"),
    ],
)
def test_a_textfile_that_cannot_be_is_one_line(
    tmp_path: Path, file: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "directory.prom").mkdir()
    assert textfile(tmp_path, tmp_path / file) == 1
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert os.listdir(tmp_path) == ["directory.prom"]


def test_a_state_file_that_is_not_understood_is_said_and_the_others_are_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.state").write_text("nonsense")
    assert metrics_of(tmp_path) == 0
    out, error = capfd.readouterr()
    assert error == f"memmonctl: {tmp_path}/broken.state: it is no state file of memory-monitor\n"
    assert out.endswith("# EOF\n")


def test_a_scrape_opens_three_files_for_each_unit_and_reads_the_mounts_once(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hierarchy = Hierarchy(str(tree), memory=True)
    counts = {"files": 0, "mounts": 0}
    really_open = os.open

    def counted_open(path: str, flags: int, *mode: int) -> int:
        counts["files"] += 1
        return really_open(path, flags, *mode)

    def counted_mounts() -> Hierarchy:
        counts["mounts"] += 1
        return hierarchy

    directories = [make_cgroup(tree / "system.slice" / f"u{number}.service", MIB) for number in range(100)]
    records = [record(one.name, metric="unreclaimable", cgroup=str(one)) for one in directories]
    monkeypatch.setattr(os, "open", counted_open)
    monkeypatch.setattr(cgroup, "find_hierarchy", counted_mounts)
    told(state(*records))
    assert counts == {"files": 300, "mounts": 1}
