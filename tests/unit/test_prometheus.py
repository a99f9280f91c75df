"""What is shipped for Prometheus and Grafana: the names in it are those that there are, and it is valid.

promtool is Debian's: `.ci/setup test` unpacks it in build/prometheus.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memmon_systemd import __version__
from memmon_systemd.ctl.exposition import classic
from memmon_systemd.ctl.families import families_of
from memmon_systemd.ctl.state import States
from memmon_systemd.monitor.policy import Hold
from tests.unit.test_metrics import everything, tree

__all__ = ["tree"]  # A fixture.

ROOT = Path(__file__).parents[2]
EXPORTER = ROOT / "exporter"
RULES = EXPORTER / "prometheus" / "memory-monitor.rules.yml"
TESTS = sorted((EXPORTER / "prometheus" / "tests").glob("*.yml"))
DASHBOARD = EXPORTER / "grafana" / "memory-monitor.json"
PAGE = (ROOT / "docs" / "prometheus.md").read_text()
NAMES = {family.sample_name for family in families_of(States([], []))}
ALERTS = re.findall(r"^      - alert: (\w+)$", RULES.read_text(), re.MULTILINE)
PROMTOOL = shutil.which("promtool", path=f"{ROOT}/build/prometheus/usr/bin:{os.environ['PATH']}")
with_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="there is no promtool: bash .ci/setup test unpacks Debian's"
)
VARIABLES = {"$__range": "24h", "$__rate_interval": "5m", "$instance": ".*", "$name": ".*"}
"""What Grafana puts into an expression."""
IMPORTS = re.compile(r"^\s*(from|import) (prometheus_client|memory_monitor_exporter)", re.MULTILINE)


def promtool(*words: str, text: str | None = None) -> str:
    """What it says; AssertionError where it finds a fault."""
    assert PROMTOOL is not None
    done = subprocess.run((PROMTOOL, *words), input=text, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def panels() -> list[dict[str, Any]]:
    """Those of the dashboard, as JSON has them."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[str]:
    """All PromQL of the dashboard, as Prometheus would get it."""
    for panel in panels():
        for target in panel["targets"]:
            expression = str(target["expr"])
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            yield expression


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\bmemory_monitor_\w+", text))


def test_rules_and_dashboard_use_metrics_that_there_are() -> None:
    assert len(NAMES) == 11
    for file in (RULES, DASHBOARD, *TESTS):
        assert names_in(file.read_text()) <= NAMES, file
    assert len(names_in(DASHBOARD.read_text())) >= 8


def test_the_page_has_every_metric_and_every_alert() -> None:
    listed = re.findall(r"^\| `(memory_monitor_\w+)", PAGE, re.MULTILINE)
    assert set(listed) == NAMES
    assert re.findall(r"^\| `(MemoryMonitor\w+)`", PAGE, re.MULTILINE) == ALERTS


def test_every_alert_has_a_test() -> None:
    tested = {name for file in TESTS for name in re.findall(r"alertname: (\w+)", file.read_text())}
    assert tested == set(ALERTS)
    assert len(TESTS) == len(ALERTS) == 8


def test_the_reasons_that_the_rules_treat_apart_are_those_that_there_are() -> None:
    treated = re.findall(r'reason(?:!~|=)"([\w|]+)"', RULES.read_text())
    assert {one for words in treated for one in words.split("|")} <= {hold.value for hold in Hold}


@with_promtool
def test_promtool_finds_no_fault_with_the_rules() -> None:
    assert f"SUCCESS: {len(ALERTS)} rules found" in promtool("check", "rules", str(RULES))


@with_promtool
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_the_alert_fires_when_it_should_and_not_else(file: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", str(file))


@with_promtool
def test_prometheus_understands_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    found = list(expressions())
    assert len(found) >= 10
    assert not [expression for expression in found if "$" in expression]
    rules = [{"record": "checked", "expr": e, "labels": {"n": str(n)}} for n, e in enumerate(found)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))  # JSON is YAML.
    assert f"{len(found)} rules found" in promtool("check", "rules", str(file))


@with_promtool
def test_promtool_finds_no_fault_with_the_names_and_the_help_of_the_metrics(tree: Path) -> None:
    assert promtool("check", "metrics", text=classic(everything(tree))) == ""


def test_every_panel_of_the_dashboard_has_a_place_of_its_own_and_says_what_it_shows() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["description"]
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_the_exporter_is_of_the_version_that_it_reads_the_state_files_of() -> None:
    project = tomllib.loads((EXPORTER / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    assert project["dependencies"][0] == f"memory-monitor=={__version__}"


def test_nothing_of_the_monitor_needs_the_exporter_or_its_library() -> None:
    for path in (ROOT / "memmon_systemd").rglob("*.py"):
        assert not re.search(
            r"^\s*(from|import) (prometheus_client|memory_monitor_exporter)", path.read_text()
        )
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert [re.split(r"[>;]", one)[0] for one in dependencies] == ["pystemd", "psutil"]


def test_memmonctl_metrics_works_where_there_is_no_prometheus_client() -> None:
    program = (
        "import sys; sys.modules['prometheus_client'] = None; "
        "from memmon_systemd.ctl.command import main; main(['--system', 'metrics'])"
    )
    done = subprocess.run(
        (sys.executable, "-c", program), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("# EOF\n")
