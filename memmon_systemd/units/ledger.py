"""The requests to units over all their invocations: what is left of the budget, and what isn't back yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum

from memmon_systemd.monitor.budget import Budget
from memmon_systemd.monitor.target import Allowance
from memmon_systemd.output.record import Record
from memmon_systemd.settings import UNIT_BUDGET, Action, TargetSettings


class Loss(Enum):
    """Whom of a unit the OOM killer has killed."""

    MAIN = "main"
    """Its main process, or all of it."""
    OTHER = "other"
    """One of its processes, at least."""


class Entry:
    """What one unit was asked, in seconds of the monotonic clock."""

    __slots__ = (
        "asked_s",
        "budget",
        "ended_s",
        "invocation_id",
        "is_down",
        "is_reload",
        "is_restored",
        "is_spent_said",
        "kills_above_before",
        "kills_before",
        "loss",
        "result",
        "said_s",
    )

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.asked_s: float | None = None
        """The first request of the invocation that isn't known to have been followed yet; None: none."""
        self.invocation_id = b""
        """Of that invocation."""
        self.ended_s: float | None = None
        """When the invocation ended."""
        self.is_down = False
        """Whether it was inactive or failed after that, and has no new cgroup: nobody starts it."""
        self.is_restored = False
        """Whether an earlier monitor made the request: then it may be back already."""
        self.is_reload = False
        """Whether a reload was asked for, which ends nothing."""
        self.result: str | None = None
        """systemd's Result of it, if that could be read in time."""
        self.kills_before: int | None = None
        """oom_kill of its cgroup at the request; None: unknown."""
        self.kills_above_before: int | None = None
        """That of the cgroup above it."""
        self.loss: Loss | None = None
        """Whom the OOM killer has killed since."""
        self.said_s: float | None = None
        """When it was said that it isn't back in time."""
        self.is_spent_said = False
        """Whether it was said that the budget is used up, since the last request."""

    def settle(self) -> None:
        """It is back, or won't come back."""
        self.asked_s = self.ended_s = self.result = self.said_s = None
        self.kills_before = self.kills_above_before = self.loss = None
        self.is_down = self.is_restored = False


class Ledger:
    """All units that were asked within their window, or aren't back."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self.deciding: set[str] = set()
        """The units whose conditions run: they hold their slots of `--at-most`."""

    def allowance(self, name: str, settings: TargetSettings, now_s: float) -> Allowance:
        """What the budget of a unit leaves."""
        entry = self._entries.get(name)
        if entry is None:
            rate = settings.budget or UNIT_BUDGET
            return Allowance(0, rate.count, rate.window_s, 0.0)
        return entry.budget.allowance(now_s)

    def note(self, name: str, invocation_id: bytes, settings: TargetSettings, now_s: float) -> None:
        """The first request of an invocation was made."""
        self._forget_old(now_s)
        entry = self._entries.get(name)
        if entry is None:
            entry = self._entries[name] = Entry(Budget(settings.budget or UNIT_BUDGET))
        entry.settle()
        entry.budget.note(now_s)
        entry.is_spent_said = False
        entry.asked_s = now_s
        entry.is_reload = settings.action is Action.RELOAD
        entry.invocation_id = invocation_id

    def times_s(self, name: str) -> Sequence[float]:
        """When the requests to a unit were made that count for its budget."""
        entry = self._entries.get(name)
        return () if entry is None else entry.budget.times_s

    def restore(self, past: Record, settings: TargetSettings) -> None:
        """Go on with what an earlier monitor has counted, unless this one has counted already."""
        if past.name in self._entries or not past.budget_times_s:
            return
        entry = self._entries[past.name] = Entry(Budget(settings.budget or UNIT_BUDGET))
        entry.budget.restore(past.budget_times_s)
        if past.first_asked_s is not None:
            entry.asked_s = past.first_asked_s
            entry.invocation_id = past.invocation_id
            entry.is_restored = True
            entry.is_reload = settings.action is Action.RELOAD

    def adopt(self, name: str, settings: TargetSettings) -> None:
        """A unit has another budget from now on; what it was asked counts on."""
        entry = self._entries.get(name)
        if entry is not None:
            entry.budget.rate = settings.budget or UNIT_BUDGET

    def is_spent_news(self, name: str) -> bool:
        """Whether it wasn't said yet that the budget of a unit is used up; from now on it was."""
        entry = self._entries.get(name)
        if entry is None or entry.is_spent_said:
            return False
        entry.is_spent_said = True
        return True

    def pending(self, name: str) -> Entry | None:
        """The entry of a unit that was asked and isn't known to be back."""
        entry = self._entries.get(name)
        return entry if entry is not None and entry.asked_s is not None else None

    def all_pending(self) -> Iterator[tuple[str, Entry]]:
        """Every such entry, by the unit's name."""
        return ((name, entry) for name, entry in self._entries.items() if entry.asked_s is not None)

    def _forget_old(self, now_s: float) -> None:
        for name in [name for name, entry in self._entries.items() if entry.asked_s is None]:
            if not self._entries[name].budget.made(now_s):
                del self._entries[name]
