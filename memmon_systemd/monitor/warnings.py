"""What is not as a user may think, and what the monitor does instead: one method and one event for each."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from memmon_systemd.formatting import format_seconds
from memmon_systemd.monitor.events import Event
from memmon_systemd.monitor.log import Log

_MOST_NAMES: Final = 3


class Warnings:
    """Logs warnings, and errors that nobody expected."""

    __slots__ = ("_last_bug", "_log", "_low_hard")

    def __init__(self, log: Log) -> None:
        self._log = log
        self._last_bug: str | None = None
        self._low_hard: set[str] = set()

    def not_notifying(self, problem: str) -> None:
        """What the service manager passed in the environment can't be used."""
        self._warn(Event.NOT_NOTIFYING, problem)

    def not_locked(self, problem: str) -> None:
        """The monitor's own memory could not be locked or reserved as it should be."""
        self._warn(Event.NOT_LOCKED, problem)

    def not_graceful(self) -> None:
        """The signal is SIGKILL."""
        sentence = "SIGKILL isn't graceful: work in progress is lost; SIGTERM lets the service finish it"
        self._warn(Event.NOT_GRACEFUL, sentence)

    def memory_unreadable(self, name: str, unit: str | None, trouble: str, *, is_minor: bool = False) -> None:
        """The first sample of a target that could not be read."""
        sentence = f"{name}: its memory can't be read ({trouble}); retried at every poll"
        self._warn(Event.UNREADABLE, sentence, unit, is_minor=is_minor)

    def events_unreadable(self, unit: str, why: str) -> None:
        """memory.events can't wake the monitor."""
        sentence = f"{unit}: memory.events can't be read ({why}): falling back to polling"
        self._warn(Event.EVENTS_UNREADABLE, sentence, unit)

    def no_memory_controller(self, unit: str, why: str, metric: str | None) -> None:
        """RSS is summed up instead of the metric."""
        instead = "" if metric is None else f" instead of {metric}"
        sentence = f"no memory controller ({why}): adding up the RSS of its processes{instead}"
        self._warn(Event.NO_MEMORY_CONTROLLER, f"{unit}: {sentence}", unit)

    def no_inotify(self, problem: str) -> None:
        """Units that come and go are found by listing the slices."""
        self._warn(Event.NO_INOTIFY, f"{problem}; until then new units and limits may be noticed late")

    def reloads_unseen(self, problem: str, pause_s: float) -> None:
        """A daemon-reload isn't noticed."""
        instead = f"unit files are read every {format_seconds(pause_s)} instead"
        self._warn(Event.NO_INOTIFY, f"{problem}: {instead}")

    def systemd_unavailable(self, why: str) -> None:
        """Signals would go directly."""
        self._warn(Event.SYSTEMD_UNAVAILABLE, f"systemd doesn't answer: {why}")

    def systemd_busy(self, failure: Exception, longest_s: int) -> None:
        """At the start it is waited for."""
        sentence = f"systemd doesn't answer: {failure}; waiting for it, {longest_s} s at most"
        self._warn(Event.SYSTEMD_UNAVAILABLE, sentence)

    def stop_unknown(self, unit: str, why: str) -> None:
        """`--until-stopped` can't be decided."""
        sentence = f"can't tell whether {unit} has stopped for good: {why}; asking again every second"
        self._warn(Event.STOP_UNKNOWN, sentence, unit)

    def invocation_unknown(self, unit: str, why: str) -> None:
        """Systemd could not be asked about a unit that starts to be measured."""
        self._warn(Event.INVOCATION_UNKNOWN, f"{unit}: {why}; monitored anyway", unit)

    def stays_down(self, unit: str, cause: str, lines: str) -> None:
        """Systemd would not start the service again after the signal; `lines` ("": none) of its file help."""
        way = f"set {lines} in its [Service] section" if lines else "use --restart"
        sentence = f"{unit}: {cause}; {way}: see --check"
        self._warn(Event.STAYS_DOWN, sentence, unit)

    def not_permitted(self, unit: str, why: str, hint: str) -> None:
        """Above the threshold nothing would come of it."""
        self._warn(Event.NOT_PERMITTED, f"{unit}: {why}: {hint}", unit)

    def restart_unknown(self, unit: str, why: str) -> None:
        """Whether systemd would start the service again can't be asked."""
        self._warn(Event.RESTART_UNKNOWN, f"{unit}: can't tell whether systemd would restart it: {why}", unit)

    def unit_settings(self, unit: str, problem: str, *, is_kept: bool) -> None:
        """A section in the files of a unit is wrong."""
        kept = "; the settings of before stay in force" if is_kept else ""
        self._log.write(Event.UNIT_SETTINGS_WRONG, f"error: {unit}: {problem}{kept}", unit)

    def unit_files_unknown(self, why: str) -> None:
        """Systemd could not be asked which files a unit has."""
        self._warn(Event.UNIT_FILES_UNKNOWN, f"can't tell which units are configured: {why}; asking again")

    def name_guessed(self, name: str, unit: str, why: str) -> None:
        """A NAME is taken for a process-name prefix because systemd can't be asked."""
        self._warn(
            Event.NAME_GUESSED,
            f"'{name}' is taken as a process-name prefix, since systemd can't be asked about {unit} ({why});"
            " --as unit or --as process decides",
        )

    def unit_skipped(self, unit: str, why: str) -> None:
        """A unit that matches is not monitored."""
        self._warn(Event.SKIPPED, f"{unit} is skipped: {why}", unit)

    def process_skipped(self, pid: int) -> None:
        """A process that matches is the monitor, or an ancestor of it."""
        self._warn(Event.SKIPPED, f"process {pid} is skipped: it is memory-monitor or an ancestor of it")

    def no_unit(self, process: str) -> None:
        """`--as owner` found a process outside all units."""
        self._warn(Event.NO_UNIT, f"{process} belongs to no unit")

    def search_failed(self, name: str, why: str) -> None:
        """The first of several searches for processes that failed."""
        self._warn(Event.SEARCH_FAILED, f"{name}: processes can't be listed: {why}; retried at every poll")

    def search_recovered(self, name: str, failed: int) -> None:
        """A search for processes works again."""
        searches = "1 search" if failed == 1 else f"{failed:,} searches"
        sentence = f"{name}: processes can be listed again, after {searches} failed"
        self._warn(Event.SEARCH_RECOVERED, sentence)

    def name_unreadable(self, name: str, why: str, count: int) -> None:
        """The name of a process can't be read; said at the first time, the 10th, the 100th and so on."""
        so_far = "" if count == 1 else f"; {count:,} times so far"
        sentence = f"{name}: the name of a process can't be read ({why}){so_far}; the others are monitored"
        self._warn(Event.NAME_UNREADABLE, sentence)

    def process_not_held(self, name: str, pid: int, why: str) -> None:
        """The first process of a name that is there and can't be opened."""
        sentence = f"{name}: process {pid} can't be monitored ({why}); retried at every search"
        self._warn(Event.PROCESS_NOT_HELD, sentence)

    def few_descriptors(self, why: str) -> None:
        """The limit of open files stays as it is."""
        self._warn(Event.FEW_DESCRIPTORS, f"the limit of open files can't be raised: {why}")

    def owner_skipped(self, unit: str, process: str, why: str) -> None:
        """`--as owner` found a process in a unit that isn't monitored for it."""
        self._warn(Event.OWNER_SKIPPED, f"{unit} is not monitored, though {process} runs in it: {why}", unit)

    def owner_unknown(self, unit: str, process: str, why: str) -> None:
        """Whether a unit is one that `--as owner` means can't be asked."""
        sentence = f"{unit} is not monitored yet: can't tell if it is the owner of {process}: {why}"
        self._warn(Event.OWNER_UNKNOWN, sentence, unit)

    def units_unlisted(self, why: str) -> None:
        """The first of several listings of the slices that failed."""
        instead = "those that are known stay monitored; retried at every poll"
        self._warn(Event.UNITS_UNLISTED, f"units can't be listed ({why}): {instead}")

    def hard_is_low(self, name: str, threshold: str) -> None:
        """By the shares of today `--hard` isn't above `-m`; said once of a unit or a NAME."""
        if name not in self._low_hard:
            self._low_hard.add(name)
            sentence = f"--hard isn't above -m: the lower one, {threshold}, is both"
            self._warn(Event.HARD_IS_LOW, f"{name}: {sentence}")

    def settings_not_read(self, path: str, read_path: str) -> None:
        """Systemd looks for the settings of this instance in a file of another name."""
        sentence = f"{path} isn't read: systemd takes a backslash in EnvironmentFile= for an escape"
        self._warn(Event.SETTINGS_NOT_READ, f"{sentence}; rename it to {read_path}")

    def near_unit(self, name: str, processes: Collection[str], near_unit: str) -> None:
        """A NAME is taken for a process-name prefix, and a unit may have been meant."""
        some = ", ".join(sorted(processes)[:_MOST_NAMES])
        more = ", ..." if len(processes) > _MOST_NAMES else ""
        self._warn(Event.NEAR_UNIT, f"{name}: processes {some}{more}{near_unit}")

    def hook_unfit(self, unit: str, option: str, hook: str, problem: str) -> None:
        """What is to be started before or at a request can't be, or isn't of use."""
        self._warn(Event.HOOK_UNFIT, f"{unit}: {option} {hook}: {problem}", unit)

    def hooks_unknown(self, unit: str, why: str) -> None:
        """Whether the hooks of a unit are of use can't be asked."""
        self._warn(Event.HOOK_UNFIT, f"{unit}: can't tell whether its hooks are of use: {why}", unit)

    def hook_failed(self, unit: str, hook: str, why: str) -> None:
        """What was to know of a request wasn't started, or has failed."""
        self._warn(Event.HOOK_FAILED, f"{unit}: {hook}: {why}; see systemctl status {hook}", unit)

    def condition_refused(self, unit: str, hook: str, why: str) -> None:
        """The unit that permits requests has failed, or could not be started; said once for each reason."""
        sentence = f"{unit}: not asked: {hook} doesn't permit it: {why}; tried again after --repeat"
        self._warn(Event.CONDITION_REFUSED, sentence, unit)

    def state_unwritten(self, why: str) -> None:
        """Other processes can't see what is monitored, nor can the next monitor."""
        sentence = f"no state file ({why}): memmonctl doesn't show this monitor"
        self._warn(Event.STATE_UNWRITTEN, f"{sentence}, and requests are counted from zero at its next start")

    def state_too_small(self, why: str) -> None:
        """Some targets are in no state file."""
        self._warn(Event.STATE_UNWRITTEN, f"state file: {why}: memmonctl doesn't show the others")

    def pause_unreadable(self, path: str, why: str) -> None:
        """What is to be paused isn't known."""
        self._warn(Event.PAUSE_UNREADABLE, f"{path} can't be read ({why}): nothing is paused by it")

    def bug(self, error: Exception) -> None:
        """An error that nobody expected; the monitor goes on. Said once while it stays the same."""
        sentence = f"memory-monitor: error: {type(error).__name__}: {error} ({_place(error)}); continuing"
        if sentence != self._last_bug:
            self._last_bug = sentence
            self._log.write(Event.BUG, sentence)

    def _warn(self, event: Event, sentence: str, unit: str | None = None, *, is_minor: bool = False) -> None:
        self._log.write(event, f"warning: {sentence}", unit, is_minor=is_minor)


def _place(error: Exception) -> str:
    """Where it was raised; the module `traceback` would open the source and read it."""
    place = error.__traceback__
    if place is None:
        return "nowhere"
    while place.tb_next is not None:
        place = place.tb_next
    return f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}"
