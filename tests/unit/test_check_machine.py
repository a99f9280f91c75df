"""What `--check` reads of the machine, by files as they are on such machines."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from memmon_systemd.arguments import parse
from memmon_systemd.check.facts import Bound, CgroupKind
from memmon_systemd.check.read_machine import RunningMonitor, read_machine, running_monitors
from memmon_systemd.check.read_signal import disposition
from memmon_systemd.check.read_unit import tightest_bound
from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.systemd.restart_rules import Disposition
from tests.unit.trees import linux_only

pytestmark = linux_only

PROC = "22 1 0:20 / /proc rw,nosuid - proc proc rw"
V1_MEMORY = "33 25 0:28 / {root}/memory rw - cgroup cgroup rw,memory"
V1_NAMED = "27 25 0:23 / {root}/systemd rw - cgroup cgroup rw,xattr,name=systemd"
V2 = "26 25 {device} / {root} rw - cgroup2 cgroup2 rw,nsdelegate"


@pytest.mark.parametrize(
    ("mounts", "controllers", "kind"),
    [
        ((V2,), "cpu io memory pids", CgroupKind.V2),
        ((V2,), "cpu io pids", CgroupKind.WITHOUT_MEMORY),
        ((V2, V1_MEMORY), "cpu", CgroupKind.V1),
        ((V1_NAMED, V1_MEMORY), None, CgroupKind.V1),
        ((), None, CgroupKind.NONE),
    ],
)
def test_the_kind_of_cgroups_is_that_of_the_mounts(
    tmp_path: Path, mounts: tuple[str, ...], controllers: str | None, kind: CgroupKind
) -> None:
    if controllers is not None:
        Path(tmp_path, "cgroup.controllers").write_text(controllers + "\n")
    mountinfo = tmp_path / "mountinfo"
    number = os.stat(tmp_path).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    lines = (mount.format(root=tmp_path, device=device) for mount in (PROC, *mounts))
    mountinfo.write_text("".join(f"{line}\n" for line in lines))
    assert read_machine(str(mountinfo)).cgroups is kind


@pytest.mark.parametrize(
    ("options", "hides"),
    [
        ("rw", ""),
        ("rw,hidepid=0", ""),
        ("rw,hidepid=off", ""),
        ("rw,hidepid=2,gid=4711", "hidepid=2"),
        ("rw,gid=4711,hidepid=invisible", "hidepid=invisible"),
        (f"rw,gid={os.getegid()},hidepid=invisible", ""),
    ],
)
def test_a_proc_that_hides_processes_is_told_to_those_who_dont_see_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, hides: str
) -> None:
    monkeypatch.setattr("memmon_systemd.check.read_machine._may_trace", lambda: False)
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"22 1 0:20 / /proc rw,nosuid - proc proc {options}\n")
    assert read_machine(str(mountinfo)).hidepid == hides


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (signal.SIG_DFL, Disposition.DEFAULT),
        (signal.SIG_IGN, Disposition.IGNORED),
        (lambda *_: None, Disposition.HANDLED),
    ],
)
def test_what_a_process_does_with_a_signal_is_read(handler: object, expected: Disposition) -> None:
    before = signal.signal(signal.SIGUSR2, handler)  # type: ignore[arg-type]  # each is a handler
    try:
        assert disposition(os.getpid(), signal.SIGUSR2) is expected
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_signal_that_waits_to_be_fetched_is_handled() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        assert disposition(os.getpid(), signal.SIGUSR2) is Disposition.HANDLED
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})


def test_a_process_that_has_ended_does_nothing_that_is_known() -> None:
    assert disposition(1 << 22, signal.SIGTERM) is Disposition.UNKNOWN


@pytest.mark.parametrize(
    ("arguments", "unit", "user", "expected"),
    [
        ("myapp", "myapp.service", False, True),
        ("myapp.service", "myapp.service", False, True),
        ("other myapp", "myapp.service", False, True),
        ("worker@*", "worker@7.service", False, True),
        ("--as unit new", "new.service", False, True),
        ("--user myapp", "myapp.service", True, True),
        ("myapp", "myapp.service", True, False),
        ("--as process myapp", "myapp.service", False, False),
        ("myapp", "myapp2.service", False, False),
    ],
)
def test_the_names_of_another_monitor_are_compared_as_it_would(
    arguments: str, unit: str, user: bool, expected: bool
) -> None:
    settings = parse(["-m", "5", *arguments.split()])
    other = RunningMonitor.of(1, settings, lambda name: name == "myapp.service")
    assert other.monitors_unit(unit, user) is expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("{name}", True),
        ("--as owner {name}", True),
        ("--as unit {name}", False),
        ("{name}.service", False),
        ("loaded", False),
        ("{name}x", False),
    ],
)
def test_a_name_without_a_unit_is_the_beginning_of_a_process_name(arguments: str, expected: bool) -> None:
    name = Path("/proc/self/comm").read_text().strip()
    settings = parse(["-m", "5", *arguments.format(name=name).split()])
    other = RunningMonitor.of(1, settings, lambda unit: unit == "loaded.service")
    assert other.monitors_process(os.getpid()) is expected


@pytest.mark.parametrize(
    ("options", "counts"),
    [((), True), (("--dry-run",), False), (("--once",), True), (("--metric", "x"), False)],
)
def test_another_monitor_is_known_by_its_command_line(
    tmp_path: Path, options: tuple[str, ...], counts: bool
) -> None:
    """A process with the command line of a monitor, which only sleeps."""
    script = tmp_path / "memory-monitor"
    script.write_text("import time\nprint(flush=True)\ntime.sleep(600)\n")
    command = (sys.executable, str(script), "-m", "5", *options, "myapp.service")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = [monitor for monitor in running_monitors(lambda _: False) if monitor.pid == process.pid]
        process.kill()
    assert [monitor.units for monitor in found] == [("myapp.service",)] * counts


def test_the_tightest_limit_is_that_of_the_unit_or_of_a_slice_above(tmp_path: Path) -> None:
    group = tmp_path / "app.slice" / "myapp.service"
    group.mkdir(parents=True)
    hierarchy = Hierarchy(tmp_path, memory=True)

    def tightest() -> Bound | None:
        return tightest_bound(hierarchy, "/app.slice/myapp.service", "memory.max")

    assert tightest() is None
    (group / "memory.max").write_text("max\n")
    assert tightest() is None
    (group / "memory.max").write_text("300\n")
    assert tightest() == Bound(300, "myapp.service")
    (group.parent / "memory.max").write_text("200\n")
    assert tightest() == Bound(200, "app.slice")
    # In a container the root has one.
    (tmp_path / "memory.max").write_text("100\n")
    assert tightest() == Bound(100, "-.slice")
