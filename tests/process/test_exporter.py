"""memory-monitor-exporter on a socket that was passed to it."""

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from memory_monitor_exporter.server import MOST_CONNECTIONS

from memmon_systemd import __version__
from memmon_systemd.output.record import Record
from tests.process.exporter import DEADLINE_S, ENVIRONMENT, Exporter, make_state_file
from tests.process.kit import ROOT
from tests.process.waiting import eventually

SCRAPES = 30
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def record(name: str) -> Record:
    return Record(name, state="ok", metric="current", threshold_bytes=100, action="signal", requests=3)


@pytest.fixture
def exporter(directory: Path, tmp_path: Path) -> Iterator[Exporter]:
    make_state_file(directory / "a.state", [record("app.service"), record(r"a\x2db.service")])
    with Exporter(directory, tmp_path / "log") as running:
        yield running


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "memory_monitor_exporter", *words),
        cwd=ROOT,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_tells_the_same_as_memmonctl_metrics(exporter: Exporter, directory: Path) -> None:
    content_type, content = exporter.get(Accept=OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=")  # prometheus_client 0.16: 0.0.1
    memmonctl = (sys.executable, "-m", "memmon_systemd.ctl.command", "--directory", str(directory), "metrics")
    printed = subprocess.run(memmonctl, cwd=ROOT, capture_output=True, check=True).stdout
    assert set(content.splitlines()) - set(printed.splitlines()) == {
        # prometheus_client writes numbers as Go does.
        *(line + b".0" for line in printed.splitlines() if line[:1] != b"#"),
    }
    assert len(content.splitlines()) == len(printed.splitlines())
    assert rb'_requests_total{action="signal",name="a\\x2db.service",result="done"} 3' in content


def test_the_classic_form_is_told_to_who_asks_for_it(exporter: Exporter) -> None:
    content_type, content = exporter.get(Accept="text/plain")
    assert content_type.startswith("text/plain; version=0.0.4")
    text = content.decode()
    assert "# TYPE memory_monitor_requests_total counter\n" in text
    assert f'memory_monitor_build_info{{version="{__version__}"}} 1.0\n' in text
    assert "python_" not in text, "of the exporter itself there is nothing"


def test_there_is_only_one_page(exporter: Exporter) -> None:
    assert b"/metrics" in exporter.get("/")[1]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        exporter.get("/other")


def test_a_scrape_never_fails_while_monitors_come_and_go_and_write(
    exporter: Exporter, directory: Path
) -> None:
    over = threading.Event()

    def come_and_go() -> None:
        number = 0
        steady = make_state_file(directory / "steady.state", [record("steady.service")], "steady")
        while not over.is_set():
            number += 1
            steady.keep(replace(record("steady.service"), threshold_bytes=number, requests=number))
            passing = directory / f"passing{number % 3}.state"
            make_state_file(passing, [record(f"p{number % 3}.service")], f"passing{number % 3}")
            torn = bytearray(passing.read_bytes())
            torn[-600] ^= 255
            (directory / "torn.state").write_bytes(torn)
            (directory / "cut.state").write_bytes(torn[: number % 300])
            passing.unlink()

    writer = threading.Thread(target=come_and_go)
    writer.start()
    try:
        counts = [exporter.get()[1].count(b'name="steady.service",result=') for _ in range(SCRAPES)]
    finally:
        over.set()
        writer.join()
    assert counts[1:] == [2] * (SCRAPES - 1)
    cut = r"/(cut|torn)\.state: it is (cut off|no state file|too large)"
    broken = re.compile(f"{cut}|says of its monitor is half written")
    assert [line for line in exporter.log.lines if not broken.search(line)] == []


def test_what_cannot_be_read_is_said_once(exporter: Exporter, directory: Path) -> None:
    (directory / "other.state").write_bytes(b"nonsense")
    for _ in range(3):
        assert b"app.service" in exporter.get()[1]
    assert exporter.log.lines == [
        f"memory-monitor-exporter: {directory}/other.state: it is no state file of memory-monitor: "
        "its targets are missing from the metrics"
    ]


def test_who_says_nothing_or_does_not_read_holds_up_nobody(exporter: Exporter) -> None:
    silent = [exporter.connect() for _ in range(MOST_CONNECTIONS - 1)]
    silent[0].sendall(b"GET /metrics HTTP/1.0\r\n")
    for _ in range(3):
        assert b"app.service" in exporter.get()[1]
    for connection in silent:
        connection.close()


def test_where_all_connections_are_taken_the_next_is_answered_as_soon_as_one_ends(exporter: Exporter) -> None:
    silent = [exporter.connect() for _ in range(MOST_CONNECTIONS)]
    found: list[bytes] = []
    asking = threading.Thread(target=lambda: found.append(exporter.get()[1]))
    asking.start()
    eventually(lambda: threads_of(exporter) == MOST_CONNECTIONS + 1, DEADLINE_S, "all are taken")
    assert not found
    silent.pop().close()
    asking.join(DEADLINE_S)
    assert b"app.service" in found[0]
    for connection in silent:
        connection.close()
    eventually(lambda: threads_of(exporter) == 1, DEADLINE_S, "nothing is left of them")


def threads_of(exporter: Exporter) -> int:
    return len(os.listdir(f"/proc/{exporter.process.pid}/task"))


@pytest.mark.parametrize(
    "said", [b"\r\n\r\n", b"\x00\xff" * 50_000, b"POST / HTTP/1.1\r\n\r\n", b"GET /metrics HTTP/9\r\n\r\n"]
)
def test_what_is_no_request_gets_an_error_and_no_line_in_the_log(exporter: Exporter, said: bytes) -> None:
    with exporter.connect() as connection:
        connection.sendall(said)
        connection.shutdown(1)
        with suppress(ConnectionResetError):  # It hasn't read all that was said.
            assert b"app.service" not in connection.recv(65536)
    assert b"app.service" in exporter.get()[1]
    assert exporter.log.lines == []


def test_it_ends_when_idle_and_who_comes_meanwhile_is_not_lost(directory: Path, tmp_path: Path) -> None:
    with Exporter(directory, tmp_path / "log", "--exit-idle-time", "1s") as exporter:
        assert exporter.get()[1]
        assert exporter.process.wait(DEADLINE_S) == 0
        assert exporter.log.lines == [
            "memory-monitor-exporter: nobody has asked for 1 s: it ends, and the socket starts it again"
        ]
        # The socket is still there: systemd would start it for this one.
        with exporter.connect() as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")


def test_sigterm_ends_it_at_once(exporter: Exporter) -> None:
    assert exporter.get()[1]
    with exporter.connect():
        exporter.process.terminate()
        assert exporter.process.wait(DEADLINE_S) == -signal.SIGTERM


WAYS = (
    "systemctl enable --now memory-monitor-exporter.socket; by hand: "
    "systemd-socket-activate -l 127.0.0.1:10893 memory-monitor-exporter"
)


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({}, "LISTEN_FDS isn't set"),
        ({"LISTEN_FDS": "1"}, "LISTEN_FDS='1'"),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "1"}, "LISTEN_FDS='1'"),
    ],
)
def test_without_a_socket_it_says_what_would_work(environment: dict[str, str], why: str) -> None:
    done = command(**environment)
    assert done.returncode == 1
    assert done.stderr == f"memory-monitor-exporter: no socket was passed to it ({why}): {WAYS}\n"


def test_what_is_passed_and_does_not_listen_is_said() -> None:
    script = f"LISTEN_FDS=1 LISTEN_PID=$$ exec {sys.executable} -m memory_monitor_exporter 3</dev/null"
    done = subprocess.run(
        ("bash", "-c", script), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "memory-monitor-exporter: descriptor 3 of LISTEN_FDS is not a listening stream socket: "
        "use a socket unit with ListenStream= and without Accept=yes\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--exit-idle-time", "x"), "--exit-idle-time: 'x' is not a time: use seconds (2.5)"),
        (("--exit-idle-time", "0"), "--exit-idle-time: '0' is too short: use at least 1s"),
        (("--port", "1"), "unrecognized arguments: --port 1"),
    ],
)
def test_wrong_usage_is_one_line(words: tuple[str, ...], said: str) -> None:
    done = command(*words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"memory-monitor-exporter: {said}")
    assert done.stderr.endswith("; see memory-monitor-exporter --help\n")
    assert done.stderr.count("\n") == 1


def test_its_version_is_that_of_the_monitor() -> None:
    assert command("--version").stdout == f"memory-monitor-exporter {__version__}\n"
