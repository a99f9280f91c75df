"""The way of a line to the journal or stderr; a change of a state is news for the service's status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from memmon_systemd.monitor.events import Event
from memmon_systemd.monitor.policy import State
from memmon_systemd.output.sink import Sink

_EVEN_IF_QUIET: Final = (
    Event.REQUESTED,
    Event.BUDGET_SPENT,
    Event.NOT_BACK,
    Event.FAILED,
    Event.BUG,
    Event.UNIT_SETTINGS_WRONG,
)
Field = tuple[str, str]


class Log:
    """Writes events, but with -q only requests and errors."""

    __slots__ = ("_is_quiet", "_is_verbose", "_sink", "news")

    def __init__(self, sink: Sink, *, is_quiet: bool, is_verbose: bool = False) -> None:
        self._sink = sink
        self._is_quiet = is_quiet
        self._is_verbose = is_verbose
        self.news: str | None = None
        """The sentence of the last change of a state; None once the service's status has it."""

    def write(
        self,
        event: Event,
        sentence: str,
        unit: str | None = None,
        state: State | None = None,
        fields: Sequence[Field] = (),
        *,
        is_minor: bool = False,
    ) -> None:
        """One line; `unit` is the one whose journal shows it, a `state` makes it news for the status.

        Of one that `is_minor` only the status is told, but with -v.
        """
        entry = [("MESSAGE_ID", event.value.message_id), *fields]
        if unit is not None:
            entry += [("OBJECT_SYSTEMD_UNIT", unit), ("MEMORY_MONITOR_UNIT", unit)]
        if state is not None:
            entry.append(("MEMORY_MONITOR_STATE", state.value))
            self.news = sentence
        if is_minor and not self._is_verbose:
            return
        if not self._is_quiet or event in _EVEN_IF_QUIET:
            self._sink.write(sentence, event.value.priority, entry)
