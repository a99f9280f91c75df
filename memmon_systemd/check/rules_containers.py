"""What `--check` judges of containers that a unit runs: pure, from facts to findings."""

from __future__ import annotations

import signal
from typing import Final

from memmon_systemd.check.facts import CONMON, Case
from memmon_systemd.check.findings import Finding, Id, Level, Remedy
from memmon_systemd.formatting import signal_name
from memmon_systemd.settings import KillWhom

_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""What conmon sends on to the container's first process: tried with conmon 2.1.6 and 2.1.12."""


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
    if payload.helper in ("conmon", "podman"):
        advice = (
            "in its ExecStart=, have podman run with --cgroups=split, and set Delegate=yes, or make it a"
            " Quadlet (podman-systemd.unit(5)); or monitor 'libpod-[0-9a-f][0-9a-f]*.scope'"
        )
    else:
        advice = "monitor 'docker-*.scope' instead: all containers of Docker, each by itself"
    return Finding(Id.PAYLOAD_ELSEWHERE, Level.ERROR, text, Remedy(advice=advice))


def signal_not_forwarded(case: Case) -> Finding | None:
    """The main process is conmon, which keeps the signal from the container."""
    if not case.sends_signal or case.subject.main_name != CONMON or case.whom is not KillWhom.MAIN:
        return None
    if case.signal_number in _FORWARDED:
        return None
    name = signal_name(case.signal_number)
    text = f"conmon, its main process, doesn't forward {name} to the container"
    return Finding(Id.SIGNAL_NOT_FORWARDED, Level.ERROR, text, Remedy(option="-s SIGTERM"))


RULES: Final = (payload_elsewhere, signal_not_forwarded)
