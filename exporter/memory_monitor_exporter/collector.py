"""What memmonctl knows, as prometheus_client's collector, and the page that is made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.samples import Sample

from memmon_systemd.ctl.families import families_of
from memmon_systemd.ctl.state import Unreadable, read_states


class StateCollector(Collector):
    """Reads the state files anew at each scrape."""

    def __init__(self, directories: Sequence[str], warn: Callable[[str], None]) -> None:
        """`warn` is told, once, of each state file that can't be read."""
        self._directories = directories
        self._warn = warn
        self._said: set[Unreadable] = set()

    def collect(self) -> Iterator[Metric]:
        """All families, as `memmonctl metrics` prints them."""
        states = read_states(self._directories)
        self._say_new(states.unreadable)
        for family in families_of(states):
            metric = Metric(family.name, family.help, family.kind, family.unit)
            name = family.sample_name
            metric.samples = [Sample(name, labels, value) for labels, value in family.samples]
            yield metric

    def _say_new(self, unreadable: Iterable[Unreadable]) -> None:
        now = set(unreadable)
        for one in sorted(now - self._said, key=lambda one: one.path):
            self._warn(f"{one.path}: {one.why}: its targets are missing from the metrics")
        self._said = now


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered."""

    content_type: str
    content: bytes


class MetricsPage:
    """The page of metrics, in the form that the asking side prefers."""

    def __init__(self, collector: Collector) -> None:
        """Of this collector alone: nothing of the exporter's own process."""
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        # All units are read into the same memory (memmon_systemd.units.gauge).
        self._one_at_a_time = Lock()

    def __call__(self, accept: str) -> Page:
        """The page for the value of the header Accept."""
        encode, content_type = _encoder(accept)
        with self._one_at_a_time:
            return Page(content_type, encode(self._registry))


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """What makes the form that is asked for, and the name of the form."""
    encode, content_type = choose_encoder(accept)
    if isinstance(encode, partial) and encode.keywords.get("escaping") == "underscores":
        # All names here are as they have always been, so the text is the same; but with underscores
        # prometheus_client looks at each of them letter by letter, which takes as long as all the rest.
        encode = partial(encode, escaping="allow-utf-8")
    return encode, content_type
