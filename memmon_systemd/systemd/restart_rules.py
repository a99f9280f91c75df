"""Whether systemd restarts a service after it was asked to exit: Restart= and what overrides it.

Source: systemd.service(5): Restart= and its table, SuccessExitStatus=, RestartPreventExitStatus=,
RestartForceExitStatus=, RemainAfterExit=.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from memmon_systemd.formatting import signal_name
from memmon_systemd.systemd.properties import Properties

CLEAN_SIGNALS: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)
"""A daemon that one of these killed has ended cleanly, for systemd."""
END_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT, signal.SIGKILL)
"""A program that handles one of these ends by it; what others make it do is its own affair."""
_BY_SHELLS: Final = 128
"""Java and others end by signal N with the status 128 + N."""


class Disposition(StrEnum):
    """What a process does with a signal (signal(7))."""

    DEFAULT = "default"
    HANDLED = "handled"
    IGNORED = "ignored"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class End:
    """How a main process ended: killed by a signal, or with an exit status."""

    signal_number: int = 0
    status: int = 0

    def __str__(self) -> str:
        """As a sentence goes on: "on SIGTERM", "with status 0"."""
        return f"on {signal_name(self.signal_number)}" if self.signal_number else f"with status {self.status}"


@dataclass(frozen=True, slots=True)
class ExitSet:
    """The value of an option such as SuccessExitStatus=: statuses and signals."""

    statuses: Collection[int] = ()
    signals: Collection[int] = ()

    def holds(self, end: End) -> bool:
        """Whether the option names this end."""
        return end.signal_number in self.signals if end.signal_number else end.status in self.statuses


class Down(StrEnum):
    """Why a service isn't started again."""

    NO_RESTART = "no-restart"
    NOT_THIS_END = "stays-down"
    PREVENTED = "restart-prevented"
    REMAINS = "remains-after-exit"


@dataclass(frozen=True, slots=True)
class RestartRules:
    """The options of a service that decide whether it is started again."""

    restart: str = "no"
    success: ExitSet = ExitSet()
    prevent: ExitSet = ExitSet()
    force: ExitSet = ExitSet()
    remain_after_exit: bool = False
    is_oneshot: bool = False
    """Type=oneshot, of which systemd refuses Restart=always and on-success, and RestartForceExitStatus=."""

    def is_clean(self, end: End) -> bool:
        """Whether this end counts as a success."""
        return (not end.signal_number and end.status == 0) or (
            end.signal_number in CLEAN_SIGNALS or self.success.holds(end)
        )

    def why_down(self, end: End) -> Down | None:
        """Why the service isn't started again after this end; None: it is."""
        if self.remain_after_exit and self.is_clean(end):
            return Down.REMAINS
        if self.prevent.holds(end):
            return Down.PREVENTED
        if self.force.holds(end) or self._covers(end):
            return None
        return Down.NO_RESTART if self.restart == "no" else Down.NOT_THIS_END

    def _covers(self, end: End) -> bool:
        clean = self.is_clean(end)
        followed = {
            "always": True,
            "on-success": clean,
            "on-failure": not clean,
            "on-abnormal": not clean and bool(end.signal_number),
            "on-abort": not clean and bool(end.signal_number),
        }
        return followed.get(self.restart, False)  # no, and on-watchdog: only after a time-out


def rules_of(properties: Properties) -> RestartRules:
    """The rules of a service, by its properties (org.freedesktop.systemd1(5))."""
    return RestartRules(
        os.fsdecode(properties[b"Restart"]),
        ExitSet(*properties[b"SuccessExitStatus"]),
        ExitSet(*properties[b"RestartPreventExitStatus"]),
        ExitSet(*properties[b"RestartForceExitStatus"]),
        bool(properties[b"RemainAfterExit"]),
        properties[b"Type"] == b"oneshot",
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """After which end a service would stay down, and why."""

    why: Down
    end: End
    expected: bool
    """Whether this is how it will end; else it is how it may."""


def verdict(rules: RestartRules, signal_number: int, disposition: Disposition) -> Verdict | None:
    """What the signal leads to: None where the service is started again, or doesn't end at all."""
    for place, end in enumerate(_ends(signal_number, disposition)):
        why = rules.why_down(end)
        if why is not None:
            return Verdict(why, end, place == 0 and _is_sure(signal_number, disposition))
    return None


def sentence(rules: RestartRules, found: Verdict, signal_number: int) -> str:
    """What keeps the service down, as the user reads it."""
    name = signal_name(signal_number)
    if found.why is Down.NO_RESTART:
        cause = "Restart=no: systemd doesn't restart it"
    elif found.why is Down.REMAINS:
        cause = "RemainAfterExit=yes: systemd considers it active after it has exited, and doesn't restart it"
    elif found.why is Down.PREVENTED:
        cause = f"RestartPreventExitStatus= includes an exit {found.end}: systemd doesn't restart it"
    elif rules.is_clean(found.end) and signal_number in CLEAN_SIGNALS:
        cause = f"Restart={rules.restart}: systemd treats an exit on {name} or with status 0 as clean"
    elif rules.is_clean(found.end):
        cause = f"Restart={rules.restart}: systemd treats an exit {found.end} as clean"
    else:
        cause = f"Restart={rules.restart} doesn't cover an exit {found.end}"
    if found.expected:
        return f"{cause}, so it would stay down"
    how = "kills it" if found.end.signal_number else f"makes it exit {found.end}"
    return f"{cause}, so it would stay down if {name} {how}"


def remedy(found: Verdict, rules: RestartRules) -> tuple[str, ...]:
    """The lines for its [Service] section that fix it; none where no lines do, but --restart does."""
    if rules.is_oneshot:
        return ()
    lines = ("Restart=always",) if rules.restart != "always" else ()
    if found.why is Down.REMAINS:
        return ("RemainAfterExit=no", *lines)
    if found.why is Down.PREVENTED:
        return ("RestartPreventExitStatus=", *lines)
    return lines


def _ends(signal_number: int, disposition: Disposition) -> tuple[End, ...]:
    """How a process ends by a signal: the likeliest first."""
    killed = End(signal_number)
    if disposition is Disposition.IGNORED:
        return ()
    if disposition is Disposition.DEFAULT or signal_number == signal.SIGKILL:
        return (killed,)
    return (End(), killed, End(status=_BY_SHELLS + signal_number))


def _is_sure(signal_number: int, disposition: Disposition) -> bool:
    return disposition is Disposition.DEFAULT or signal_number in END_SIGNALS
