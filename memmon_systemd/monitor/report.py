"""What is logged of targets: changes of state and requests.

Each is one line that names the value, the threshold and the metric.
"""

from __future__ import annotations

from memmon_systemd.formatting import format_bytes, format_seconds, signal_name
from memmon_systemd.monitor.events import Event
from memmon_systemd.monitor.log import Field, Log
from memmon_systemd.monitor.policy import State
from memmon_systemd.monitor.target import Outcome, Target
from memmon_systemd.monitor.warnings import Warnings
from memmon_systemd.settings import Settings


class Report:
    """Logs what happens; `warn` has what is not as the user may think."""

    __slots__ = ("log", "warn")

    def __init__(self, log: Log) -> None:
        self.log = log
        self.warn = Warnings(log)

    def started(self, version: str, settings: Settings) -> None:
        """What will be done, with the threshold in its unit: a wrong number shows in the first line."""
        asked = settings.target
        what = "restart it" if asked.restart else f"send {signal_name(asked.signal_number)}"
        metric = asked.metric.value if asked.metric else "memory"
        sustained = f" for {format_seconds(asked.for_s)}" if asked.for_s else ""
        would = "would " if asked.dry_run else ""
        self.log.write(
            Event.STARTED,
            f"memory-monitor {version}: {would}{what} when {metric} is above {asked.threshold}{sustained};"
            f" polling interval {format_seconds(asked.interval_s)}: " + ", ".join(settings.names),
        )

    def waiting(self, name: str, unit: str | None, why: str, *, is_minor: bool = False) -> None:
        """There is nothing to measure."""
        self.log.write(Event.WAITING, f"{name}: waiting: {why}", unit, State.WAITING, is_minor=is_minor)

    def began(self, target: Target, *, is_minor: bool = False) -> None:
        """A unit or process is measured from now on.

        One that can't be read gets that line instead; one that is over already, too, from its first look.
        """
        gauge = target.gauge
        if gauge is not None and gauge.trouble is not None:
            self.warn.memory_unreadable(target.name, target.unit, gauge.trouble, is_minor=is_minor)
        elif gauge is None or gauge.usage_bytes <= gauge.schedule.threshold_bytes:
            self._of(Event.BEGAN, target, f"{_usage(target)} of {_threshold(target)}", is_minor=is_minor)

    def over(self, target: Target) -> None:
        """Above the threshold, and `--for` runs."""
        asked = target.settings
        what = "restarted" if asked.restart else "signalled"
        sustained = format_seconds(asked.for_s)
        self._of(Event.OVER, target, f"{_above(target)}; {what} if it stays above for {sustained}")

    def requested(self, target: Target, outcome: Outcome) -> None:
        """The target was asked to exit or to restart."""
        self._of(Event.REQUESTED, target, f"{_above(target)}: {outcome.sentence}")

    def request_failed(self, target: Target, outcome: Outcome) -> None:
        """The target could not be asked."""
        name = f"{target.name}: not {'restarted' if target.settings.restart else 'signalled'}"
        sentence = f"{name}: {_above(target)}: {outcome.sentence}"
        self.log.write(Event.FAILED, sentence, target.unit, State.OVER, _fields(target))

    def recovered(self, target: Target) -> None:
        """Back within the threshold."""
        self._of(Event.RECOVERED, target, f"within again: {_usage(target)} of {_threshold(target)}")

    def ended(self, target: Target, *, is_minor: bool = False) -> None:
        """A process that was measured has ended."""
        sentence = f"{target.name}: ended"
        self.log.write(Event.ENDED, sentence, target.unit, State.WAITING, is_minor=is_minor)

    def no_longer_monitored(self, target: Target, why: str, *, is_minor: bool = False) -> None:
        """A unit or process that was measured is there, but isn't meant any more."""
        sentence = f"{target.name}: no longer monitored: {why}"
        self.log.write(Event.ENDED, sentence, target.unit, State.WAITING, is_minor=is_minor)

    def threshold_changed(self, target: Target) -> None:
        """The limit that the threshold is a share of was changed while the unit runs."""
        sentence = f"{target.name}: the threshold is now {_threshold(target)}, {_usage(target)}"
        self.log.write(Event.BEGAN, sentence, target.unit, target.state, _fields(target))

    def reading(self, target: Target) -> None:
        """A reading, for -v."""
        sentence = f"{target.name}: {target.state.value}: {_usage(target)} of {_threshold(target)}"
        self.log.write(Event.READING, sentence, target.unit, fields=_fields(target))

    def stopped(self, why: str) -> None:
        """The monitor ends."""
        self.log.write(Event.STOPPED, f"memory-monitor: {why}")

    def _of(self, event: Event, target: Target, sentence: str, *, is_minor: bool = False) -> None:
        sentence = f"{target.name}: {target.state.value}: {sentence}"
        self.log.write(event, sentence, target.unit, target.state, _fields(target), is_minor=is_minor)


def _usage(target: Target) -> str:
    if target.gauge is None:
        return "nothing measured"
    return f"{target.gauge.metric.value} {format_bytes(target.gauge.usage_bytes)}"


def _threshold(target: Target) -> str:
    if target.gauge is None:
        return str(target.settings.threshold)
    return format_bytes(target.gauge.schedule.threshold_bytes)


def _above(target: Target) -> str:
    return f"{_usage(target)} is above {_threshold(target)}"


def _fields(target: Target) -> list[Field]:
    gauge = target.gauge
    if gauge is None:
        return []
    threshold = str(gauge.schedule.threshold_bytes)
    return [
        ("MEMORY_MONITOR_USAGE", str(gauge.usage_bytes)),
        ("MEMORY_MONITOR_THRESHOLD", threshold),
        # The name that this field had in 0.1, for whatever collects it.
        ("MEMORY_MONITOR_LIMIT", threshold),
        ("MEMORY_MONITOR_METRIC", gauge.metric.value),
        ("MEMORY_MONITOR_SIGNAL", signal_name(target.settings.signal_number)),
    ]
