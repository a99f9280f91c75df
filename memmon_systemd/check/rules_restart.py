"""What `--check` judges of the unit, the signal, and what follows it: pure, from facts to findings."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from memmon_systemd.check.facts import Case, is_container
from memmon_systemd.check.findings import Finding, Id, Level, Remedy
from memmon_systemd.formatting import signal_name
from memmon_systemd.settings import KillWhom
from memmon_systemd.systemd.properties import LOADED
from memmon_systemd.systemd.restart_rules import Disposition, Down, remedy, sentence, verdict
from memmon_systemd.units.recipient import NO_MAIN_PROCESS

_IDS: Final[Mapping[Down, Id]] = {
    Down.NO_RESTART: Id.NO_RESTART,
    Down.NOT_THIS_END: Id.STAYS_DOWN,
    Down.PREVENTED: Id.RESTART_PREVENTED,
    Down.REMAINS: Id.REMAINS_AFTER_EXIT,
}


def systemctl(case: Case, *words: str) -> str:
    """A command line for a shell: the name of a unit may hold a backslash."""
    return shlex.join(("systemctl", *(("--user",) if case.user else ()), *words))


def edit(case: Case, section: str, *lines: str) -> Remedy:
    """How to change options of the unit."""
    unit = case.subject.unit
    assert unit is not None, "only what belongs to a unit has options to edit"
    if case.subject.properties is not None and case.subject.properties.transient:
        if not unit.endswith(".service"):
            return Remedy(systemctl(case, "set-property", unit, *lines))
        options = " ".join(f"--property={line}" for line in lines)
        return Remedy(f"systemd-run {'--user ' * case.user}--unit={shlex.quote(unit)} {options} ...")
    return edit_file(case, unit, section, *lines)


def edit_file(case: Case, unit: str, section: str, *lines: str) -> Remedy:
    """How to change options of any unit that has a file."""
    name, at, rest = unit.partition("@")
    if at:  # All instances of a template are alike.
        unit = f"{name}@.{rest.rpartition('.')[2]}"
    return Remedy(systemctl(case, "edit", unit), (f"[{section}]", *lines))


def by_job(case: Case) -> Remedy:
    """Have systemd restart it, which it does whatever Restart= says and the process does with signals."""
    is_late = case.settings.then_restart_s is not None
    return Remedy(option="--restart", advice="and leave --then-restart out" if is_late else None)


def next_start(case: Case) -> Finding | None:
    """The service would stay down."""
    if not case.sends_signal or case.reaches_nobody:
        return None
    service = case.subject.service
    if service is None:
        return _without_service(case)
    rules, number = service.restart, case.signal_number
    found = verdict(rules, number, case.subject.disposition)
    if found is None:
        return None
    if case.subject.triggers and found.why in (Down.NO_RESTART, Down.NOT_THIS_END):
        by = " and ".join(case.subject.triggers)
        text = f"systemd doesn't restart it after it has exited: it is started by {by} when it is needed"
        return Finding(Id.TRIGGERED, Level.NOTE, text)
    if found.expected:
        level = Level.ERROR
    else:
        level = Level.WARNING if found.why is Down.PREVENTED else Level.NOTE
    lines = remedy(found, rules)
    if lines:
        way = edit(case, "Service", *lines)
    elif case.subject.is_process:
        way = Remedy(advice=f"name {case.subject.unit} instead of the process, with --restart")
    else:
        way = by_job(case)
    return Finding(_IDS[found.why], level, sentence(rules, found, number), way)


def _without_service(case: Case) -> Finding | None:
    subject = case.subject
    if subject.is_process and subject.unit is not None and subject.unit.endswith(".service"):
        return None  # One of its processes and not the main one: whose business it is, only that knows.
    if subject.is_process:
        place = f" (it belongs to {subject.unit})" if subject.unit is not None else ""
        text = f"systemd doesn't restart it after it has exited{place}: something else has to"
        return Finding(Id.NO_RESTART, Level.NOTE, text)
    if is_container(subject.name):
        text = "systemd doesn't restart a container's scope: its restart policy, or its service, has to"
        return Finding(Id.NO_RESTART, Level.NOTE, text)
    kind = subject.name.rpartition(".")[2]
    text = f"systemd doesn't restart the processes of a {kind} after they have exited"
    advice = "name the services in it" if kind == "slice" else "run it as a service"
    return Finding(Id.NO_RESTART, Level.WARNING, text, Remedy(advice=advice))


def signal_ignored(case: Case) -> Finding | None:
    """The main process ignores the signal."""
    if not case.sends_signal or case.subject.disposition is not Disposition.IGNORED:
        return None
    name = signal_name(case.signal_number)
    who = case.subject.main_name or "its main process"
    text = f"{who} ignores {name}: it would be signalled again and again, and not exit"
    others = [number for number in case.subject.obeys if number != case.signal_number]
    if others:
        way = Remedy(option=f"-s {signal_name(others[0])}")
    elif case.subject.is_process:
        way = Remedy(advice="use a signal that it handles")
    else:
        way = by_job(case)
    return Finding(Id.SIGNAL_IGNORED, Level.ERROR, text, way)


def not_graceful(case: Case) -> Finding | None:
    """SIGKILL."""
    if not case.sends_signal or case.signal_number != signal.SIGKILL:
        return None
    text = "SIGKILL isn't graceful: work in progress is lost"
    return Finding(Id.NOT_GRACEFUL, Level.WARNING, text, Remedy(option="-s SIGTERM"))


def kill_mode(case: Case) -> Finding | None:
    """Other processes stay when the main one has exited, with the memory that they use."""
    service = case.subject.service
    if service is None or service.kill_mode not in ("process", "none") or case.subject.shape.is_wrapper:
        return None
    text = (
        f"KillMode={service.kill_mode}: other processes of the unit keep running, and keep their memory,"
        " after the main process has exited: what they use isn't freed by a restart"
    )
    # Sessions of sshd, jobs of cron, and containerd's containers stay on purpose.
    way = replace(
        edit(case, "Service", "KillMode=control-group"),
        advice="if these may be ended with it; if not, leave it as it is",
    )
    return Finding(Id.KILL_MODE, Level.WARNING, text, way)


def recipient_unclear(case: Case) -> Finding | None:
    """A signal would reach nobody, or all, or whom systemd has guessed."""
    service = case.subject.service
    if service is None or case.subject.is_process or not case.subject.is_running or not case.sends_signal:
        return None
    whom = case.whom
    if whom is KillWhom.CONTROL and not service.control_pid:
        text = "it has no control process now: a signal would reach nobody"
        main = "main" if service.main_pid else "all"
        return Finding(Id.NOBODY_TO_SIGNAL, Level.WARNING, text, Remedy(option=f"--kill-whom {main}"))
    way = Remedy(option="--kill-whom all")
    if service.type == "forking" and service.pid_file is None:
        line = f"PIDFile=/run/{case.subject.name.removesuffix('.service')}.pid"
        way = replace(edit(case, "Service", line), advice="with the file that it writes its PID to")
    if whom is None:
        return Finding(Id.NOBODY_TO_SIGNAL, Level.ERROR, NO_MAIN_PROCESS, way)
    if whom is KillWhom.MAIN and not service.main_pid:
        text = "systemd knows no main process of it: a signal would reach nobody"
        return Finding(Id.NOBODY_TO_SIGNAL, Level.ERROR, text, way)
    if whom is KillWhom.ALL and case.settings.kill_whom is None:
        name = signal_name(case.signal_number)
        text = f"systemd knows no main process of it: {name} goes to all of its processes at once"
        return Finding(Id.MAIN_UNKNOWN, Level.WARNING, text, way)
    if service.main_pid and service.type == "forking" and service.pid_file is None:
        text = "Type=forking without PIDFile=: systemd has guessed which process is the main one"
        return Finding(Id.MAIN_UNKNOWN, Level.NOTE, text, way)
    return None


def part_of_unit(case: Case) -> Finding | None:
    """A process of a service, which would be measured and signalled by itself."""
    subject = case.subject
    if not subject.is_process or subject.unit is None or not subject.unit.endswith(".service"):
        return None
    if subject.is_of_a_user:
        text = f"it belongs to a user's service manager ({subject.unit}), which wasn't asked about it"
        advice = "if it is a service, name that, with --user, as that user"
        return Finding(Id.PART_OF_UNIT, Level.NOTE, text, Remedy(advice=advice))
    what = "the main process" if subject.is_main else "one of the processes"
    text = f"it is {what} of {subject.unit}: what the unit's other processes use isn't counted"
    return Finding(
        Id.PART_OF_UNIT, Level.NOTE, text, Remedy(advice=f"name {subject.unit} instead of the process")
    )


def not_loaded(case: Case) -> Finding | None:
    """The unit can't be started."""
    properties = case.subject.properties
    if properties is None or case.subject.is_process or properties.load_state == LOADED:
        return None
    unit = case.subject.name
    if properties.load_state == "masked":
        text, command = "it is masked, so it can't be started", systemctl(case, "unmask", unit)
    else:
        text = f"systemd can't load its file ({properties.load_state}), so it can't be started"
        command = f"systemd-analyze {'--user ' * case.user}verify {shlex.quote(unit)}"
    return Finding(Id.NOT_LOADED, Level.ERROR, text, Remedy(command))


def not_running(case: Case) -> Finding | None:
    """Nothing can be measured now."""
    properties = case.subject.properties
    if case.subject.is_running or properties is None or properties.load_state != LOADED:
        return None
    if case.subject.trouble is not None:
        return None  # Its processes can't be listed.
    if properties.active_state == "active":
        return Finding(Id.NOT_RUNNING, Level.NOTE, "it has no process now: there is nobody to signal")
    text = f"it isn't running ({properties.active_state}): a monitor would wait until it starts"
    return Finding(Id.NOT_RUNNING, Level.NOTE, text, Remedy(systemctl(case, "start", case.subject.name)))


def needs_reload(case: Case) -> Finding | None:
    """What is in the unit's file isn't in force yet."""
    if case.subject.properties is None or not case.subject.properties.needs_reload:
        return None
    text = "its file has changed since systemd loaded it: this report is about what systemd loaded"
    return Finding(Id.NEEDS_RELOAD, Level.NOTE, text, Remedy(systemctl(case, "daemon-reload")))


RULES: Final = (
    not_loaded,
    next_start,
    signal_ignored,
    not_graceful,
    recipient_unclear,
    kill_mode,
    part_of_unit,
    not_running,
    needs_reload,
)
