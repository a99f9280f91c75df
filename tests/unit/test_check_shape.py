"""What `--check` reads of how a unit is made, by files as they are, and by real processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

import pytest

from memmon_systemd.check.read_shape import dropped_by, shape_of_unit
from memmon_systemd.check.shape import MaximumState, Shape
from memmon_systemd.check.unit_properties import ServiceProperties, UnitProperties
from memmon_systemd.linux.wrapper import has_default
from tests.process.waiting import eventually
from tests.unit.trees import linux_only

pytestmark = linux_only

SET = UnitProperties(control_group="/a.slice/b.service", memory_max_bytes=5000)
V1 = "33 25 0:28 / {root} rw - cgroup cgroup rw,memory\n"
AS_SET, NOT_IN_FORCE, BY_V1 = MaximumState.AS_SET, MaximumState.NOT_IN_FORCE, MaximumState.BY_V1


def test_the_files_of_a_cgroup_say_what_it_used_shares_and_whether_it_is_frozen(tmp_path: Path) -> None:
    (tmp_path / "memory.peak").write_text("7000\n")
    (tmp_path / "memory.stat").write_text("anon 5\nshmem 300\nshmem_thp 9\n")
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    shape = shape_of_unit(UnitProperties(), tmp_path, (), signal.SIGTERM)
    assert shape == Shape(peak_bytes=7000, shared_bytes=300, is_frozen=True)


def test_without_these_files_nothing_is_known(tmp_path: Path) -> None:
    assert shape_of_unit(UnitProperties(), tmp_path, (1 << 22,), signal.SIGTERM) == Shape()


@pytest.mark.parametrize(
    ("properties", "files", "state"),
    [
        (UnitProperties(), {}, AS_SET),
        (SET, {"v2/memory.max": "4096"}, AS_SET),
        (SET, {}, NOT_IN_FORCE),
        (SET, {"v1/a.slice/b.service/memory.limit_in_bytes": "4096"}, BY_V1),
        (SET, {"v1/a.slice/b.service/memory.limit_in_bytes": "9223372036854771712"}, NOT_IN_FORCE),
    ],
)
def test_a_limit_that_no_cgroup_has_isnt_in_force(
    tmp_path: Path, properties: UnitProperties, files: dict[str, str], state: MaximumState
) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(V1.format(root=tmp_path / "v1"))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(f"{text}\n")
    shape = shape_of_unit(properties, tmp_path / "v2", (), signal.SIGTERM, mounts=str(mountinfo))
    assert shape.maximum_state is state


def test_memory_that_a_process_has_mapped_is_no_file_that_it_left(tmp_path: Path) -> None:
    script = "import mmap; x = mmap.mmap(-1, 9 << 20); x.write(bytes(9 << 20)); print(flush=True); input()"
    command = (sys.executable, "-IS", "-c", script)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        service = UnitProperties(service=ServiceProperties(main_pid=process.pid))
        shape = shape_of_unit(service, tmp_path, (process.pid,), signal.SIGTERM)
        process.communicate()
    assert 9 << 20 <= shape.mapped_bytes < 10 << 20
    assert not shape.is_wrapper


@contextmanager
def first_of_namespace(
    program: str, starter: str = "unshare"
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The first process of a new PID namespace, which runs a Python program, and who started it."""
    command = (starter, "--pid", "--fork", "--kill-child", sys.executable, "-IS", "-c", program)
    with subprocess.Popen(command) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        try:
            pid = int(eventually(children.read_text, 10.0, "it has a child"))
            comm = Path(f"/proc/{pid}/comm")
            eventually(lambda: comm.read_text().startswith("python"), 10.0, "it runs the program")
            yield pid, process
        finally:
            process.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root")
def test_the_kernel_drops_a_signal_that_the_first_of_a_namespace_doesnt_handle() -> None:
    handles = "import signal; signal.signal(15, lambda *_: None); signal.pause()"
    with first_of_namespace(handles) as (pid, starter):
        eventually(lambda: not has_default(pid, signal.SIGTERM), 10.0, "it handles SIGTERM")
        assert dropped_by(pid, (pid,), signal.SIGTERM) is None
        assert dropped_by(pid, (pid,), signal.SIGUSR1) == f"python[{pid}]"
        assert dropped_by(pid, (pid,), signal.SIGKILL) is None
        # And so it is: it ends by the other one, with status 0.
        os.kill(pid, signal.SIGUSR1)
        os.kill(pid, signal.SIGTERM)
        assert starter.wait(10) == 0
    assert dropped_by(os.getpid(), (), signal.SIGUSR1) is None, "it is the first of no namespace"


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root")
def test_conmon_passes_some_signals_on_to_the_first_of_its_container(tmp_path: Path) -> None:
    conmon = tmp_path / "conmon"
    conmon.symlink_to(which("unshare") or "")
    for starter, number, drops in (
        (str(conmon), signal.SIGTERM, True),
        (str(conmon), signal.SIGUSR1, False),
        ("unshare", signal.SIGTERM, False),
    ):
        with first_of_namespace("import time; time.sleep(600)", starter) as (pid, process):
            found = dropped_by(process.pid, (process.pid, pid), number)
            assert (found is not None) is drops
            assert found is None or found.endswith(f"[{pid}]")
