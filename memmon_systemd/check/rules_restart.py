"""What `--check` judges of the unit, the signal, and what follows it: pure, from facts to findings."""

from __future__ import annotations

import signal
from typing import Final

from memmon_systemd.check.facts import Case, Finding, Id, Level, Remedy
from memmon_systemd.formatting import format_seconds, signal_name
from memmon_systemd.settings import KillWhom
from memmon_systemd.systemd.properties import LOADED
from memmon_systemd.systemd.restart_rules import Disposition, Down, remedy, sentence, verdict

LEAK_BYTES_PER_S: Final = 100_000_000
"""A fast leak: what has to be caught in time is judged by it."""
_SLOW_LEAK_BYTES_PER_S: Final = 1_000_000
"""What hits a limit of starts at this rate is no theory any more."""


def edit(case: Case, section: str, *lines: str) -> Remedy:
    """The way to change options of the target's unit."""
    manager = "systemctl --user" if case.user else "systemctl"
    unit = case.target.unit
    if case.target.properties is not None and case.target.properties.transient:
        options = " ".join(f"--property={line}" for line in lines)
        return Remedy(f"systemd-run --unit={unit} {options} ...")
    name, at, rest = unit.partition("@")
    if at:  # All instances of a template are alike.
        unit = f"{name}@.{rest.rpartition('.')[2]}"
    return Remedy(f"{manager} edit {unit}", (f"[{section}]", *lines))


def next_start(case: Case) -> Finding | None:
    """The service would stay down."""
    if case.settings.restart:
        return None
    service = case.target.service
    if service is None:
        return _without_service(case)
    rules, number = service.restart, case.settings.signal_number
    found = verdict(rules, number, case.target.disposition)
    if found is None:
        return None
    if found.expected:
        level = Level.ERROR
    else:
        level = Level.WARNING if found.why is Down.PREVENTED else Level.NOTE
    lines = remedy(found, rules)
    return Finding(Id(found.why), level, sentence(rules, found, number), edit(case, "Service", *lines))


def _without_service(case: Case) -> Finding | None:
    target = case.target
    if target.is_process and target.unit.endswith(".service"):
        return None  # One of its processes and not the main one: whose business it is, only that knows.
    if target.is_process:
        place = f"; it belongs to {target.unit}" if target.unit else ""
        text = f"systemd doesn't start it again when it has ended{place}: something else has to"
        return Finding(Id.NO_RESTART, Level.NOTE, text)
    kind = target.name.rpartition(".")[2]
    text = f"systemd doesn't start the processes of a {kind} again when they have ended"
    return Finding(Id.NO_RESTART, Level.WARNING, text, Remedy(advice="name the services in it"))


def signal_ignored(case: Case) -> Finding | None:
    """The main process ignores the signal."""
    if case.settings.restart or case.target.disposition is not Disposition.IGNORED:
        return None
    name = signal_name(case.settings.signal_number)
    who = case.target.main_name or "its main process"
    text = f"{who} ignores {name}: it is asked again and again, and stays"
    other = "SIGTERM" if case.settings.signal_number != signal.SIGTERM else "SIGINT"
    way = Remedy(option=f"-s {other}", advice="or another signal that it handles")
    return Finding(Id.SIGNAL_IGNORED, Level.ERROR, text, way)


def not_graceful(case: Case) -> Finding | None:
    """SIGKILL."""
    if case.settings.restart or case.settings.signal_number != signal.SIGKILL:
        return None
    text = "SIGKILL isn't graceful: what it is doing is lost"
    return Finding(Id.NOT_GRACEFUL, Level.WARNING, text, Remedy(option="-s SIGTERM"))


def start_limit(case: Case) -> Finding | None:
    """Systemd would refuse to start it again, for it was started too often."""
    service = case.target.service
    if service is None or not service.start_limit_burst or not service.start_limit_interval_s:
        return None
    ends = (
        None
        if case.settings.restart
        else verdict(service.restart, case.settings.signal_number, case.target.disposition)
    )
    if ends is not None and ends.expected:
        return None  # It isn't even started once.

    def is_hit(leak_bytes_per_s: int) -> bool:
        life_s = case.target.limit_bytes / leak_bytes_per_s + case.settings.for_s + service.restart_s
        return service.start_limit_burst * life_s < service.start_limit_interval_s

    if not is_hit(LEAK_BYTES_PER_S):
        return None
    slow = is_hit(_SLOW_LEAK_BYTES_PER_S)
    interval = service.start_limit_interval_s
    within = f"within {format_seconds(interval)}" if interval < float("inf") else "in all"
    text = (
        f"StartLimitBurst={service.start_limit_burst}: a leak of {'1' if slow else '100'} MB/s uses up these"
        f" starts {within}, and then systemd leaves it down"
    )
    level = Level.WARNING if slow else Level.NOTE
    return Finding(Id.START_LIMIT, level, text, edit(case, "Unit", "StartLimitIntervalSec=0"))


def kill_mode(case: Case) -> Finding | None:
    """Other processes stay when the main one has ended, and what they use with them."""
    service = case.target.service
    if service is None or service.kill_mode not in ("process", "none"):
        return None
    text = (
        f"KillMode={service.kill_mode}: when the main process has ended its other processes stay, with the"
        " memory that they use, and the next start comes beside them"
    )
    level = Level.WARNING if len(case.target.pids) > 1 else Level.NOTE
    return Finding(Id.KILL_MODE, level, text, edit(case, "Service", "KillMode=control-group"))


def main_unknown(case: Case) -> Finding | None:
    """Which process is the main one: nobody knows, or systemd guesses."""
    service = case.target.service
    if service is None or case.target.is_process or not case.target.is_running or case.settings.restart:
        return None
    whom = case.settings.kill_whom
    if whom is KillWhom.CONTROL and not service.control_pid:
        text = "it has no control process now: a signal finds nobody"
        return Finding(Id.NOBODY_TO_SIGNAL, Level.WARNING, text, Remedy(option="--kill-whom main"))
    way = edit(case, "Service", f"PIDFile=/run/{case.target.unit.removesuffix('.service')}.pid")
    if service.type != "forking":
        way = Remedy(option="--kill-whom all")
    if not service.main_pid and whom is KillWhom.MAIN:
        text = "systemd knows no main process of it: a signal finds nobody"
        return Finding(Id.NOBODY_TO_SIGNAL, Level.ERROR, text, way)
    if not service.main_pid and whom is None and service.had_main:
        text = "its main process has ended, and what is left of it isn't signalled: a signal finds nobody"
        return Finding(Id.NOBODY_TO_SIGNAL, Level.ERROR, text, way)
    if not service.main_pid and whom is None:
        name = signal_name(case.settings.signal_number)
        text = f"systemd knows no main process of it: {name} goes to all of its processes at once"
        return Finding(Id.MAIN_UNKNOWN, Level.WARNING, text, way)
    if service.main_pid and service.type == "forking" and not service.pid_file:
        text = "Type=forking without PIDFile=: which process is the main one, systemd has guessed"
        return Finding(Id.MAIN_UNKNOWN, Level.NOTE, text, way)
    return None


def part_of_unit(case: Case) -> Finding | None:
    """A process of a service, which would be measured and signalled by itself."""
    target = case.target
    if not target.is_process or not target.unit.endswith(".service"):
        return None
    what = "the main process" if target.is_main else "one of the processes"
    text = f"it is {what} of {target.unit}: what others of that unit use isn't counted"
    return Finding(
        Id.PART_OF_UNIT, Level.NOTE, text, Remedy(advice=f"name {target.unit} instead of the process")
    )


def not_loaded(case: Case) -> Finding | None:
    """Systemd knows the unit and can't run it."""
    properties = case.target.properties
    if properties is None or case.target.is_process or properties.load_state == LOADED:
        return None
    unit = case.target.unit
    if properties.load_state == "masked":
        return Finding(
            Id.NOT_LOADED,
            Level.ERROR,
            "it is masked: it can't be started",
            Remedy(f"systemctl unmask {unit}"),
        )
    text = f"systemd can't use its file ({properties.load_state}): it can't be started"
    return Finding(Id.NOT_LOADED, Level.ERROR, text, Remedy(f"systemd-analyze verify {unit}"))


def not_running(case: Case) -> Finding | None:
    """Nothing can be measured now."""
    properties = case.target.properties
    if case.target.is_running or properties is None or properties.load_state != LOADED:
        return None
    if properties.active_state == "active":
        return Finding(Id.NOT_RUNNING, Level.NOTE, "it has no process now: there is nobody to signal")
    text = f"it isn't running ({properties.active_state}): its memory can't be read; it would be waited for"
    return Finding(Id.NOT_RUNNING, Level.NOTE, text, Remedy(f"systemctl start {case.target.unit}"))


def needs_reload(case: Case) -> Finding | None:
    """What is in the unit's file isn't in force yet."""
    if case.target.properties is None or not case.target.properties.needs_reload:
        return None
    text = "its file has changed since systemd read it: this report is about what systemd read"
    return Finding(Id.NEEDS_RELOAD, Level.NOTE, text, Remedy("systemctl daemon-reload"))


RULES: Final = (
    not_loaded,
    next_start,
    signal_ignored,
    not_graceful,
    main_unknown,
    kill_mode,
    start_limit,
    part_of_unit,
    not_running,
    needs_reload,
)
