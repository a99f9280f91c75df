"""One request: the last questions before it, the request, and what became of it."""

from __future__ import annotations

import time

from memmon_systemd.formatting import signal_name
from memmon_systemd.monitor.episode import Episode
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.pauses import Pauses
from memmon_systemd.monitor.policy import Activity, Hold, Situation, State, hold
from memmon_systemd.monitor.poller import Poller
from memmon_systemd.monitor.report import Report
from memmon_systemd.monitor.schedule import OVER, UNREADABLE, LookResult
from memmon_systemd.monitor.status import Status
from memmon_systemd.monitor.target import Allowance, Outcome, Presence, Target
from memmon_systemd.monitor.words import plan
from memmon_systemd.settings import Action


class Requester:
    """Makes requests of targets or holds them back, and counts what can't be read."""

    __slots__ = ("_pauses", "_poller", "_report", "_status")

    def __init__(self, poller: Poller, report: Report, status: Status, pauses: Pauses) -> None:
        self._pauses = pauses
        self._poller = poller
        self._report = report
        self._status = status

    def request(
        self, target: Target, gauge: Gauge, episode: Episode, now_s: float, *, escalates: bool = False
    ) -> bool:
        """Make the request, unless something says that now isn't the moment.

        That is decided by one answer of systemd, and a second reading after it. Whether the list of targets
        may have changed.
        """
        paused_until_s = self._pauses.until_s(target.name)
        if paused_until_s is not None:
            episode.not_before_s = paused_until_s
            self._hold(target, episode, Hold.PAUSED, target.allowance(now_s))
            target.forgo_permission()
            return False
        is_queued = episode.hold is Hold.AT_MOST and not gauge.is_hard
        if is_queued and not target.is_its_turn(now_s):
            # What else there is to be known of it can wait until then: 300 may be in the queue.
            episode.not_before_s = now_s + target.settings.interval_s
            return False
        if episode.asked_s is None:
            target.follow_condition(episode.over_since_s, now_s)
        try:
            presence = target.presence(now_s)
        except OSError as error:
            why = f"can't tell if it is still the same process ({error})"
            self._failed(target, episode, Outcome(is_done=False, sentence=why))
            return False
        if presence.activity is Activity.CHANGED:
            target.start_afresh(now_s)
            return True
        # The question can take a second, and be cut short by the signal that ends the monitor.
        if self._poller.is_interrupted or self.look_closer(target, gauge) is not OVER:
            return False
        allowance = target.allowance(now_s)
        reason = _reason(target, gauge, episode, presence, allowance, now_s)
        if reason is not Hold.CONDITION:
            target.forgo_permission()
        if reason is None:
            self._make(target, episode, presence, allowance, now_s, escalates=escalates)
            return target.has_ended
        self._postpone(target, episode, reason, presence, allowance, now_s)
        return False

    def _postpone(
        self,
        target: Target,
        episode: Episode,
        reason: Hold,
        presence: Presence,
        allowance: Allowance,
        now_s: float,
    ) -> None:
        interval_s = target.settings.interval_s
        if reason is Hold.MIN_AGE:
            episode.not_before_s = now_s + target.settings.min_age_s - (presence.age_s or 0.0)
        elif reason is Hold.BUDGET:
            episode.not_before_s = allowance.free_at_s
        elif reason is Hold.AT_MOST:
            episode.not_before_s = now_s + interval_s
        elif reason is Hold.CONDITION:
            episode.not_before_s = target.condition_due_s(now_s)
        else:
            episode.recheck_later(now_s, interval_s)
        # One that was asked and stops is doing what it was asked to.
        is_shown = episode.asked_s is None or reason is Hold.FROZEN
        if is_shown and self._hold(target, episode, reason, allowance) and reason is Hold.BUDGET:
            target.call_hook(now_s)

    def _hold(self, target: Target, episode: Episode, reason: Hold, allowance: Allowance) -> bool:
        """Let the target be held for this reason; whether that is news, and was said."""
        target.state = State.HELD
        if reason is episode.hold:
            return False
        episode.hold = reason
        is_news = target.is_news(reason)
        if is_news:
            self._report.held(target, reason, allowance)
        return is_news

    def _make(
        self,
        target: Target,
        episode: Episode,
        presence: Presence,
        allowance: Allowance,
        now_s: float,
        *,
        escalates: bool,
    ) -> None:
        if target.settings.dry_run:
            outcome = _would(target, escalates=escalates)
        else:
            outcome = target.escalate(now_s) if escalates else target.request(now_s)
        if target.has_ended:
            return
        if not outcome.is_done:
            self._failed(target, episode, outcome)
            return
        target.failure = None
        if episode.asked_s is None:
            target.note_request(now_s)
        episode.asked(now_s)
        episode.is_escalated = episode.is_escalated or escalates
        target.state = State.SIGNALLED
        target.requests += 1
        target.last_request_s = time.time()
        self._status.requests += 1
        self._report.requested(target, outcome, presence, allowance, now_s)
        target.call_hook(now_s)

    def is_another(self, target: Target, now_s: float) -> bool:
        """Whether it is another invocation or process by now; not where that can't be read."""
        try:
            return target.presence(now_s).activity is Activity.CHANGED
        except OSError:
            return False  # It is read again before the next request.

    def look_closer(self, target: Target, gauge: Gauge) -> LookResult:
        """Measure the metric itself; a reading that fails is counted."""
        result = gauge.look_closer()
        if result is UNREADABLE:
            self.count_unreadable(target, gauge)
        return result

    def count_unreadable(self, target: Target, gauge: Gauge) -> None:
        """Count a reading that failed; the first of a target is said."""
        target.unreadable += 1
        if target.unreadable == 1:
            trouble = str(gauge.trouble)
            is_minor = target.is_minor_trouble()
            self._report.warn.memory_unreadable(target.name, target.unit, trouble, is_minor=is_minor)
        self._status.blind(target, gauge)

    def _failed(self, target: Target, episode: Episode, outcome: Outcome) -> None:
        """Said once while the reason stays the same; tried again at the next look."""
        target.failed_requests += 1
        if outcome.sentence != target.failure:
            self._report.request_failed(target, outcome)
            episode.has_recovered = False
        target.failure = outcome.sentence
        target.state = State.OVER if episode.asked_s is None else State.SIGNALLED
        episode.hold = None


def _reason(
    target: Target, gauge: Gauge, episode: Episode, presence: Presence, allowance: Allowance, now_s: float
) -> Hold | None:
    """Why the request is held back; all rules hold for the first one of an invocation."""
    if episode.asked_s is not None:
        return hold(Situation(presence.activity, leaves_memory=presence.leaves_memory))
    situation = Situation(
        presence.activity,
        is_hard=gauge.is_hard,
        age_s=float("inf") if presence.age_s is None else presence.age_s,
        min_age_s=target.settings.min_age_s,
        has_budget=allowance.has_room,
        is_its_turn=False,
        leaves_memory=presence.leaves_memory,
    )
    reason = hold(situation)
    # The last two rules, for to answer them takes questions to systemd, and starts a unit.
    if reason is Hold.AT_MOST and target.is_its_turn(now_s):
        return None if target.is_permitted(now_s) else Hold.CONDITION
    return reason


def _would(target: Target, *, escalates: bool) -> Outcome:
    """What would have been done, for a dry run."""
    action = Action.RESTART if escalates else target.settings.action
    what = plan(action, signal_name(target.signal_number))
    return Outcome(is_done=True, sentence=f"would {what} (dry run)")
