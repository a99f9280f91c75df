"""D-Bus, systemd and the journal fail under the shipped unit: the signal goes out all the same, and in time.

The service is like a container: its processes are in subgroups of its cgroup, one of which is threaded.
"""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

import pytest
from kit import eventually, field_of, properties_of, property_of, run, silent_bus, waits_of
from shipped import Monitored, Shipped, assert_in_time, start, stop

DBUS = ("dbus.socket", "dbus.service")
JOURNALD = (
    *("systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald-audit.socket"),
    "systemd-journald.service",
)


@dataclass(frozen=True)
class Pair:
    """The service, and the monitor of it, both of which run."""

    service: Monitored
    monitor: Shipped


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A service that says its signals, and the shipped monitor of it, with another signal than SIGTERM."""
    service = Monitored("answerless", service="MemoryMax=60M\nDelegate=yes\n")
    monitor = Shipped(
        "answerless", "MAX_MEMORY=30\nINTERVAL=500ms\nSIGNAL=SIGUSR1\nOPTIONS=--budget infinity\n"
    )
    start(service)
    add_subgroups(service)
    start(monitor)
    yield Pair(service, monitor)
    stop(monitor, service)


def add_subgroups(service: Monitored) -> None:
    """As libvirt's, for the threads of a virtual processor: no list of processes can be read there."""
    subgroup = service.cgroup / "payload"
    subgroup.mkdir()
    (subgroup / "cgroup.procs").write_text(str(service.pid))
    (subgroup / "threads").mkdir()
    (subgroup / "threads" / "cgroup.type").write_text("threaded")


def run_afresh(pair: Pair) -> None:
    """Another invocation of the service, for each is asked once, and the monitor measures it."""
    measured = r"^answerless\.service: ok: unreclaimable "
    seen = len(pair.monitor.lines_with(measured))
    run("systemctl", "restart", pair.service.unit)
    add_subgroups(pair.service)
    pair.monitor.wait_for(measured, seen + 1)


@contextmanager
def stopped_bus() -> Iterator[None]:
    """No D-Bus, and nobody that would start it."""
    run("systemctl", "stop", *DBUS)
    try:
        yield
    finally:
        run("systemctl", "start", *DBUS)


@contextmanager
def restarted_bus() -> Iterator[None]:
    """Another D-Bus than the monitor is connected to."""
    run("systemctl", "restart", "dbus.service")
    yield


@contextmanager
def killed_bus() -> Iterator[None]:
    """D-Bus as it is just after it crashed."""
    os.kill(int(property_of("dbus.service", "MainPID")), signal.SIGKILL)
    yield
    eventually(lambda: property_of("dbus.service", "ActiveState") == "active", "D-Bus is back")


@contextmanager
def reexecuted_systemd() -> Iterator[None]:
    """PID 1 as after an upgrade of systemd."""
    run("systemctl", "daemon-reexec")
    yield


@contextmanager
def stopped_journal() -> Iterator[None]:
    """No journald, and no socket of it."""
    run("systemctl", "stop", *JOURNALD)
    try:
        yield
    finally:
        run("systemctl", "start", *JOURNALD)


def took_lines() -> bool:
    """Whether journald had room for a line; then it is given more, until the sender's own room is used up."""
    took_some = False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler, suppress(BlockingIOError):
        filler.connect("/run/systemd/journal/socket")
        while filler.send(b"MESSAGE=no room for more\nPRIORITY=7\n", socket.MSG_DONTWAIT):
            took_some = True
    return took_some


@contextmanager
def silent_journal() -> Iterator[None]:
    """A journald that reads nothing, and has no room for more."""
    journald = int(property_of("systemd-journald.service", "MainPID"))
    os.kill(journald, signal.SIGSTOP)
    try:
        # Until then it may still read, and make room for one line.
        eventually(lambda: field_of(f"/proc/{journald}/status", "State").startswith("T"), "it has stopped")
        while took_lines():
            pass
        yield
    finally:
        os.kill(journald, signal.SIGCONT)


FAILURES: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "D-Bus is silent": silent_bus,
    "D-Bus is down": stopped_bus,
    "D-Bus was restarted": restarted_bus,
    "D-Bus crashed": killed_bus,
    "PID 1 executed itself again": reexecuted_systemd,
    "journald is down": stopped_journal,
    "journald is silent": silent_journal,
}
BY_PIDFD = ("D-Bus is silent", "D-Bus is down")
UNHEARD = ("journald is down", "journald is silent")
DROPPED = "dropped because nobody read"
BY_SYSTEMD = r": signalled: .*\(KillUnit\)$"


@pytest.mark.parametrize("failure", FAILURES)
def test_the_signal_goes_out_in_time(pair: Pair, failure: str) -> None:
    service, monitor = pair.service, pair.monitor
    run_afresh(pair)
    before, signals = monitor.process, service.said.count("SIGUSR1")
    within = len(monitor.lines_with(": ok: within again: "))
    lines, dropped = len(monitor.lines_with(": signalled: ")), len(monitor.lines_with(DROPPED))
    with FAILURES[failure]():
        service.tell("grow 40")
        service.wait_for("SIGUSR1", signals + 1)
        # The line is written after the signal is sent; by its next but one wait it is, or was dropped.
        waits = waits_of(monitor.pid)
        eventually(lambda: waits_of(monitor.pid) >= waits + 2, "it has tried to say so")
    assert_in_time(failure, service, "grow 40", "SIGUSR1")
    service.tell("free")
    monitor.wait_for(r"^answerless\.service: ok: within again: ", within + 1)
    assert service.said.count("SIGUSR1") == signals + 1
    assert monitor.process == before
    if failure in UNHEARD:
        monitor.wait_for(DROPPED, dropped + 1)
    else:
        line = monitor.wait_for(": signalled: ", lines + 1)
        print(line)
        if failure in BY_PIDFD:
            assert f": sent SIGUSR1 to process {service.pid} by pidfd (" in line


def test_the_watchdog_never_fired_and_nothing_went_wrong(pair: Pair) -> None:
    assert properties_of(pair.monitor.unit, "NRestarts", "Result") == {"NRestarts": "0", "Result": "success"}
    assert not pair.monitor.lines_with("not signalled|memory-monitor: error|Traceback")
    service, monitor = pair.service, pair.monitor
    run_afresh(pair)
    asked = len(monitor.lines_with(BY_SYSTEMD))
    service.tell("grow 40")
    line = monitor.wait_for(BY_SYSTEMD, asked + 1)
    assert line, "once everything is well again, systemd is asked again"
    service.tell("free")


def test_while_nobody_can_say_whether_its_target_has_stopped_it_says_so_once(pair: Pair) -> None:
    service, monitor = pair.service, pair.monitor
    # Each restart above was a stop for a moment, one of them with a new bus.
    unknown = "can't tell whether answerless.service has stopped for good"
    before = len(monitor.lines_with(unknown))
    with stopped_bus():
        run("systemctl", "stop", service.unit)
        monitor.wait_for(r"^answerless\.service: waiting: it stopped$")
        waits = waits_of(monitor.pid)
        # Once a second.
        eventually(lambda: waits_of(monitor.pid) >= waits + 5, "it asks several times")
        assert len(monitor.lines_with(unknown)) == before + 1
    monitor.wait_until_ended()
