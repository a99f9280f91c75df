"""The machine itself: what the other tests here take for granted."""

import subprocess
from pathlib import Path

import pytest
import unitproperties

CGROUPS = Path("/sys/fs/cgroup")
REPO = Path(__file__).parents[2]


def output_of(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


def as_tester(*command: str) -> str:
    environment = ("env", "XDG_RUNTIME_DIR=/run/user/1000")
    return output_of("runuser", "-u", "tester", "--", *environment, *command)


def test_systemd_is_process_1_and_no_unit_has_failed() -> None:
    assert Path("/proc/1/comm").read_text() == "systemd\n"
    assert output_of("systemctl", "--failed", "--plain", "--no-legend") == ""
    assert output_of("systemctl", "is-system-running", "--wait") == "running"


def test_a_unit_has_its_memory_counted_and_can_be_limited() -> None:
    cgroup = CGROUPS / "system.slice" / "systemd-journald.service"
    assert int((cgroup / "memory.current").read_text()) > 0
    assert (cgroup / "memory.max").read_text() == "max\n"


def test_the_whole_tree_of_cgroups_is_version_2() -> None:
    assert output_of("stat", "--file-system", "--format=%T", str(CGROUPS)) == "cgroup2fs"
    assert "memory" in (CGROUPS / "cgroup.controllers").read_text().split()


def test_memory_pressure_is_measured() -> None:
    assert Path("/proc/pressure/memory").read_text().startswith("some avg10=")


def test_a_user_has_a_service_manager_that_starts_units_with_memory_counted() -> None:
    assert as_tester("systemctl", "--user", "is-system-running", "--wait") == "running"
    own_memory = "cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/memory.current"
    run = ("systemd-run", "--user", "--quiet", "--pipe", "--wait")
    assert int(as_tester(*run, "sh", "-c", own_memory)) > 0


@pytest.mark.parametrize("unit", ["dbus.service", "user@1000.service", r"no-such\x2done@1.service"])
def test_properties_asked_of_systemd_are_those_that_systemctl_shows(
    unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (*unitproperties.OF_ALL_UNITS, *unitproperties.OF_SERVICES)
    shown = output_of("systemctl", "show", unit, *(f"--property={name}" for name in names))
    # From here on a process would be an error.
    monkeypatch.setattr("subprocess.run", None)
    assert unitproperties.properties_of(unit, *names) == dict(
        line.split("=", 1) for line in shown.splitlines()
    )


def test_the_journal_tells_who_logged() -> None:
    output_of("systemd-run", "--quiet", "--wait", "--unit=speaker", "echo", "hello from a unit")
    output_of("journalctl", "--sync")
    said = output_of("journalctl", "--unit=speaker", "--output=cat")
    assert "hello from a unit" in said.splitlines()


def modules_below(package: Path) -> dict[Path, str]:
    return {path.relative_to(package): path.read_text() for path in package.rglob("*.py")}


def test_what_is_installed_is_the_debian_package_of_this_tree() -> None:
    state = ("dpkg-query", "--show", "--showformat=${db:Status-Status}")
    assert output_of(*state, "memory-monitor") == "installed"
    # Its files are as dpkg unpacked them: anything else would be a line.
    assert output_of("dpkg", "--verify", "memory-monitor") == ""
    where = "import memmon_systemd; print(memmon_systemd.__path__[0])"
    installed = Path(output_of("python3", "-P", "-c", where))
    assert installed == Path("/usr/lib/python3/dist-packages/memmon_systemd")
    sources = modules_below(REPO / "memmon_systemd")
    assert len(sources) > 20
    assert modules_below(installed) == sources
    unit = Path("/usr/lib/systemd/system/memory-monitor@.service")
    assert unit.read_text() == (REPO / "units" / unit.name).read_text()
    assert output_of("/usr/bin/memory-monitor", "--version").startswith("memory-monitor ")
