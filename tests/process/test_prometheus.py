"""A real Prometheus, Debian's, that scrapes memory-monitor-exporter."""

import json
import socket
import subprocess
import urllib.parse
import urllib.request
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from memmon_systemd.output.record import Record
from tests.process.exporter import Exporter, make_state_file, prometheus_tool
from tests.process.kit import ROOT
from tests.process.waiting import Output, eventually

DEADLINE_S = 30.0
HOSTILE = 'a"b\\c\nd\udcffé{}=,#.service'
RULES = ROOT / "exporter" / "prometheus" / "memory-monitor.rules.yml"
PROGRAM = prometheus_tool("prometheus")


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
    return port


class Prometheus:
    """The server; ended with its `with`."""

    def __init__(self, directory: Path, target_port: int) -> None:
        """Starts it; it scrapes the port each second, with the shipped rules."""
        assert PROGRAM is not None
        self.port = free_port()
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {"job_name": "m", "static_configs": [{"targets": [f"127.0.0.1:{target_port}"]}]},
            ],
        }
        file = directory / "prometheus.yml"
        file.write_text(json.dumps(configuration))
        self._output = Output(directory / "prometheus.log")
        with self._output.path.open("w") as output:
            self._process = subprocess.Popen(
                (
                    PROGRAM,
                    f"--config.file={file}",
                    f"--storage.tsdb.path={directory}/data",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ),
                stdout=output,
                stderr=output,
            )

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()

    def ask(self, path: str, **query: str) -> Any:
        """`data` of an answer of its API, whose form depends on the question; None: it doesn't answer yet."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with suppress(OSError), urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
            return json.load(answer)["data"]
        return None

    def wait_for(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression, as soon as there are any."""

        def found() -> list[dict[str, Any]] | None:
            answer = self.ask("query", query=expression)
            series: list[dict[str, Any]] | None = answer and answer["result"]
            return series

        return eventually(found, DEADLINE_S, expression, self._output.__str__)

    def wait_for_alert(self, name: str) -> dict[str, str]:
        """The labels of an alert of this name that waits or fires."""

        def found() -> dict[str, str] | None:
            alerts = (self.ask("alerts") or {}).get("alerts", [])
            return next((one["labels"] for one in alerts if one["labels"]["alertname"] == name), None)

        return eventually(found, DEADLINE_S, name, self._output.__str__)


@pytest.mark.skipif(PROGRAM is None, reason="there is no Prometheus: bash .ci/setup test unpacks Debian's")
def test_prometheus_takes_every_sample_whatever_a_unit_is_called_and_its_rules_see_them(
    directory: Path, tmp_path: Path
) -> None:
    app = Record(
        "app.service",
        state="ok",
        metric="current",
        threshold_bytes=100,
        action="signal",
        requests=3,
        last_request_s=1795848738.25,
        begun_s=1.0,
        hard_bytes=7,
    )
    records = [app, replace(app, name=HOSTILE, state="held", hold="budget")]
    make_state_file(directory / "a.state", records)
    with (
        Exporter(directory, tmp_path / "exporter.log") as exporter,
        Prometheus(tmp_path, exporter.port) as prometheus,
    ):
        (up,) = prometheus.wait_for('up{job="m"} == 1')
        assert up["value"][1] == "1"
        (held,) = prometheus.wait_for("memory_monitor_held")
        assert held["metric"]["name"] == 'a"b\\c\nd\\udcffé{}=,#.service'
        assert held["metric"]["reason"] == "budget"
        series = prometheus.wait_for('{job="m",__name__=~"memory_monitor_.*"}')
        lines = exporter.get()[1].decode().splitlines()
        assert len(series) == len([line for line in lines if not line.startswith("#")])
        asked = 'memory_monitor_requests_total{name="app.service",result="done"} == 3'
        assert prometheus.wait_for(asked)[0]["metric"]["action"] == "signal"
        assert prometheus.ask("targets")["activeTargets"][0]["lastError"] == ""
        assert prometheus.ask("metadata", metric="memory_monitor_usage_bytes")[
            "memory_monitor_usage_bytes"
        ] == [
            {
                "type": "gauge",
                "help": "Memory that a unit uses now, by the metric that is compared.",
                "unit": "bytes",
            }
        ]
        assert prometheus.wait_for_alert("MemoryMonitorGivenUp")["severity"] == "critical"
        assert prometheus.wait_for_alert("MemoryMonitorThresholdWithoutLimit")["severity"] == "warning"
