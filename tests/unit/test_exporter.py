"""The exporter's server and page in this process: what can't be provoked from outside."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from memory_monitor_exporter.collector import MetricsPage, Page, StateCollector
from memory_monitor_exporter.server import Server
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from memmon_systemd.ctl.exposition import classic, openmetrics
from tests.unit.test_metrics import everything, parse_openmetrics, same, tree
from tests.unit.trees import linux_only

__all__ = ["tree"]  # A fixture.

pytestmark = linux_only
DEADLINE_S = 20.0
IDLE_S = 0.3
NO_ONE_CAME_S = 0.3
ESCAPINGS = ("underscores", "allow-utf-8", "dots", "values")
ASK = b"GET /metrics HTTP/1.0\r\n\r\n"


@contextmanager
def serving(metrics: Callable[[str], Page], warn: Callable[[str], None], longest_s: float) -> Iterator[int]:
    """A server in a thread; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        server = Server([listening], metrics, warn, longest_s)
        over = threading.Event()

        def run() -> None:
            while not over.is_set():
                server.run(IDLE_S)

        running = threading.Thread(target=run)
        running.start()
        yield int(listening.getsockname()[1])
        over.set()
        running.join(DEADLINE_S)
        assert not running.is_alive()


def answer(port: int, said: bytes) -> bytes:
    """All that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as connection:
        connection.sendall(said)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def is_cut_off_while_it_says_a_letter_at_a_time(port: int) -> bool:
    end_s = time.monotonic() + DEADLINE_S
    with socket.create_connection(("127.0.0.1", port), timeout=0.01) as connection:
        while time.monotonic() < end_s:
            try:
                connection.sendall(b"G")
                if connection.recv(1) == b"":
                    return True
            except TimeoutError:
                continue
            except ConnectionError:
                return True
    return False


def test_who_takes_too_long_to_ask_is_cut_off_and_that_is_no_line_in_the_log() -> None:
    lines: list[str] = []
    with serving(lambda _: Page("text/plain", b"told"), lines.append, longest_s=1.0) as port:
        assert answer(port, ASK[:10]) == b""
        assert is_cut_off_while_it_says_a_letter_at_a_time(port)
    assert lines == []


def test_what_is_not_foreseen_fails_one_scrape_with_the_reason_and_a_line() -> None:
    lines: list[str] = []
    failures = iter((ValueError("odd"),))

    def metrics(_: str) -> Page:
        for failure in failures:
            raise failure
        return Page("text/plain", b"told")

    with serving(metrics, lines.append, longest_s=DEADLINE_S) as port:
        first = answer(port, ASK)
        assert first.startswith(b"HTTP/1.0 500 ")
        assert first.endswith(b"the metrics can't be told: ValueError: odd\n")
        assert answer(port, ASK).endswith(b"told")
    assert lines == ["the metrics can't be told: ValueError: odd"]


class Meeting(Collector):
    """Sees whether two scrapes are under way at the same time."""

    def __init__(self) -> None:
        self.both = threading.Barrier(2)
        self.met = 0

    def collect(self) -> Iterator[Metric]:
        try:
            self.both.wait(NO_ONE_CAME_S)
            self.met += 1
        except threading.BrokenBarrierError:
            self.both.reset()
        yield Metric("told", "", "gauge")


def test_scrapes_take_turns_for_all_units_are_read_into_the_same_memory() -> None:
    meeting = Meeting()
    page = MetricsPage(meeting)
    threads = [threading.Thread(target=page, args=("",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert meeting.met == 0


@pytest.mark.parametrize("name", ["app.service", r"a\x2db@1.service", 'a"b\\c\nd\udcffé\r{}=,#.service'])
def test_the_page_has_the_families_that_memmonctl_prints(
    tree: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    families = everything(tree, name)
    monkeypatch.setattr("memory_monitor_exporter.collector.families_of", lambda _: families)
    page = MetricsPage(StateCollector([], lambda _: None))
    told = page("application/openmetrics-text; version=1.0.0").content.decode()
    assert same(parse_openmetrics(told)) == same(parse_openmetrics(openmetrics(families)))
    names = {line.split()[2] for line in classic(families).splitlines() if line.startswith("# TYPE")}
    told = page("text/plain").content.decode()
    assert {line.split()[2] for line in told.splitlines() if line.startswith("# TYPE")} == names


@pytest.mark.parametrize("escaping", ["", *(f"; escaping={one}" for one in ESCAPINGS)])
@pytest.mark.parametrize("form", ["application/openmetrics-text; version=1.0.0", "text/plain; version=1.0.0"])
def test_a_page_that_is_made_faster_has_the_same_letters(
    tree: Path, form: str, escaping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    families = everything(tree, 'a"b\\c\ndé.{}=,#.service')
    monkeypatch.setattr("memory_monitor_exporter.collector.families_of", lambda _: families)
    collector = StateCollector([], lambda _: None)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    encode, content_type = choose_encoder(form + escaping)
    assert MetricsPage(collector)(form + escaping) == Page(content_type, encode(registry))
