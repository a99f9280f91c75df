"""What happened above the threshold in one invocation; made when it first rises: others cost nothing."""

from __future__ import annotations

from typing import Final

from memmon_systemd.monitor.policy import Hold, Timing

NEVER: Final = float("inf")
_HARD_JUMPS: Final = (Hold.MIN_AGE, Hold.AT_MOST, Hold.CONDITION)
_LONGEST_RECHECK_S: Final = 30.0


class Episode:
    """The times of one invocation, in seconds of the monotonic clock."""

    __slots__ = (
        "asked_s",
        "first_asked_s",
        "has_recovered",
        "hold",
        "is_escalated",
        "not_before_s",
        "over_since_s",
        "recheck_s",
        "requests",
    )

    def __init__(self, now_s: float) -> None:
        self.over_since_s = now_s
        """Since when the usage is above the threshold."""
        self.asked_s: float | None = None
        """The last request."""
        self.first_asked_s: float | None = None
        self.requests = 0
        self.is_escalated = False
        self.has_recovered = False
        """Whether it was within the threshold again since the last request, made or failed."""
        self.hold: Hold | None = None
        """Why the next request is held back."""
        self.not_before_s = 0.0
        """The next request is not tried earlier than this."""
        self.recheck_s = 0.0

    @classmethod
    def resumed(cls, first_asked_s: float, asked_s: float, requests: int, *, is_escalated: bool) -> Episode:
        """That of an invocation which another monitor, before this one, has asked."""
        episode = cls(first_asked_s)
        episode.first_asked_s, episode.asked_s = first_asked_s, asked_s
        episode.requests = requests
        episode.is_escalated = is_escalated
        return episode

    def timing(self, now_s: float, for_s: float, repeat_s: float, then_restart_s: float | None) -> Timing:
        """What `decide` decides by."""
        return Timing(
            now_s - self.over_since_s,
            None if self.asked_s is None else now_s - self.asked_s,
            None if self.first_asked_s is None else now_s - self.first_asked_s,
            for_s,
            repeat_s,
            None if self.is_escalated else then_restart_s,
        )

    def asked(self, now_s: float) -> None:
        """A request was made."""
        self.asked_s = now_s
        if self.first_asked_s is None:
            self.first_asked_s = now_s
        self.requests += 1
        self.hold = None
        self.has_recovered = False
        self.not_before_s = self.recheck_s = 0.0

    def is_due(self, now_s: float, *, is_hard: bool) -> bool:
        """Whether a request may be tried now; above the hard threshold some rules hold nothing back."""
        return now_s >= self.not_before_s or (is_hard and self.hold in _HARD_JUMPS)

    def escalates_at_s(self, then_restart_s: float | None) -> float:
        """When it is to be restarted."""
        if self.first_asked_s is None or then_restart_s is None or self.is_escalated:
            return NEVER
        return self.first_asked_s + then_restart_s

    def recheck_later(self, now_s: float, interval_s: float) -> None:
        """Ask systemd again after an interval, then after twice as long: at most as long as it has waited."""
        self.recheck_s = min(max(2 * self.recheck_s, interval_s), max(interval_s, _LONGEST_RECHECK_S))
        self.not_before_s = now_s + self.recheck_s
