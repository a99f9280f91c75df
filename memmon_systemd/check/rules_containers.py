"""What `--check` judges of containers that a unit runs: pure, from facts to findings."""

from __future__ import annotations

from typing import Final

from memmon_systemd.check.facts import CONMON, CONMON_FORWARDS, PODMAN, Case, Payload
from memmon_systemd.check.findings import Finding, Id, Level, Remedy
from memmon_systemd.check.rules_restart import systemctl
from memmon_systemd.formatting import signal_name
from memmon_systemd.settings import KillWhom
from memmon_systemd.systemd.restart_rules import Disposition

_OF_PODMAN: Final = (CONMON, PODMAN)
_PODMAN_SCOPES: Final = "libpod-[0-9a-f][0-9a-f]*.scope"
"""Not those of conmon ("libpod-conmon-ID.scope")."""
_DOCKER_SCOPES: Final = "docker-*.scope"


def payload_elsewhere(case: Case) -> Finding | None:
    """The unit has only the parent of a container, or a client that waits for it."""
    payload = case.subject.payload
    if payload is None:
        return None
    place = payload.unit or "another cgroup"
    text = (
        f"it holds {payload.helper} and not the container, whose processes are in {place}: their memory"
        " isn't counted, so it would never be above the threshold"
    )
    return Finding(Id.PAYLOAD_ELSEWHERE, Level.ERROR, text, _remedy(case, payload))


def _remedy(case: Case, payload: Payload) -> Remedy:
    if payload.helper not in _OF_PODMAN:
        return Remedy(advice=f"monitor the scopes of containers instead: '{_DOCKER_SCOPES}'")
    if case.subject.service is None:
        return Remedy(advice=f"monitor the scopes of containers instead: '{_PODMAN_SCOPES}'")
    advice = (
        "and run the container with --cgroups=split, in place of any other --cgroups=; or make it a Quadlet"
        f" (podman-systemd.unit(5)); or monitor the scopes of containers: '{_PODMAN_SCOPES}'"
    )
    command = systemctl(case, "edit", "--full", case.subject.name)
    return Remedy(command, ("[Service]", "Delegate=yes"), advice=advice)


def signal_not_forwarded(case: Case) -> Finding | None:
    """The main process is conmon, which keeps the signal from the container."""
    if not case.sends_signal or case.subject.main_name != CONMON or case.whom is not KillWhom.MAIN:
        return None
    if case.signal_number in CONMON_FORWARDS:
        return None
    name = signal_name(case.signal_number)
    text = f"conmon, its main process, doesn't forward {name} to the container"
    if case.subject.disposition is Disposition.DEFAULT:
        text += ", but ends by it: the container is killed or left behind"
    return Finding(Id.SIGNAL_NOT_FORWARDED, Level.ERROR, text, Remedy(option="-s SIGTERM"))


RULES: Final = (payload_elsewhere, signal_not_forwarded)
