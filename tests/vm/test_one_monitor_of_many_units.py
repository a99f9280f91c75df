"""One shipped monitor, by a drop-in as of docs/fleet.md, and all the kinds of units that it can watch.

What takes its time (20 s to shut down, signals that are ignored) goes on beside the other tests.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from kit import CGROUPS, Leaky, Service, eventually, properties_of, property_of, run, write_unit
from shipped import RESTARTS, Monitored, Shipped, start, stop

WORKERS = 40
GROWING = (1, 20, 40)
DRAIN_S = 20
PATTERNS = "worker@*.service crowd.scope crowd.slice boxed.service stubborn.service slow.service"


@dataclass(frozen=True)
class Crowd:
    """The monitor and its units, all of which run."""

    monitor: Shipped
    workers: dict[int, Leaky]
    scope: Leaky
    boxed: Monitored
    stubborn: Monitored
    slow: Monitored


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    """40 instances of worker@.service, of which three can grow, a scope, a slice and services."""
    write_unit("worker@.service", f"[Service]\nExecStart=/bin/sleep infinity\n{RESTARTS}")
    workers = {}
    for number in GROWING:
        leaky = workers[number] = Leaky(f"worker-{number}")
        execute = f"[Service]\nExecStart=\nExecStart={leaky.exec_line()}\n"
        write_unit(f"worker@{number}.service.d/leaky.conf", execute)
    write_unit("crowd.slice", "[Slice]\n")
    boxed = Monitored("boxed", "child", service=f"Delegate=yes\n{RESTARTS}")
    stubborn = Monitored("stubborn", "ignore", "grow 40", service=f"TimeoutStopSec=3\n{RESTARTS}")
    slow = Monitored("slow", service=RESTARTS)
    monitor = Shipped.of_many("crowd", PATTERNS, "MAX_MEMORY=30\n")
    scope = Leaky("crowd-scope")
    in_scope = ("systemd-run", "--quiet", "--scope", "--collect", "--unit=crowd.scope")
    with subprocess.Popen((*in_scope, *scope.command("child"))):
        run("systemctl", "start", *(f"worker@{number}.service" for number in range(1, WORKERS + 1)))
        start(boxed, stubborn, slow, monitor)
        slow.tell(f"drain {DRAIN_S}")
        slow.tell("grow 40")
        yield Crowd(monitor, workers, scope, boxed, stubborn, slow)
        stop(monitor, boxed, stubborn, slow)
        run("systemctl", "stop", "worker@*.service")
        # It has ended by itself where all went well.
        subprocess.run(("systemctl", "stop", "crowd.scope"), capture_output=True, check=False)


def test_40_instances_are_found_by_a_glob_and_only_those_that_grow_are_asked(crowd: Crowd) -> None:
    def found() -> int:
        return len({line.split(":")[0] for line in crowd.monitor.lines_with(r"^worker@\d+\.service: ok: ")})

    eventually(lambda: found() == WORKERS, f"{WORKERS} instances are found", detail=lambda: str(found()))
    for leaky in crowd.workers.values():
        leaky.tell("grow 40")
    for leaky in crowd.workers.values():
        leaky.wait_for("started", 2)
        assert leaky.said[:3] == ["started", "grow 40", "SIGTERM"]
    others = [f"worker@{number}.service" for number in range(1, WORKERS + 1) if number not in GROWING]
    shown = run("systemctl", "show", "--property=NRestarts", "--value", *others)
    assert shown.split() == ["0"] * len(others)


def test_a_scope_has_all_its_processes_asked(crowd: Crowd) -> None:
    crowd.scope.wait_for("started", 2)
    crowd.scope.wait_for("child")
    (main,) = crowd.scope.who("child")
    crowd.scope.tell("grow 40", "child")
    crowd.scope.wait_for("SIGTERM", 2)
    assert main in crowd.scope.who("SIGTERM")
    crowd.monitor.wait_for(r"^crowd\.scope: signalled: .*: sent SIGTERM to all processes \(KillUnit\)$")


def test_a_slice_is_the_sum_of_its_units_and_all_their_processes_are_asked(crowd: Crowd) -> None:
    in_slice = ("Slice=crowd.slice",)
    with (
        Service("first-of-slice.service", "grow 13", properties=in_slice) as first,
        Service("second-of-slice.service", "grow 13", properties=in_slice) as second,
    ):
        first.wait_for("SIGTERM")
        second.wait_for("SIGTERM")
    crowd.monitor.wait_for(r"^crowd\.slice: signalled: .*: sent SIGTERM to all processes \(KillUnit\)$")


def test_what_a_container_has_in_its_subgroups_is_its_own_and_no_unit(crowd: Crowd) -> None:
    service = crowd.boxed
    service.wait_for("started", 2)
    main, (inner,) = service.pid, set(service.who("started")) - {service.pid}
    delegate_to_subgroups(service.cgroup, main, "payload/system.slice/worker@99.service", inner)
    service.tell("grow 40", "child")
    service.wait_for("started", 3)
    assert service.who("SIGTERM")[0] == main
    crowd.monitor.wait_for(r"^boxed\.service: signalled: .*: sent SIGTERM to the main process \(KillUnit\)$")
    assert not crowd.monitor.lines_with("worker@99")


def delegate_to_subgroups(group: Path, main: int, inner_group: str, inner: int) -> None:
    """Does in a unit's cgroup what a container manager does: processes in leaves, controllers above."""
    assert group.is_relative_to(CGROUPS)
    for name, pid in (("supervisor", main), (inner_group, inner)):
        (group / name).mkdir(parents=True)
        (group / name / "cgroup.procs").write_text(str(pid))
    directory = group
    for name in ("", *Path(inner_group).parts[:-1]):
        directory /= name
        (directory / "cgroup.subtree_control").write_text("+memory")
    assert (group / inner_group / "memory.current").exists()


def test_one_that_takes_20_s_to_shut_down_is_asked_once(crowd: Crowd) -> None:
    crowd.slow.wait_for("started", 2)
    assert crowd.slow.said[:4] == ["started", f"drain {DRAIN_S}", "grow 40", "SIGTERM"]
    assert crowd.slow.said.count("SIGTERM") == 1
    (asked_s,), (_, again_s) = crowd.slow.times_s("SIGTERM"), crowd.slow.times_s("started")
    assert again_s - asked_s >= DRAIN_S
    (asked,) = crowd.monitor.lines_with(r"^slow\.service: signalled: ")
    assert asked.endswith("sent SIGTERM to the main process (KillUnit)")


def test_one_that_ignores_the_signal_is_asked_again_and_nothing_further_is_done(crowd: Crowd) -> None:
    crowd.stubborn.wait_for("SIGTERM", 4)
    times_s = crowd.stubborn.times_s("SIGTERM")
    # TimeoutStopSec=3; the monitor's clock runs from its decision, the service's from when the signal came.
    assert min(later - earlier for earlier, later in pairwise(times_s)) > 2.5
    assert len(set(crowd.stubborn.who("SIGTERM"))) == 1
    assert properties_of(crowd.stubborn.unit, "ActiveState", "NRestarts") == {
        "ActiveState": "active",
        "NRestarts": "0",
    }
    said = crowd.monitor.lines_with(r"^stubborn\.service: ")
    assert {line.split(": ")[1] for line in said[1:]} == {"signalled"}


def test_through_all_of_that_it_is_one_process(crowd: Crowd) -> None:
    assert property_of(crowd.monitor.unit, "NRestarts") == "0"
    assert not crowd.monitor.lines_with("error|warning")
