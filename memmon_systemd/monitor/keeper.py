"""What is known of each target, told to whoever keeps it: for other processes, and for the next monitor."""

from __future__ import annotations

from typing import Protocol

from memmon_systemd.monitor.pauses import Pauses
from memmon_systemd.monitor.target import Target, TargetList
from memmon_systemd.output.record import Record


class Keeper(Protocol):
    """Keeps records by the names of targets; nothing here raises or waits."""

    def keep(self, record: Record) -> bool:
        """Keep what is known of a target; False where there is no room for it."""

    def forget(self, name: str) -> None:
        """A target isn't monitored any more."""

    def past(self, name: str) -> Record | None:
        """What was last known of a target, maybe by an earlier monitor."""

    def lack(self, unrecorded: int) -> None:
        """So many targets have found no room."""

    def expect(self, targets: int) -> str | None:
        """So many targets may come, from now on: why there is no room for them, else None.

        Only at the start and after a reload: it may ask the kernel for memory.
        """


class NothingKept:
    """No records, as where they can't be written."""

    def keep(self, record: Record) -> bool:
        """Nothing is kept, and nothing is missing."""
        return True

    def forget(self, name: str) -> None:
        """Nothing was kept."""

    def past(self, name: str) -> Record | None:
        """Nothing is known."""
        return None

    def lack(self, unrecorded: int) -> None:
        """There is nobody to be told."""

    def expect(self, targets: int) -> str | None:
        """Nothing is kept, and nothing is missing."""
        return None


class Recorder:
    """Tells a keeper of the targets that may have changed; it knows itself what is no change."""

    __slots__ = ("_keeper", "_pauses", "_targets")

    def __init__(self, keeper: Keeper, pauses: Pauses, targets: TargetList) -> None:
        self._keeper = keeper
        self._pauses = pauses
        self._targets = targets

    def note(self, target: Target) -> bool:
        """A target may have changed, or ended; False where there is no room for it."""
        if target.has_ended:
            self._keeper.forget(target.name)
            return True
        return self._keeper.keep(record_of(target, self._pauses.until_s(target.name)))

    def note_all(self) -> None:
        """Any of them may have: some came or went, or a source has news."""
        unrecorded = 0
        target = self._targets.first
        while target is not None:
            if not self.note(target):
                unrecorded += 1
            target = target.next
        self._keeper.lack(unrecorded)


def record_of(target: Target, paused_until_s: float | None) -> Record:
    """All that is known of a target, but for what it uses at this moment."""
    gauge, episode, asked = target.gauge, target.episode, target.settings
    budget = target.budget
    return Record(
        name=target.name,
        is_unit=target.unit is not None,
        pid=target.pid,
        state=target.state.value,
        hold=None if episode is None or episode.hold is None else episode.hold.value,
        cgroup=target.directory,
        metric=None if gauge is None else gauge.metric.value,
        swap=asked.swap,
        threshold_bytes=0 if gauge is None else gauge.schedule.threshold_bytes,
        hard_bytes=None if gauge is None else gauge.schedule.hard_bytes,
        interval_s=asked.interval_s,
        for_s=asked.for_s,
        action=asked.action.value,
        signal_number=target.signal_number,
        dry_run=asked.dry_run,
        invocation_id=target.invocation_id,
        begun_s=None if gauge is None else target.begun_s,
        begun_bytes=target.begun_bytes,
        first_asked_s=None if episode is None else episode.first_asked_s,
        asked_s=None if episode is None else episode.asked_s,
        asked_in_invocation=0 if episode is None else episode.requests,
        is_escalated=episode is not None and episode.is_escalated,
        requests=target.requests,
        failed_requests=target.failed_requests,
        last_request_s=target.last_request_s,
        failed_readings=target.unreadable,
        paused_until_s=paused_until_s,
        budget_count=None if budget is None else budget.count,
        budget_window_s=0.0 if budget is None else budget.window_s,
        budget_times_s=tuple(target.budget_times()),
    )
