"""What `--check` judges of how a service is made, and what a request then does to it: pure."""

from __future__ import annotations

import signal
from typing import Final

from memmon_systemd.check.facts import CONMON, CONMON_FORWARDS, PODMAN, Case
from memmon_systemd.check.findings import Finding, Id, Level, Remedy
from memmon_systemd.check.rules_restart import edit, systemctl
from memmon_systemd.formatting import format_bytes, signal_name
from memmon_systemd.settings import Action, KillWhom
from memmon_systemd.systemd.restart_rules import END_SIGNALS

_MOSTLY: Final = 0.5


def not_stop_signal(case: Case) -> Finding | None:
    """Another signal than the one that the unit is made to be stopped with."""
    properties, given = case.subject.properties, case.settings.signal_number
    if not case.sends_signal or case.subject.is_process or properties is None or given is None:
        return None
    if properties.stop_signal in (None, given) or given == signal.SIGKILL:
        return None
    text = (
        f"systemd stops it with {signal_name(properties.stop_signal)} (KillSignal=): {signal_name(given)} may"
        " make it end in another way, or not end"
    )
    # What ends every program may cut off work that its own signal lets it finish; others are meant so.
    level = Level.WARNING if given in END_SIGNALS else Level.NOTE
    return Finding(Id.NOT_STOP_SIGNAL, level, text, Remedy(option="-s auto"))


def exec_stop(case: Case) -> Finding | None:
    """The unit has a way of its own to be stopped, which a signal doesn't take."""
    service = case.subject.service
    if service is None or not service.has_exec_stop or case.subject.is_process:
        return None
    if not case.sends_signal or case.reaches_nobody or _signal_stops_container(case):
        return None
    text = "it is stopped by its ExecStop=, which a signal bypasses: the main process ends before that is run"
    return Finding(Id.EXEC_STOP, Level.WARNING, text, Remedy(option="--restart"))


def _signal_stops_container(case: Case) -> bool:
    """Whether ExecStop= has podman stop the container, by the signal that conmon, or podman, forwards to it.

    systemd runs these commands after the main process has exited by itself, too.
    """
    service = case.subject.service
    if service is None or not service.stops_container or case.signal_number not in CONMON_FORWARDS:
        return False
    return case.subject.main_name in (CONMON, PODMAN, None)


def wrapper(case: Case) -> Finding | None:
    """Its main process ends by the signal, and its children have the memory."""
    service = case.subject.service
    if service is None or case.subject.is_process or not case.subject.shape.is_wrapper:
        return None
    if service.kill_mode == "control-group" or case.settings.action is Action.RELOAD:
        return None
    # With KillMode=mixed its end has systemd kill the others, whatever they were sent a moment before.
    harmful = (KillWhom.MAIN, KillWhom.ALL) if service.kill_mode == "mixed" else (KillWhom.MAIN,)
    if case.sends_signal and case.whom not in harmful:
        return None
    who = case.subject.main_name or "its main process"
    text = (
        f"{who} ends on {signal_name(case.signal_number)} without telling its children, which use the memory"
    )
    way = edit(case, "Service", "KillMode=control-group")
    if service.kill_mode == "mixed":
        text += ": KillMode=mixed then kills them (SIGKILL)"
        return Finding(Id.WRAPPER, Level.WARNING, text, way)
    text += f": KillMode={service.kill_mode} leaves them running, beside those of the next start; never asked"
    return Finding(Id.WRAPPER, Level.ERROR, text, way)


def signal_dropped(case: Case) -> Finding | None:
    """The kernel drops the signal."""
    who = case.subject.shape.dropped_by
    if who is None or not case.sends_signal:
        return None
    name = signal_name(case.signal_number)
    text = f"{who} is the first process of a PID namespace and doesn't handle {name}: the kernel drops it"
    advice = f"have it handle {name}, or start it by an init (tini, podman run --init)"
    return Finding(Id.SIGNAL_DROPPED, Level.ERROR, text, Remedy(advice=advice))


def shared_memory(case: Case) -> Finding | None:
    """Much of what counts is shared memory, which can outlive the processes."""
    usage_bytes, shape = case.usage_bytes, case.subject.shape
    if case.subject.is_process or not usage_bytes or shape.shared_bytes <= usage_bytes * _MOSTLY:
        return None
    shared = f"{format_bytes(shape.shared_bytes)} of its memory is shared memory (shmem)"
    if shape.shared_bytes - shape.mapped_bytes > usage_bytes * _MOSTLY:
        text = f"{shared} that no process maps: files in a tmpfs outlive a restart, so that won't help"
        advice = "have it remove them when it stops, or keep them in its RuntimeDirectory="
        return Finding(Id.SHARED_MEMORY, Level.WARNING, text, Remedy(advice=advice))
    text = f"{shared}: what of it is a file in a tmpfs (/dev/shm) outlives a restart, which won't help then"
    return Finding(Id.SHARED_MEMORY, Level.NOTE, text)


def frozen(case: Case) -> Finding | None:
    """It can't follow."""
    subject = case.subject
    if subject.is_process or not subject.shape.is_frozen:
        return None
    text = "it is frozen: it isn't asked until it is thawed"
    return Finding(Id.FROZEN, Level.WARNING, text, Remedy(systemctl(case, "thaw", subject.name)))


RULES: Final = (signal_dropped, wrapper, exec_stop, not_stop_signal, shared_memory, frozen)
