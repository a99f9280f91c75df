"""What `--check` finds of a container that a unit runs, or only seems to run."""

import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from memmon_systemd.check.facts import Payload
from memmon_systemd.check.findings import Id, Level
from memmon_systemd.check.read_containers import innermost_unit, payload_elsewhere
from memmon_systemd.linux import cgroup
from memmon_systemd.systemd.restart_rules import Disposition
from tests.unit.test_check_rules import HEALTHY, findings, found
from tests.unit.trees import linux_only

SCOPE = "libpod-8e5a386b4f58383539310310f4e1fc90.scope"
ELSEWHERE = "/system.slice/myapp.service"
"""A cgroup in which the processes of these tests aren't."""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGQUIT"])
def test_what_conmon_forwards_is_no_finding(name: str) -> None:
    assert findings(replace(HEALTHY, main_name="conmon"), f"-s {name}") == {}


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGHUP", "SIGUSR2", "SIGRTMIN+3"])
def test_what_conmon_keeps_from_the_container_is_an_error(name: str) -> None:
    subject = replace(HEALTHY, main_name="conmon")
    assert findings(subject, f"-s {name}") == {Id.SIGNAL_NOT_FORWARDED: Level.ERROR}
    assert findings(subject, f"-s {name} --kill-whom all") == {}
    assert findings(subject, f"-s {name} --restart") == {}
    assert findings(HEALTHY, f"-s {name}") == {}


@pytest.mark.parametrize(("disposition", "ends"), [(Disposition.DEFAULT, True), (Disposition.HANDLED, False)])
def test_of_a_signal_that_ends_conmon_it_is_said(disposition: Disposition, ends: bool) -> None:
    subject = replace(HEALTHY, main_name="conmon", disposition=disposition)
    texts = [one.consequence for one in found(subject, "-s HUP") if one.id is Id.SIGNAL_NOT_FORWARDED]
    assert ["ends by it" in text for text in texts] == [ends]


def test_podmans_container_elsewhere_has_a_remedy_of_podman() -> None:
    (finding,) = found(replace(HEALTHY, main_name="conmon", payload=Payload("conmon", SCOPE)))
    assert (finding.id, finding.level) == (Id.PAYLOAD_ELSEWHERE, Level.ERROR)
    assert SCOPE in finding.consequence
    assert finding.remedy.advice is not None
    assert "--cgroups=split" in finding.remedy.advice


def test_dockers_container_elsewhere_has_a_remedy_of_docker() -> None:
    (finding,) = found(replace(HEALTHY, main_name="docker", payload=Payload("docker", None)))
    assert (finding.id, finding.level) == (Id.PAYLOAD_ELSEWHERE, Level.ERROR)
    assert finding.remedy.advice is not None
    assert "docker-*.scope" in finding.remedy.advice


def test_that_a_container_comes_back_is_not_up_to_systemd() -> None:
    assert HEALTHY.properties is not None
    scope = replace(HEALTHY, name=SCOPE, unit=SCOPE, properties=replace(HEALTHY.properties, service=None))
    assert findings(scope) == {Id.NO_RESTART: Level.NOTE}
    assert findings(replace(scope, name="run-1.scope")) == {Id.NO_RESTART: Level.WARNING}


@pytest.mark.parametrize(
    ("group", "unit"),
    [
        (f"/machine.slice/{SCOPE}/container", SCOPE),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/{SCOPE}/container", SCOPE),
        ("/system.slice/myapp.service/libpod-payload-8e5a", "myapp.service"),
        ("/libpod_parent/libpod-8e5a", None),
    ],
)
def test_the_unit_of_a_container_is_the_innermost_one(group: str, unit: str | None) -> None:
    assert innermost_unit(group) == unit


Start = Callable[..., int]


@pytest.fixture
def parent(started: ExitStack) -> Start:
    """`parent(name, *arguments)`: a process of that name that has a child; its PID."""

    def start(name: str, *arguments: str) -> int:
        # The child says when it runs a program of its own: until then it has the name of its parent.
        script = f"printf {name} >/proc/$$/comm; sh -c 'echo; exec sleep 60' & read -r _; kill $!"
        process = subprocess.Popen(
            ("sh", "-c", script, *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.callback(process.communicate)  # The end of its input ends it.
        assert process.stdout is not None
        process.stdout.readline()
        return process.pid

    return start


def child_of(parent: int) -> int:
    return int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])


@linux_only
def test_a_container_in_another_cgroup_than_its_conmon_is_elsewhere(parent: Start) -> None:
    pid = parent("conmon")
    group = cgroup.control_group_of(pid)
    assert group is not None
    expected = Payload("conmon", innermost_unit(group))
    assert payload_elsewhere(ELSEWHERE, (pid,), pid) == expected
    # A scope has no main process: the one that has only conmon isn't the container's.
    assert payload_elsewhere(ELSEWHERE, (pid,), 0) == expected
    assert payload_elsewhere(group, (pid, child_of(pid)), pid) is None
    # A conmon among others is not what the unit is about.
    assert payload_elsewhere(ELSEWHERE, (pid, child_of(pid)), 0) is None


@linux_only
def test_a_client_that_waits_for_a_container_has_it_elsewhere(parent: Start) -> None:
    waits = parent("docker", "docker", "run", "--rm", "image")
    assert payload_elsewhere(ELSEWHERE, (waits,), waits) == Payload("docker", None)
    serves = parent("podman", "podman", "system", "service")
    assert payload_elsewhere(ELSEWHERE, (serves,), serves) is None
    other = parent("myapp", "myapp", "run")
    assert payload_elsewhere(ELSEWHERE, (other,), other) is None


@linux_only
def test_a_client_in_one_cgroup_with_its_container_has_it_there(parent: Start) -> None:
    """`podman run --cgroups=split`, in the foreground."""
    client, conmon = parent("podman", "podman", "run"), parent("conmon")
    group = cgroup.control_group_of(conmon)
    assert group is not None
    assert payload_elsewhere(group, (client, conmon), client) is None
