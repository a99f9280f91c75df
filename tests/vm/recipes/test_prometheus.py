"""docs/prometheus.md: the exporter under systemd, Debian's Prometheus, and the file for node_exporter."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from kit import UNITS, eventually, journal, properties_of, property_of, run, write_unit
from recipes.page import Page, install
from recipes.service import DEADLINE_S, SECTION
from shipped import MachineWide, Monitored, exposure_of

PAGE: Final = Page("prometheus.md")
PACKAGE: Final = "/srv/memory-monitor-exporter.deb"
SOCKET: Final = "memory-monitor-exporter.socket"
SERVICE: Final = "memory-monitor-exporter.service"
METRICS: Final = "http://127.0.0.1:10893/metrics"
TEXTFILE: Final = Path("/var/lib/prometheus/node-exporter/memory-monitor.prom")
RULES: Final = Path("/usr/share/memory-monitor-exporter/memory-monitor.rules.yml")


def get(url: str) -> str:
    """A page; OSError."""
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
        content: bytes = answer.read()
    return content.decode()


def ask(path: str) -> Any:
    """`data` of an answer of Prometheus, whose form depends on the question."""
    return json.loads(get(f"http://127.0.0.1:9090/api/v1/{path}"))["data"]


def series(expression: str) -> list[dict[str, Any]]:
    """What an expression gives now; nothing where Prometheus doesn't answer yet."""
    with suppress(OSError):
        query = urllib.parse.quote(expression)
        found: list[dict[str, Any]] = ask(f"query?query={query}")["result"]
        return found
    return []


def wait_for(expression: str) -> list[dict[str, Any]]:
    """The series of an expression as soon as there are any."""
    return eventually(lambda: series(expression), expression, DEADLINE_S, targets)


def targets() -> str:
    """What Prometheus says of what it scrapes."""
    with suppress(OSError):
        return json.dumps(ask("targets"), indent=1)
    return "Prometheus doesn't answer"


@pytest.fixture(scope="module", autouse=True)
def exporter() -> Iterator[None]:
    """The package, its socket listening, and a drop-in that kills it at a system call that it may not do."""
    run("dpkg", "--install", PACKAGE)
    write_unit(f"{SERVICE}.d/tests.conf", "[Service]\nSystemCallErrorNumber=kill\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "--now", SOCKET)
    yield
    run("dpkg", "--purge", "memory-monitor-exporter")


@pytest.fixture(scope="module")
def service() -> Iterator[Monitored]:
    """A service with a section of its own, and the machine-wide monitor."""
    with MachineWide() as monitor:
        found = Monitored("leaky", service=SECTION)
        run("systemctl", "start", found.unit)
        monitor.wait_for(r"leaky\.service: ok: ")
        yield found
        run("systemctl", "stop", found.unit)
        (UNITS / found.unit).unlink()


def test_nothing_of_it_runs_until_somebody_asks(service: Monitored) -> None:
    assert property_of(SERVICE, "ActiveState") == "inactive"
    text = get(METRICS)
    assert f'memory_monitor_threshold_bytes{{name="{service.unit}"}} 3.145728e+07' in text
    assert 'memory_monitor_up{monitor="memory-monitor"} 1.0' in text
    assert f'memory_monitor_limit_bytes{{name="{service.unit}"}} 6.291456e+07' in text
    name = f'name="{service.unit}"'
    (usage,) = re.findall(rf"^memory_monitor_usage_bytes\{{.*{name}\}} (.*)$", text, re.MULTILINE)
    assert 1e6 < float(usage) < 60e6
    assert property_of(SERVICE, "ActiveState") == "active"
    assert journal(f"--unit={SERVICE}", "SYSLOG_IDENTIFIER=memory-monitor-exporter") == []


def test_it_has_a_user_of_its_own_no_capability_and_no_network(service: Monitored) -> None:
    assert service.unit in get(METRICS)
    pid = property_of(SERVICE, "MainPID")
    status = Path(f"/proc/{pid}/status").read_text()
    assert not re.search(r"^Uid:\t(0|1000)\t", status, re.MULTILINE)
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    print(f"resident: {re.findall('VmRSS:.*', status)}")
    exposure = exposure_of(SERVICE)
    assert exposure <= 1.0


def test_where_it_is_started_alone_the_socket_comes_with_it() -> None:
    run("systemctl", "stop", SOCKET, SERVICE)
    run("systemctl", "start", SERVICE)
    assert properties_of(SOCKET, "ActiveState") == {"ActiveState": "active"}
    assert "memory_monitor_build_info" in get(METRICS)


def test_prometheus_scrapes_it_and_goes_on_when_the_monitor_was_killed(service: Monitored) -> None:
    install(*PAGE.files)
    run("promtool", "check", "config", "/etc/prometheus/prometheus.yml")
    run("systemctl", "restart", "prometheus")
    (up,) = wait_for('up{job="memory-monitor"} == 1')
    print(f"scraped: {up}")
    (asked,) = wait_for(f'memory_monitor_requests_total{{name="{service.unit}",result="done"}}')
    requests = int(asked["value"][1])
    service.tell("grow 40")
    expression = f'memory_monitor_requests_total{{name="{service.unit}",result="done"}} > {requests}'
    print(f"asked: {wait_for(expression)}")
    print(f"at: {wait_for('memory_monitor_last_request_timestamp_seconds')}")
    for query in ("memory_monitor_usage_bytes", "memory_monitor_threshold_bytes", "scrape_duration_seconds"):
        print(run("promtool", "query", "instant", "http://127.0.0.1:9090", query))
    print(get(METRICS))
    (rules,) = [group for group in ask("rules")["groups"] if group["name"] == "memory-monitor"]
    assert {rule["health"] for rule in rules["rules"]} == {"ok"}
    assert RULES.read_text().count("- alert:") == len(rules["rules"])
    run("systemctl", "kill", "--signal=KILL", "memory-monitor.service")
    run("systemctl", "start", "memory-monitor.service")
    assert wait_for('memory_monitor_up{monitor="memory-monitor"} == 1')
    assert [one["lastError"] for one in ask("targets")["activeTargets"]] == [""] * len(
        ask("targets")["activeTargets"]
    )


def test_a_monitor_that_is_gone_is_seen_by_a_rule(service: Monitored) -> None:
    run("systemctl", "stop", "memory-monitor.service")

    def waits() -> list[str]:
        return [one["labels"]["alertname"] for one in ask("alerts")["alerts"]]

    eventually(lambda: "MemoryMonitorAbsent" in waits(), "MemoryMonitorAbsent", DEADLINE_S, targets)
    assert f'threshold_bytes{{name="{service.unit}"}}' not in get(METRICS)
    run("systemctl", "start", "memory-monitor.service")
    assert wait_for(f'memory_monitor_threshold_bytes{{name="{service.unit}"}}')


def test_node_exporter_takes_the_file_that_the_timer_has_written(service: Monitored) -> None:
    eventually(lambda: service.unit in run("memmonctl", "--system", "metrics"), "it is measured", DEADLINE_S)
    run("systemctl", "enable", "--now", "memory-monitor-metrics.timer")
    eventually(lambda: TEXTFILE.exists(), "the file is written", DEADLINE_S)
    run("systemctl", "start", "memory-monitor-metrics.service")
    assert oct(TEXTFILE.stat().st_mode & 0o777) == "0o644"
    run("systemctl", "start", "prometheus-node-exporter")

    def told() -> str:
        with suppress(OSError):
            return get("http://127.0.0.1:9100/metrics")
        return ""

    eventually(lambda: "memory_monitor_up" in told(), "node_exporter tells it", DEADLINE_S)
    text = told()
    assert "node_textfile_scrape_error 0" in text
    assert f'memory_monitor_threshold_bytes{{name="{service.unit}"}} 3.145728e+07' in text
    assert "# TYPE memory_monitor_requests_total counter" in text
    exposure = exposure_of("memory-monitor-metrics.service")
    assert exposure <= 1.5
    run("systemctl", "disable", "--now", "memory-monitor-metrics.timer")


def test_without_the_directory_of_node_exporter_the_unit_says_what_is_missing() -> None:
    moved = TEXTFILE.parent.rename("/var/lib/prometheus/moved")
    try:
        command = ("systemctl", "start", "memory-monitor-metrics.service")
        assert subprocess.run(command, capture_output=True, check=False).returncode == 1
        said = str(journal("SYSLOG_IDENTIFIER=memmonctl")[-1]["MESSAGE"])
        assert said.startswith(f"memmonctl: {TEXTFILE} can't be written: No such file or directory: it has")
    finally:
        moved.rename(TEXTFILE.parent)


def test_promtool_finds_no_fault_with_what_is_shipped() -> None:
    assert "SUCCESS: 8 rules found" in run("promtool", "check", "rules", str(RULES))
    repository = Path(__file__).parents[3] / "exporter" / "prometheus" / "tests"
    files = sorted(map(str, repository.glob("*.yml")))
    print(run("promtool", "test", "rules", *files))
    check = ("promtool", "check", "metrics")
    metrics = subprocess.run(check, input=get(METRICS), text=True, capture_output=True, check=False)
    assert (metrics.returncode, metrics.stdout, metrics.stderr) == (0, "", "")


def test_systemd_finds_no_fault_with_its_units_and_the_page_that_they_name() -> None:
    for unit in (SOCKET, SERVICE, "memory-monitor-metrics.timer", "memory-monitor-metrics.service"):
        done = subprocess.run(
            ("systemd-analyze", "verify", "--man=yes", unit), capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), unit


def test_an_upgrade_ends_it_and_the_next_scrape_starts_the_new_one_and_purged_it_leaves_nothing() -> None:
    assert get(METRICS)
    before = property_of(SERVICE, "MainPID")
    run("dpkg", "--install", PACKAGE)
    assert property_of(SOCKET, "ActiveState") == "active"
    assert get(METRICS)
    assert property_of(SERVICE, "MainPID") not in (before, "0")
    run("dpkg", "--purge", "memory-monitor-exporter")
    assert properties_of(SOCKET, "ActiveState", "LoadState") == {
        "ActiveState": "inactive",
        "LoadState": "not-found",
    }
    left = run("find", "/etc", "/usr", "/var/lib", "-name", "memory?monitor?exporter*").splitlines()
    # Its page is with all the others.
    assert [path for path in left if not path.startswith("/usr/share/doc/memory-monitor/")] == []
    run("dpkg", "--install", PACKAGE)
    assert property_of(SOCKET, "ActiveState") == "inactive", "nothing is enabled by it"


def test_no_call_was_forbidden() -> None:
    said = journal("_TRANSPORT=kernel", "+", "_TRANSPORT=audit")
    assert [one for one in said if "type=1326" in str(one["MESSAGE"])] == []
