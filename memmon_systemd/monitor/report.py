"""Every line that a user reads.

Only changes of state and actions are said, each in one line that names the value, the limit and the
metric; the service's status (`STATUS=`) carries the same sentence.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum

from memmon_systemd.formatting import format_bytes, format_seconds, signal_name
from memmon_systemd.monitor.policy import State
from memmon_systemd.monitor.target import Outcome, Target
from memmon_systemd.output.notify import Notifier
from memmon_systemd.output.sink import Sink
from memmon_systemd.settings import Settings


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of event in the journal (systemd.journal-fields(7))."""

    message_id: str
    priority: int
    """As in syslog(3): 3 error, 4 warning, 5 notice, 6 info, 7 debug."""


class Event(Enum):
    """What can be said."""

    STARTED = Kind("5f39b63ce1ce4ab58fa55d0f335c3bf5", 6)
    WAITING = Kind("432f3a3625654290a87f9bf06da31f58", 6)
    BEGAN = Kind("2a15cd8c95534e4e85d228e8ef6014fe", 6)
    OVER = Kind("da0bc59a42cc4a2db39fcf469821b48e", 5)
    ACTED = Kind("43b9da7a063b459bb9ea683a83c3f93b", 4)
    FELL = Kind("cb9db59809e4440899a7f5fd58273d37", 6)
    FAILED = Kind("af91fbe4a09346eca64cc8cd9c49db53", 3)
    ENDED = Kind("6b1f0b9e1df84f2f9b1d8a4b2c4a7c55", 6)
    WARNING = Kind("d1d9a17b044d4e36836904d701a4b4e7", 4)
    READING = Kind("8fcba846ff0f463c92d4d654da5bf475", 7)
    STOPPED = Kind("4fa0963d76e145129c9d01d25a3fd5fa", 6)


_QUIET = (Event.ACTED, Event.FAILED)
"""What is said even with -q."""


class Report:
    """Says what happens, to the log and to the service manager."""

    __slots__ = ("_last_bug", "_notifier", "_settings", "_sink", "last_sentence")

    def __init__(self, settings: Settings, sink: Sink, notifier: Notifier) -> None:
        """A report to `sink` and `notifier`."""
        self._settings = settings
        self._sink = sink
        self._notifier = notifier
        self._last_bug = ""
        self.last_sentence = "starting"
        """The sentence of the last change of a state, which is the service's status."""

    def started(self, version: str) -> None:
        """What will be done, with every limit in its unit: a wrong number shows in the first line."""
        settings = self._settings
        what = "restart it" if settings.restart else f"send {signal_name(settings.signal_number)}"
        metric = settings.metric.value if settings.metric else "memory"
        sustained = f" for {format_seconds(settings.for_s)}" if settings.for_s else ""
        would = "would " if settings.dry_run else ""
        self._say(
            Event.STARTED,
            f"memory-monitor {version}: {would}{what} when {metric} is above {settings.max_memory}"
            f"{sustained}; a look at least every {format_seconds(settings.interval_s)}: "
            + ", ".join(settings.names),
        )
        if settings.signal_number == signal.SIGKILL and not settings.restart:
            self.warn("SIGKILL isn't graceful: what it is doing is lost; with SIGTERM it can finish that")

    def waiting(self, name: str, unit: str | None, why: str) -> None:
        """Nothing is there to be measured."""
        self._say(Event.WAITING, f"{name}: waiting: {why}", unit=unit, state=State.WAITING)

    def began(self, target: Target) -> None:
        """A unit or process is measured from now on.

        One that can't be read gets that line instead; one that is over already, too, from its first look.
        """
        gauge = target.gauge
        if gauge is not None and gauge.trouble:
            self.unreadable(target)
        elif gauge is None or gauge.usage_bytes <= gauge.ladder.limit_bytes:
            self._say_of(Event.BEGAN, target, f"{self._usage(target)} of {self._limit(target)}")

    def over(self, target: Target) -> None:
        """Above the limit, and `--for` runs."""
        left = format_seconds(self._settings.for_s)
        self._say_of(Event.OVER, target, f"{self._above(target)}; acts if that lasts {left}")

    def acted(self, target: Target, outcome: Outcome) -> None:
        """The target was asked to go."""
        self._say_of(Event.ACTED, target, f"{self._above(target)}: {outcome.what}")

    def failed(self, target: Target, outcome: Outcome) -> None:
        """The target could not be asked to go."""
        name = f"{target.name}: not {'restarted' if self._settings.restart else 'signalled'}"
        sentence = f"{name}: {self._above(target)}: {outcome.what}"
        self._say(Event.FAILED, sentence, target.unit, State.OVER, self._facts(target))

    def fell(self, target: Target) -> None:
        """Back within the limit."""
        self._say_of(Event.FELL, target, f"within again: {self._usage(target)} of {self._limit(target)}")

    def ended(self, target: Target) -> None:
        """A process that was measured is no more."""
        self._say(Event.ENDED, f"{target.name}: ended", target.unit, State.WAITING)

    def left_alone(self, target: Target, why: str) -> None:
        """A process that was measured lives, but isn't meant any more."""
        self._say(Event.ENDED, f"{target.name}: left alone: {why}", target.unit, State.WAITING)

    def limit_changed(self, target: Target) -> None:
        """The limit that the threshold is a share of was changed while the unit runs."""
        sentence = f"{target.name}: the limit is {self._limit(target)} now, {self._usage(target)}"
        self._say(Event.BEGAN, sentence, target.unit, target.state, self._facts(target))

    def unreadable(self, target: Target) -> None:
        """The first sample that could not be read; the target is looked at again."""
        trouble = f" ({target.gauge.trouble})" if target.gauge else ""
        sentence = f"its memory can't be read now{trouble}; it is tried again at every look"
        self.warn(f"{target.name}: {sentence}", target.unit)

    def reading(self, target: Target) -> None:
        """Every reading, for -v."""
        if self._settings.verbosity > 0:
            sentence = f"{target.name}: {target.state.value}: {self._usage(target)} of {self._limit(target)}"
            self._say(Event.READING, sentence, target.unit, facts=self._facts(target))

    def warn(self, sentence: str, unit: str | None = None) -> None:
        """Something is not as the user may think."""
        self._say(Event.WARNING, f"warning: {sentence}", unit)

    def bug(self, error: Exception) -> None:
        """An error that nobody expected; the monitor goes on. Said once while it stays the same."""
        sentence = f"memory-monitor: error: {type(error).__name__}: {error} ({_place(error)}); it goes on"
        if sentence != self._last_bug:
            self._last_bug = sentence
            self._say(Event.FAILED, sentence)

    def stopped(self, why: str) -> None:
        """The monitor ends."""
        self._say(Event.STOPPED, f"memory-monitor: {why}")

    def _usage(self, target: Target) -> str:
        if target.gauge is None:
            return "nothing measured"
        return f"{target.gauge.metric.value} {format_bytes(target.gauge.usage_bytes)}"

    def _limit(self, target: Target) -> str:
        return (
            format_bytes(target.gauge.ladder.limit_bytes) if target.gauge else str(self._settings.max_memory)
        )

    def _above(self, target: Target) -> str:
        return f"{self._usage(target)} is above {self._limit(target)}"

    def _say_of(self, event: Event, target: Target, sentence: str) -> None:
        sentence = f"{target.name}: {target.state.value}: {sentence}"
        self._say(event, sentence, target.unit, target.state, self._facts(target))

    def _facts(self, target: Target) -> list[tuple[str, str]]:
        gauge = target.gauge
        if gauge is None:
            return []
        return [
            ("MEMORY_MONITOR_USAGE", str(gauge.usage_bytes)),
            ("MEMORY_MONITOR_LIMIT", str(gauge.ladder.limit_bytes)),
            ("MEMORY_MONITOR_METRIC", gauge.metric.value),
            ("MEMORY_MONITOR_SIGNAL", signal_name(self._settings.signal_number)),
        ]

    def _say(
        self,
        event: Event,
        sentence: str,
        unit: str | None = None,
        state: State | None = None,
        facts: list[tuple[str, str]] | None = None,
    ) -> None:
        fields = [("MESSAGE_ID", event.value.message_id), *(facts or [])]
        if unit is not None:
            fields += [("OBJECT_SYSTEMD_UNIT", unit), ("MEMORY_MONITOR_UNIT", unit)]
        if state is not None:
            fields.append(("MEMORY_MONITOR_STATE", state.value))
            self.last_sentence = sentence
            self._notifier.status(sentence)
        if self._settings.verbosity >= 0 or event in _QUIET:
            self._sink.write(sentence, event.value.priority, fields)


def _place(error: Exception) -> str:
    """Where it was raised; the module `traceback` would open the source and read it."""
    place = error.__traceback__
    if place is None:
        return "nowhere"
    while place.tb_next is not None:
        place = place.tb_next
    return f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}"
