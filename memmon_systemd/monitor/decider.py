"""What follows from a look at one target: a decision, what it takes, and when to look again."""

from __future__ import annotations

from typing import Final

from memmon_systemd.monitor.episode import Episode
from memmon_systemd.monitor.gauge import Gauge
from memmon_systemd.monitor.policy import Decision, State, decide
from memmon_systemd.monitor.report import Report
from memmon_systemd.monitor.requester import Requester
from memmon_systemd.monitor.schedule import OVER, UNREADABLE, LookResult, Step
from memmon_systemd.monitor.status import Status
from memmon_systemd.monitor.target import NEVER, Target

_OK: Final = State.OK


class Decider:
    """Decides about one target at a time."""

    __slots__ = ("_report", "_requester", "_status")

    def __init__(self, requester: Requester, report: Report, status: Status) -> None:
        self._requester = requester
        self._report = report
        self._status = status

    def consider(self, target: Target, gauge: Gauge, result: LookResult, now_s: float) -> bool:
        """Do what a look leads to that wasn't cheap; whether the list of targets may have changed."""
        target.look_in(target.settings.interval_s, now_s)
        if result is UNREADABLE:
            self._requester.count_unreadable(target, gauge)
            return False
        has_changed = self._follow(target, gauge, result, now_s)
        self._status.outdate()
        self._plan(target, gauge, result, now_s)
        return has_changed

    def _follow(self, target: Target, gauge: Gauge, result: LookResult, now_s: float) -> bool:
        """Do what a reading leads to; whether the list of targets may have changed."""
        is_over = result is OVER
        episode = target.episode
        if episode is None:
            if not is_over:
                return False
            episode = target.episode = Episode(now_s)
        if is_over and target.state is _OK:
            episode.over_since_s = now_s
        settings = target.settings
        timing = episode.timing(now_s, settings.for_s, target.repeat_s, settings.then_restart_s)
        decision = decide(target.state, is_over, gauge.is_hard, timing)
        if decision is Decision.REQUEST or decision is Decision.ESCALATE:
            if episode.is_due(now_s, is_hard=gauge.is_hard):
                escalates = decision is Decision.ESCALATE
                return self._requester.request(target, gauge, episode, now_s, escalates=escalates)
        elif decision is Decision.RISE:
            target.state = State.OVER
            self._report.over(target)
        elif decision is Decision.FALL:
            self._fall(target, gauge, episode)
        elif episode.asked_s is not None and is_over:
            if target.state is _OK:
                target.state = State.SIGNALLED
                self._report.over_again(target)
            return self._has_changed(target, episode, now_s)
        return False

    def _fall(self, target: Target, gauge: Gauge, episode: Episode) -> None:
        # A look that was settled cheaply leaves no number to be said.
        self._requester.look_closer(target, gauge)
        target.state = State.OK
        target.failure = None
        episode.hold = None
        episode.not_before_s = 0.0
        # Once after each request: a usage that goes up and down around the threshold is no news.
        self._report.recovered(target, is_minor=episode.has_recovered)
        episode.has_recovered = episode.asked_s is not None

    def _has_changed(self, target: Target, episode: Episode, now_s: float) -> bool:
        """Whether another invocation is in the same cgroup, which processes of the last one kept.

        So it is with KillMode=process.
        """
        if now_s < episode.not_before_s:
            return False
        if self._requester.is_another(target, now_s):
            target.start_afresh(now_s)
            return True
        episode.recheck_later(now_s, target.settings.interval_s)
        repeat_at_s = NEVER if episode.asked_s is None else episode.asked_s + target.repeat_s
        escalates_at_s = episode.escalates_at_s(target.settings.then_restart_s)
        episode.not_before_s = min(episode.not_before_s, repeat_at_s, escalates_at_s)
        return False

    def _plan(self, target: Target, gauge: Gauge, result: LookResult, now_s: float) -> None:
        """Set when the target is looked at next."""
        if target.state is State.OK:
            if result is OVER:  # Another invocation: at once.
                target.look_at(now_s)
            else:
                target.look_in(result.wait_s if isinstance(result, Step) else gauge.wait_s, now_s)
            return
        episode, settings = target.episode, target.settings
        due_s = target.due_s
        if gauge.schedule.hard_bytes is not None and not gauge.is_hard:
            due_s = min(due_s, now_s + gauge.schedule.wait_s(gauge.usage_bytes))
        if episode is not None:
            for at_s in (
                episode.over_since_s + settings.for_s if target.state is State.OVER else NEVER,
                NEVER if episode.asked_s is None else episode.asked_s + target.repeat_s,
                episode.escalates_at_s(settings.then_restart_s),
                episode.not_before_s,
            ):
                if now_s < at_s < due_s:
                    due_s = at_s
        if due_s < target.due_s:
            target.look_at(due_s)
