import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from memmon_systemd.linux.cgroup import (
    Hierarchy,
    contains,
    control_group_of,
    find_hierarchy,
    processes_below,
    unit_of,
    units_below,
    units_of,
)
from memmon_systemd.linux.limits import physical_bytes, tightest_limit_bytes
from memmon_systemd.linux.memory_stat import stat_bytes
from tests.unit.trees import MIB, NO_PROCESS, linux_only, make_cgroup

UNIFIED = "30 24 {device} / {unified} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
NAMED = "31 24 {device} / {named} rw,nosuid shared:5 - cgroup cgroup rw,xattr,name=systemd"
COVERED = "30 24 0:1234567 / {unified} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
DEPTH = 1100
OTHERS = [
    "24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw",
    "25 24 0:5 / /mnt/nameless rw - tmpfs  rw",  # mounted with an empty source
    "26 24 0:6 / /mnt/\udcff rw - tmpfs none rw",  # a name that isn't UTF-8
    "27 24 0:7 / /mnt/\x85\u2028 rw - tmpfs none rw",  # what only Python takes for the end of a line
    "32 24 0:28 / /sys/fs/cgroup/memory rw shared:6 - cgroup cgroup rw,memory",
]


def mountinfo(tmp_path: Path, *lines: str) -> str:
    named, unified = tmp_path / "named", tmp_path / "with space \u00e9"
    unified.mkdir(exist_ok=True)
    named.mkdir(exist_ok=True)
    device = os.stat(unified).st_dev
    text = "\n".join([*OTHERS, *lines]) + "\n"
    text = text.format(
        named=named,
        unified=str(unified).replace(" ", r"\040"),
        device=f"{os.major(device)}:{os.minor(device)}",
    )
    (tmp_path / "mountinfo").write_text(text, encoding="utf-8", errors="surrogateescape")
    return str(tmp_path / "mountinfo")


def test_cgroup_v2_with_the_memory_controller_is_found(tmp_path: Path) -> None:
    path = mountinfo(tmp_path, UNIFIED)
    unified = tmp_path / "with space \u00e9"
    (unified / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    assert find_hierarchy(path) == Hierarchy(str(unified), memory=True)


def test_on_a_hybrid_machine_it_is_the_tree_that_systemd_keeps_its_units_in(tmp_path: Path) -> None:
    assert find_hierarchy(mountinfo(tmp_path, UNIFIED, NAMED)) == Hierarchy(
        str(tmp_path / "named"), memory=False
    )


def test_cgroup_v2_without_the_memory_controller_has_no_memory_files(tmp_path: Path) -> None:
    path = mountinfo(tmp_path, UNIFIED)
    (tmp_path / "with space \u00e9" / "cgroup.controllers").write_text("cpu pids\n")
    found = find_hierarchy(path)
    assert found is not None
    assert not found.memory


def test_a_hierarchy_that_something_is_mounted_over_is_none(tmp_path: Path) -> None:
    """Units would look as if none of them ran."""
    assert find_hierarchy(mountinfo(tmp_path, COVERED)) is None
    assert find_hierarchy(mountinfo(tmp_path, COVERED, NAMED)) == Hierarchy(
        str(tmp_path / "named"), memory=False
    )
    shown = find_hierarchy(mountinfo(tmp_path, COVERED, UNIFIED))
    assert shown is not None
    assert os.path.basename(shown.root) == "with space \u00e9"


def test_a_machine_without_cgroups_has_no_hierarchy(tmp_path: Path) -> None:
    assert find_hierarchy(mountinfo(tmp_path)) is None
    assert find_hierarchy(str(tmp_path / "absent")) is None


@linux_only
def test_the_control_group_of_a_process_is_that_of_proc() -> None:
    group = control_group_of("self")
    assert group is not None
    assert f":{group}\n" in Path("/proc/self/cgroup").read_text()
    assert control_group_of(os.getpid()) == group
    assert control_group_of(NO_PROCESS) is None


@pytest.mark.parametrize(
    ("outer", "inner", "inside"),
    [
        ("/a.slice", "/a.slice", True),
        ("/a.slice", "/a.slice/b.service", True),
        ("/a.slice/", "/a.slice/b.service", True),
        ("/", "/a.slice", True),
        ("", "/a.slice", True),
        ("/a.slice", "/a.slice2", False),
        ("/a.slice/b.service", "/a.slice", False),
    ],
)
def test_a_group_contains_itself_and_what_is_below(outer: str, inner: str, inside: bool) -> None:
    assert contains(outer, inner) is inside


@pytest.mark.parametrize(
    ("directory", "unit"),
    [
        ("app.service", "app.service"),
        ("_memory.service", "memory.service"),
        ("worker@1.service", "worker@1.service"),
        ("user.slice", "user.slice"),
        ("supervised", None),
        ("app.timer", None),
    ],
)
def test_the_name_of_a_cgroup_tells_its_unit(directory: str, unit: str | None) -> None:
    assert unit_of(directory) == unit


@pytest.mark.parametrize(
    ("top", "group", "units"),
    [
        ("", "/system.slice/app.service", ("system.slice", "app.service")),
        ("/", "/a.slice/a-b.slice/x.scope/payload/y.service", ("a.slice", "a-b.slice", "x.scope")),
        ("", "/user.slice/user-1.slice/user@1.service/app.slice/app.service",
         ("user.slice", "user-1.slice", "user@1.service")),
        ("/user.slice/user@1.service", "/user.slice/user@1.service/app.slice/app.service",
         ("app.slice", "app.service")),
        ("/user.slice/user@1.service", "/system.slice/app.service", ()),
        ("", "/", ()),
        ("", "/docker/abc", ()),
    ],
)  # fmt: skip
def test_the_units_around_a_process_are_those_of_its_manager(
    top: str, group: str, units: tuple[str, ...]
) -> None:
    assert units_of(group, top) == units


def test_units_are_found_in_slices_but_not_in_what_units_delegate(tmp_path: Path) -> None:
    for path in ("a.slice/one.service/inner/hidden.service", "a.slice/a-b.slice/two.scope", "three.service"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "a.slice" / "memory.service").write_text("a file, no cgroup")
    found = dict(units_below(str(tmp_path)))
    assert set(found) == {"a.slice", "one.service", "a-b.slice", "two.scope", "three.service"}
    assert found["one.service"].path == str(tmp_path / "a.slice" / "one.service")
    assert found["one.service"].inode == (tmp_path / "a.slice" / "one.service").stat().st_ino


def test_the_processes_of_a_unit_are_those_of_its_subgroups_too(tmp_path: Path) -> None:
    unit = make_cgroup(tmp_path / "app.service", 0, pids=(11, 12))
    make_cgroup(unit / "inner" / "deep", 0, pids=(13,))
    assert sorted(processes_below(str(unit))) == [11, 12, 13]
    assert list(processes_below(str(tmp_path / "absent"))) == []


@pytest.fixture
def nested(tmp_path: Path) -> Iterator[Path]:
    """A unit with so many cgroups in each other; nobody else could remove them, by recursion."""
    top = make_cgroup(tmp_path / "app.service", 0, pids=(11,))
    for depth in range(1, DEPTH + 1):
        (top / ("n/" * depth)).mkdir()
    (top / ("n/" * DEPTH) / "cgroup.procs").write_text("12\n")
    yield top
    (top / ("n/" * DEPTH) / "cgroup.procs").unlink()
    for depth in range(DEPTH, 0, -1):
        (top / ("n/" * depth)).rmdir()


def test_a_thousand_cgroups_may_be_nested(nested: Path) -> None:
    assert list(processes_below(str(nested))) == [11, 12]
    assert [name for name, _ in units_below(str(nested.parent))] == ["app.service"]


@linux_only
@pytest.mark.parametrize("listing", [processes_below, units_below])
def test_a_directory_that_cannot_be_listed_is_not_an_empty_one(
    tmp_path: Path, listing: Callable[[str], Iterable[object]]
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=r"Too many levels of symbolic links: '.*loop"):
        list(listing(f"{tmp_path}/loop"))


@pytest.mark.parametrize(
    ("limits", "tightest"),
    [
        ({"a.slice/app.service": 400, "a.slice": 500, ".": 600}, 400),
        ({"a.slice/app.service": "max", "a.slice": 300, ".": 600}, 300),
        ({"a.slice/app.service": 400, "a.slice": "max", ".": 200}, 200),
        ({"a.slice/app.service": 400, "a.slice": "garbage", ".": ""}, 400),
        ({"a.slice/app.service": "max"}, physical_bytes()),
        ({"a.slice/app.service": 1 << 62}, physical_bytes()),
    ],
)
def test_the_limit_in_force_is_the_tightest_up_to_the_root(
    tmp_path: Path, limits: dict[str, object], tightest: int
) -> None:
    root = tmp_path / "root"
    directory = root / "a.slice" / "app.service"
    directory.mkdir(parents=True)
    (tmp_path / "memory.max").write_text("1\n")  # above the root: of no concern
    for where, limit in limits.items():
        (root / where / "memory.max").write_text(f"{limit}\n")
    assert tightest_limit_bytes(str(directory), str(root)) == tightest


def test_physical_memory_is_that_of_the_machine() -> None:
    if sys.platform == "linux":
        total_kib = int(Path("/proc/meminfo").read_text().split()[1])
        assert physical_bytes() == total_kib * 1024
    else:
        assert physical_bytes() > 256 * MIB


@pytest.mark.parametrize(
    ("key", "number"), [(b"anon", 5), (b"file", 70), (b"inactive_file", 9), (b"last", 3)]
)
def test_a_number_of_memory_stat_is_found_by_its_whole_key(key: bytes, number: int) -> None:
    stat = bytearray(b"\nanon 5\ninactive_file 9\nfile 70\nfile_mapped 8\nlast 3\n")
    assert stat_bytes(stat, len(stat), key) == number


@pytest.mark.parametrize("key", [b"absent", b"anon_thp", b"below", b"empty", b"cut"])
def test_a_number_that_memory_stat_does_not_hold_whole_is_an_error(key: bytes) -> None:
    stat = bytearray(b"\nanon 5\nbelow -7\nempty \nfile 70\ncut 12")
    of_another_unit = b"345\nabsent 4\n"
    said = rf"memory\.stat has no {key.decode()}|{key.decode()} of memory\.stat holds no number"
    with pytest.raises(ValueError, match=said):
        stat_bytes(stat + of_another_unit, len(stat), key)


@pytest.mark.parametrize("text", ["11\n12", "11\n-12\n", "0x1\n", "11\n 13\n", "99999999\n", "\n", "\0"])
def test_a_list_of_processes_with_a_line_that_is_no_pid_is_not_taken_for_a_shorter_one(
    tmp_path: Path, text: str
) -> None:
    unit = make_cgroup(tmp_path / "app.service", 0)
    file = make_cgroup(unit / "inner", 0) / "cgroup.procs"
    file.write_text(text)
    with pytest.raises(OSError, match=f"this is not a list of PIDs: '{file}'"):
        list(processes_below(str(unit)))


@linux_only
def test_a_list_of_processes_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").symlink_to("/proc/self/mem")  # EIO at address 0
    with pytest.raises(OSError, match=r"Input/output error: '.*/cgroup\.procs'"):
        list(processes_below(str(tmp_path)))
