"""What `--check` reads of the machine, by files as they are on such machines."""

import os
import signal
from pathlib import Path

import pytest

from memmon_systemd.check.facts import Bound, CgroupKind, Subject
from memmon_systemd.check.read_limits import bounds_of_group, tightest_bound
from memmon_systemd.check.read_machine import read_machine
from memmon_systemd.check.read_signal import disposition
from memmon_systemd.check.read_unit import _with_readings
from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.settings import Metric
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
        ("rw", None),
        ("rw,hidepid=0", None),
        ("rw,hidepid=off", None),
        ("rw,hidepid=2,gid=4711", "hidepid=2"),
        ("rw,gid=4711,hidepid=invisible", "hidepid=invisible"),
        (f"rw,gid={os.getegid()},hidepid=invisible", None),
    ],
)
def test_a_proc_that_hides_processes_is_told_to_those_who_dont_see_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, hides: str | None
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


@pytest.mark.parametrize("name", [b"a\rSigBlk", b"\rSigIgn:\tff", b"SigCgt"])
def test_a_process_cant_say_by_its_name_what_it_does_with_a_signal(name: bytes) -> None:
    comm = Path("/proc/self/comm")
    before = comm.read_bytes()
    comm.write_bytes(name)
    try:
        assert disposition(os.getpid(), signal.SIGUSR2) is Disposition.DEFAULT
    finally:
        comm.write_bytes(before.rstrip(b"\n"))


def test_a_mount_cant_say_by_its_name_what_another_is(tmp_path: Path) -> None:
    """Users mount with FUSE below their homes; U+0085 is a line's end for str.splitlines()."""
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"22 1 0:20 / /home/x\x85 rw - fuse.x x rw\n{PROC},hidepid=2\n")
    assert read_machine(str(mountinfo)).cgroups is CgroupKind.NONE


def test_a_process_that_has_ended_does_nothing_that_is_known() -> None:
    assert disposition(1 << 22, signal.SIGTERM) is Disposition.UNKNOWN


def test_the_tightest_limit_is_that_of_the_unit_or_of_a_slice_above(tmp_path: Path) -> None:
    group = tmp_path / "app.slice" / "myapp.service"
    group.mkdir(parents=True)
    hierarchy = Hierarchy(str(tmp_path), memory=True)

    def tightest() -> Bound | None:
        return tightest_bound(hierarchy, "", "/app.slice/myapp.service", "memory.max")

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


@pytest.mark.parametrize(
    ("group", "top_group", "unit"),
    [
        ("/system.slice/a.service", "", "a.service"),
        ("/system.slice", "", "system.slice"),
        # What somebody calls a cgroup below a unit's is no unit of that manager.
        ("/system.slice/a.service/b.service", "", "/system.slice/a.service/b.service"),
        ("/system.slice/a.service/payload", "", "/system.slice/a.service/payload"),
        ("/user.slice/user@1000.service/app.slice/b.service", "/user.slice/user@1000.service", "b.service"),
        ("/user.slice/user@1000.service", "/user.slice/user@1000.service", "user@1000.service"),
        ("/user.slice", "/user.slice/user@1000.service", "user.slice"),
        ("/docker/x/system.slice/a.service", "/docker/x", "a.service"),
    ],
)
def test_a_limit_is_a_units_only_in_the_cgroup_that_systemd_made_for_it(
    tmp_path: Path, group: str, top_group: str, unit: str
) -> None:
    directory = tmp_path / group[1:]
    directory.mkdir(parents=True)
    (directory / "memory.max").write_text("300\n")
    found = tightest_bound(Hierarchy(str(tmp_path), memory=True), top_group, f"{group}/below", "memory.max")
    assert found == Bound(300, unit)


def test_a_limit_that_cant_be_read_is_said_and_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "a.slice" / "memory.max").mkdir(parents=True)  # EISDIR, whoever reads it
    bounds = bounds_of_group(Hierarchy(str(tmp_path), memory=True), "", "/a.slice")
    assert bounds.maximum is None
    assert bounds.trouble == f"{tmp_path}/a.slice/memory.max: Is a directory"


def test_a_process_in_1100_nested_cgroups_has_the_limits_above_them(tmp_path: Path) -> None:
    """Whoever a subtree is delegated to can make them."""
    (tmp_path / "a.slice").mkdir()
    (tmp_path / "a.slice" / "memory.max").write_text("300\n")
    bounds = bounds_of_group(Hierarchy(str(tmp_path), memory=True), "", "/a.slice/b.service" + "/n" * 1100)
    assert (bounds.maximum, bounds.trouble) == (Bound(300, "a.slice"), None)


CGROUP = {
    "memory.current": "900\n",
    "memory.stat": "anon 5\ninactive_file 1\nactive_file 2\nslab_reclaimable 3\n",
}


@pytest.mark.parametrize(
    ("files", "readings", "trouble"),
    [
        (CGROUP, {"unreclaimable": 894, "current": 900, "working-set": 899, "anon": 5}, None),
        ({**CGROUP, "memory.swap.current": "7\n"}, {"swap": 7}, None),
        ({**CGROUP, "memory.swap.current": ""}, None, "memory.swap.current holds no number"),
        ({**CGROUP, "memory.current": "-1\n"}, None, "memory.current holds no number"),
        ({**CGROUP, "memory.stat": "anon 5\n"}, None, "memory.stat has no inactive_file"),
        ({}, {"rss": 0}, None),
        (None, None, "it has stopped meanwhile"),
    ],
)
def test_the_memory_of_a_unit_is_read_or_why_it_isnt_is_said(
    tmp_path: Path, files: dict[str, str] | None, readings: dict[str, int] | None, trouble: str | None
) -> None:
    directory = tmp_path / "a.service"
    if files is not None:
        directory.mkdir()
        for name, text in files.items():
            (directory / name).write_text(text)
    found = _with_readings(Subject("a.service", 1, Metric.UNRECLAIMABLE), directory)
    assert (found.trouble, found.readings == {}) == (trouble, readings is None)
    assert (readings or {}).items() <= found.readings.items()
