"""What is logged of targets: changes of state and requests.

Each is one line that names the value, the threshold and the metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from memmon_systemd.formatting import format_growth, format_seconds, signal_name
from memmon_systemd.monitor import words
from memmon_systemd.monitor.events import Event
from memmon_systemd.monitor.log import Field, Log
from memmon_systemd.monitor.policy import Activity, Hold, State
from memmon_systemd.monitor.target import Allowance, Outcome, Presence, Target
from memmon_systemd.monitor.warnings import Warnings
from memmon_systemd.settings import Action, Settings

_DONE: Final = {Action.SIGNAL: "signalled", Action.RESTART: "restarted", Action.RELOAD: "reloaded"}
_WHY_HELD: Final = {
    Hold.STARTING: "it is starting; asked once it is active",
    Hold.STOPPING: "it is stopping or restarting already; not disturbed",
    Hold.RELOADING: "it is reloading; asked when that is done",
    Hold.FROZEN: "it is frozen and can't follow; asked once it is thawed",
    Hold.NOT_RUNNING: "it has stopped, and what is left of it isn't signalled",
    Hold.KILL_MODE: (
        "a restart leaves its other processes running (KillMode=), which use the memory; see --check"
    ),
    Hold.MIN_AGE: "it is younger than {}",
    Hold.CONDITION: "{} decides whether it may be asked",
    Hold.PAUSED: "paused; asked once the pause has ended",
    Hold.AT_MOST: "{} of its kind are down or on their way; asked in its turn",
}


class Report:
    """Logs what happens; `warn` has what is not as the user may think."""

    __slots__ = ("log", "warn")

    def __init__(self, log: Log) -> None:
        self.log = log
        self.warn = Warnings(log)

    def started(self, version: str, settings: Settings) -> None:
        """What will be done, with the threshold in its unit: a wrong number shows in the first line."""
        if settings.configured:
            what = "monitoring each unit with a section [X-MemoryMonitor] in its files"
            would = "; dry run: nothing will be done" if settings.target.dry_run else ""
            self.log.write(Event.STARTED, f"memory-monitor {version}: {what}{would}")
            return
        asked = settings.target
        sent = "its stop signal" if asked.signal_number is None else signal_name(asked.signal_number)
        what = words.plan(asked.action, sent)
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
        self._warn_of_low_hard(target)
        if gauge is not None and gauge.trouble is not None:
            self.warn.memory_unreadable(target.name, target.unit, gauge.trouble, is_minor=is_minor)
        elif gauge is None or gauge.usage_bytes <= gauge.schedule.threshold_bytes:
            sentence = f"{words.usage(target)} of {words.threshold(target)}{words.of_machine(target)}"
            self._of(Event.BEGAN, target, sentence, is_minor=is_minor)

    def over(self, target: Target) -> None:
        """Above the threshold, and `--for` runs."""
        asked = target.settings
        what = _DONE[asked.action]
        sustained = format_seconds(asked.for_s)
        self._of(Event.OVER, target, f"{words.above(target)}; {what} if it stays above for {sustained}")

    def requested(
        self, target: Target, outcome: Outcome, presence: Presence, allowance: Allowance, now_s: float
    ) -> None:
        """The target was asked to exit, restart or reload; with what helps to see the leak behind it."""
        episode = target.episode
        repeats = 0 if episode is None else episode.requests - 1
        grown = words.grown(target, now_s)
        facts = [format_growth(*grown)] if grown else []
        if repeats > 0:
            facts.append(f"repeat {repeats}")
        elif allowance.count is not None:
            window = format_seconds(allowance.window_s)
            facts.append(f"request {allowance.made + 1} of {allowance.count} within {window}")
        if presence.activity is Activity.UNKNOWN:
            facts.append("its state is unknown")
        age = "" if presence.age_s is None else f" after {format_seconds(presence.age_s)}"
        inner = f" ({', '.join(facts)})" if facts else ""
        fields = [("MEMORY_MONITOR_REQUEST", str(allowance.made + 1))] if not repeats else []
        if presence.age_s is not None:
            fields.append(("MEMORY_MONITOR_AGE_SEC", f"{presence.age_s:.0f}"))
        sentence = f"{words.above(target)}{age}{inner}: {outcome.sentence}"
        if grown:
            fields.append(("MEMORY_MONITOR_GROWTH", f"{grown[0] / grown[1] * 3600:.0f}"))
        self._of(Event.REQUESTED, target, sentence, fields)

    def held(self, target: Target, reason: Hold, allowance: Allowance) -> None:
        """The target would be asked, but now isn't the moment; said once for each reason."""
        event, why = Event.HELD, _WHY_HELD.get(reason, "")
        if reason is Hold.BUDGET:
            event = Event.BUDGET_SPENT
            times = "once" if allowance.made == 1 else f"{allowance.made} times"
            why = (
                f"asked {times} within {format_seconds(allowance.window_s)}: the threshold is"
                " below what it needs, or it leaks faster than restarting helps"
            )
        elif reason is Hold.MIN_AGE:
            why = why.format(format_seconds(target.settings.min_age_s))
        elif reason is Hold.AT_MOST:
            why = why.format(target.settings.at_most)
        elif reason is Hold.CONDITION:
            why = why.format(target.condition_name)
        self._of(event, target, f"{words.above(target)}: {why}", [("MEMORY_MONITOR_REASON", reason.value)])

    def request_failed(self, target: Target, outcome: Outcome) -> None:
        """The target could not be asked."""
        name = f"{target.name}: not {_DONE[target.settings.action]}"
        sentence = f"{name}: {words.above(target)}: {outcome.sentence}"
        self.log.write(Event.FAILED, sentence, target.unit, State.OVER, words.fields(target))

    def over_again(self, target: Target) -> None:
        """Above the threshold again, and asked before: for the status, and with -v."""
        self._of(Event.OVER, target, f"{words.above(target)} again; asked already", is_minor=True)

    def recovered(self, target: Target, *, is_minor: bool = False) -> None:
        """Back within the threshold."""
        sentence = f"within again: {words.usage(target)} of {words.threshold(target)}"
        self._of(Event.RECOVERED, target, sentence, is_minor=is_minor)

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
        self._warn_of_low_hard(target)
        now = f"{words.threshold(target)}{words.of_machine(target)}, {words.usage(target)}"
        sentence = f"{target.name}: the threshold is now {now}"
        self.log.write(Event.BEGAN, sentence, target.unit, target.state, words.fields(target))

    def paused(self, name: str, unit: str | None, until: str) -> None:
        """Nothing is asked of a target, or of those that a glob matches; `until` says how long."""
        sentence = f"{name}: paused {until}: monitored, but not asked"
        self.log.write(Event.PAUSED, sentence, unit)
        self.log.news = sentence

    def resumed(self, name: str, unit: str | None, why: str) -> None:
        """They are asked again from now on."""
        sentence = f"{name}: {why}: asked again when above its threshold"
        self.log.write(Event.RESUMED, sentence, unit)
        self.log.news = sentence

    def resumed_above(self, target: Target, why: str) -> None:
        """So is one that was held back: it is said first."""
        self._of(Event.RESUMED, target, f"{words.above(target)}: {why}: asked at the next poll")

    def settings_changed(self, target: Target, changes: Sequence[str]) -> None:
        """The settings of a unit are others now: "Threshold=80% (was 90%)" each."""
        sentence = f"{target.name}: settings changed: {', '.join(changes)}"
        self.log.write(Event.SETTINGS_CHANGED, sentence, target.unit, target.state)

    def own_settings_read(self, names: Sequence[str], changes: Sequence[str]) -> None:
        """The settings of all targets were read again; some are others now, or none."""
        what = (
            f"settings changed: {', '.join(changes)}" if changes else "settings read again: none has changed"
        )
        unit = names[0] if len(names) == 1 else None
        self.log.write(Event.SETTINGS_CHANGED, f"{', '.join(names)}: {what}", unit)

    def left_to(self, unit: str, monitor: str) -> None:
        """A unit has a monitor of its own."""
        self.log.write(Event.LEFT_TO_ANOTHER, f"{unit}: left to {monitor}, which monitors it", unit)

    def taken_over(self, unit: str, monitor: str) -> None:
        """The monitor of a unit is not active any more."""
        self.log.write(Event.TAKEN_OVER, f"{unit}: monitored here again: {monitor} is not active", unit)

    def came_back(self, unit: str, how: str, ended_s: float, active_s: float) -> None:
        """A unit that was asked is active again."""
        times = f"{how} after {format_seconds(ended_s)} and active again after {format_seconds(active_s)}"
        fields = [
            ("MEMORY_MONITOR_ENDED_SEC", f"{ended_s:.1f}"),
            ("MEMORY_MONITOR_ACTIVE_SEC", f"{active_s:.1f}"),
        ]
        self.log.write(Event.CAME_BACK, f"{unit}: {times}", unit, fields=fields)

    def rests(self, unit: str, how: str, ended_s: float, why: str) -> None:
        """A unit that was asked has ended, and systemd isn't meant to start it again at once."""
        self.log.write(Event.RESTS, f"{unit}: {how} after {format_seconds(ended_s)}; {why}", unit)

    def hook_started(self, unit: str, hook: str) -> None:
        """A unit was started that is to know of a request."""
        self.log.write(Event.HOOK_STARTED, f"{unit}: started {hook}", unit)

    def not_back(self, unit: str, how: str, down_s: float, why: str) -> None:
        """A unit that was asked has ended and isn't started again in time."""
        sentence = f"{unit}: {how}, and isn't back after {format_seconds(down_s)}: {why}"
        self.log.write(Event.NOT_BACK, sentence, unit)

    def reading(self, target: Target) -> None:
        """A reading, for -v."""
        sentence = f"{target.name}: {target.state.value}: {words.usage(target)} of {words.threshold(target)}"
        self.log.write(Event.READING, sentence, target.unit, fields=words.fields(target))

    def stopped(self, why: str) -> None:
        """The monitor ends."""
        self.log.write(Event.STOPPED, f"memory-monitor: {why}")

    def _warn_of_low_hard(self, target: Target) -> None:
        if target.gauge is not None and target.gauge.schedule.is_hard_only:
            self.warn.hard_is_low(target.unit or target.name.partition("[")[0], words.threshold(target))

    def _of(
        self,
        event: Event,
        target: Target,
        sentence: str,
        fields: Sequence[Field] = (),
        *,
        is_minor: bool = False,
    ) -> None:
        sentence = f"{target.name}: {target.state.value}: {sentence}"
        entry = [*words.fields(target), *fields]
        self.log.write(event, sentence, target.unit, target.state, entry, is_minor=is_minor)
