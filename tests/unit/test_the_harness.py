"""What starts the test machine, names its tests and counts their results."""

import importlib.util
import signal
import subprocess
import sys
import tarfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

REPO = Path(__file__).parents[2]
sys.path.append(str(REPO / "tests" / "vm"))

import deb  # noqa: E402  # siblings of each other, not of this file
import job  # noqa: E402
import machine  # noqa: E402
import qemu  # noqa: E402
import results  # noqa: E402
import root_image  # noqa: E402

FAILED_AND_PASSED = """\
<testsuites><testsuite name="pytest" errors="1" failures="2" skipped="1" tests="5">
<testcase classname="tests.vm.test_a" name="test_passes" />
<testcase classname="tests.vm.test_a" name="test_late"><failure message="not within 60 s"/></testcase>
<testcase classname="tests.vm.test_a" name="test_broken"><failure message="1 != 2">...</failure></testcase>
<testcase classname="tests.vm.test_b" name="test_late"><error message="no bus">...</error></testcase>
<testcase classname="tests.vm.test_b" name="test_left_out"><skipped type="pytest.skip" /></testcase>
</testsuite></testsuites>
"""
AGAIN = """\
<testsuites><testsuite name="pytest" errors="0" failures="1" skipped="0" tests="3">
<testcase classname="tests.vm.test_a" name="test_late" />
<testcase classname="tests.vm.test_a" name="test_broken"><failure message="1 != 2">...</failure></testcase>
<testcase classname="tests.vm.test_b" name="test_late" />
</testsuite></testsuites>
"""
PASSED = '<testsuites><testsuite><testcase classname="a" name="test_a" /></testsuite></testsuites>'


@pytest.fixture
def runner() -> ModuleType:
    """.ci/test.py."""
    spec = importlib.util.spec_from_file_location("ci_test", REPO / ".ci" / "test.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks for its module there.
    sys.modules["ci_test"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty disk for results; what is kept of it goes to tmp_path / "kept"."""
    monkeypatch.setattr(results, "KEPT", tmp_path / "kept")
    results.make_disk(tmp_path / "disk")
    return tmp_path / "disk"


def leave(disk: Path, **files: str) -> None:
    """Does what job.sh does: a tar at the beginning of the disk, whose size stays."""
    directory = disk.parent / "left"
    directory.mkdir()
    for name, text in files.items():
        (directory / name.replace("_", ".").replace("..", "-")).write_text(text)
    with disk.open("r+b") as file, tarfile.open(fileobj=file, mode="w") as tar:
        tar.add(directory, ".")


def kept(disk: Path) -> list[str]:
    return sorted(path.name for path in (disk.parent / "kept").glob("*"))


# --- which tests -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "selected"),
    [
        ("test_the_machine.py", ["test_the_machine.py"]),
        ("tests/vm/test_the_machine.py", ["tests/vm/test_the_machine.py"]),
        ("test_the_machine.py::test_x", ["test_the_machine.py::test_x"]),
        ("leak and not bus", ["-k", "leak and not bus"]),
        ("journal", ["-k", "journal"]),
    ],
)
def test_a_test_is_a_file_one_test_of_it_or_an_expression(test: str, selected: list[str]) -> None:
    assert job.selection(test) == selected


@pytest.mark.parametrize("test", ["test_no_such.py", "test_no_such.py::test_x", "test_the_machine::test_x"])
def test_a_file_that_does_not_exist_is_no_expression(test: str) -> None:
    with pytest.raises(job.JobError, match=r"there is no 'test_\w+(\.py)?' in tests/vm"):
        job.selection(test)


def test_pytest_runs_all_of_the_folder_or_what_is_named() -> None:
    assert " tests/vm --junit-xml=" in job.pytest_command([])
    named = job.pytest_command(["test_the_machine.py::test_x", "-k", "a b"])
    assert " tests/vm/test_the_machine.py::test_x -k 'a b' --junit-xml=" in named
    assert " tests/vm " not in named


def test_one_command_and_tests_beside_it_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        machine.parse(["--run", "true", "--test", "x"])
    assert "--run takes one command" in capsys.readouterr().err


def test_a_command_ends_at_its_limit_with_a_status_of_its_own() -> None:
    if sys.platform != "linux":
        pytest.skip("timeout(1) is of GNU coreutils")
    ended = subprocess.run(job.limited("echo begun; sleep 600", 0.2), shell=True, check=False)
    assert ended.returncode == machine.TIMED_OUT
    assert subprocess.run(job.limited("exit 7", 60), shell=True, check=False).returncode == 7


NOTHING = results.Results(None, None, ())
TESTED = results.Results(Path("vm.xml"), None, ())
DEAD = qemu.NotBootedError("QEMU ended with status 0 before the job began")
Boots = list[tuple[int, results.Results] | qemu.MachineError]


@pytest.mark.parametrize(
    ("boots", "arguments", "outcome", "said"),
    [
        ([(0, TESTED)], [], 0, ""),
        ([(1, TESTED)], [], 1, ""),
        ([DEAD, (1, TESTED)], [], 1, str(DEAD)),
        ([DEAD, DEAD], [], DEAD, str(DEAD)),
        ([(69, NOTHING), (0, TESTED)], [], 0, "nothing was tested, the job ended with status 69"),
        ([(69, NOTHING), (69, NOTHING)], [], 69, "nothing was tested"),
        ([(3, NOTHING)], ["--run", "exit 3"], 3, ""),
        ([(machine.TIMED_OUT, NOTHING)], [], machine.TIMED_OUT, ""),
        ([qemu.MachineError("the job did not end")], [], qemu.MachineError, ""),
    ],
)
def test_a_machine_that_tested_nothing_is_booted_once_more_and_that_is_said(
    boots: Boots,
    arguments: list[str],
    outcome: object,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    left = list(boots)

    def boot(*_: object) -> tuple[int, results.Results]:
        became = left.pop(0)
        if isinstance(became, qemu.MachineError):
            raise became
        return became

    monkeypatch.setattr(machine, "run_once", boot)
    nowhere = Path("/nowhere")
    image = root_image.Image(nowhere, nowhere, nowhere)
    a_machine = qemu.Machine(
        image, nowhere, nowhere, nowhere, memory_mib=1, processors=1, root_is_kept=False, skips_idle=False
    )
    if isinstance(outcome, int):
        assert machine.run_job(a_machine, machine.parse(arguments), "vm")[0] == outcome
    else:
        with pytest.raises(qemu.MachineError):
            machine.run_job(a_machine, machine.parse(arguments), "vm")
    assert left == []
    heard = capsys.readouterr().err
    assert said in heard
    assert ("so it is booted once more" in heard) is bool(said)


@pytest.mark.parametrize(
    ("statuses", "status", "tries"), [("0", 0, 1), ("1 0", 0, 2), ("1 1", 1, 2), ("4", 4, 1)]
)
def test_what_failed_is_run_once_more_and_nothing_else_is(
    statuses: str, status: int, tries: int, tmp_path: Path
) -> None:
    for number, each in enumerate(statuses.split(), 1):
        (tmp_path / str(number)).write_text(each)
    stand_in = tmp_path / "python3"
    stand_in.write_text(f'#!/bin/sh\ncd {tmp_path}\necho >>tries\nexit "$(cat "$(wc -l <tries)")"\n')
    stand_in.chmod(0o755)
    command = job.pytest_command([]).replace("test -x /usr/bin/memory-monitor", "true")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    ended = subprocess.run(["bash", "-c", command], env=environment, stdout=subprocess.DEVNULL, check=False)
    assert ended.returncode == status
    assert len((tmp_path / "tries").read_text().splitlines()) == tries


def test_what_the_tests_make_is_no_source_at_any_moment() -> None:
    """An image among the sources is 3 GB to be hashed, and makes another package for the machine beside."""
    made = (".vm/trixie-0/root.ext4", ".vm/trixie.lock", "build/vm-package/0.deb", "dist/memory-monitor.deb")
    ignored = subprocess.run(
        ["git", "check-ignore", "--verbose", *made], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert [line.split(":")[0] for line in ignored.stdout.splitlines()] == [".gitignore"] * len(made)


def test_what_the_package_is_built_from_is_known_by_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"memmon_systemd/act.py": "a = 1\n", "README.md": "r\n", "tests/x.py": "t\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(deb, "REPO", tmp_path)
    monkeypatch.setattr(deb, "repository_files", lambda: ["README.md", "memmon_systemd/act.py", "tests/x.py"])
    before = deb.sources_hash()
    (tmp_path / "tests/x.py").write_text("another\n")
    assert deb.sources_hash() == before
    (tmp_path / "memmon_systemd/act.py").write_text("a = 2\n")
    assert deb.sources_hash() != before


# --- what came out -----------------------------------------------------------------------------


def test_results_and_journal_are_kept_under_the_name_of_the_run(disk: Path) -> None:
    leave(disk, junit_xml=PASSED, journal="a line\n")
    found = results.keep(disk, "vm-x")
    assert kept(disk) == ["vm-x.journal", "vm-x.xml"]
    assert found.journal is not None
    assert found.journal.read_text() == "a line\n"
    results.forget("vm-x")
    assert kept(disk) == []


def test_a_machine_that_left_nothing_has_no_results(disk: Path) -> None:
    assert results.keep(disk, "vm-x") == results.Results(None, None, ())
    assert kept(disk) == []


def test_broken_results_are_an_error_and_not_none(disk: Path) -> None:
    leave(disk, junit_xml="<testsuites><testsuite>")
    with pytest.raises(results.ResultsError, match="JUnit XML that came out of the machine is broken"):
        results.keep(disk, "vm-x")


def test_what_passed_only_at_the_second_try_is_told_from_what_failed_twice() -> None:
    tree = ET.fromstring(FAILED_AND_PASSED)
    assert results.merge(tree, ET.fromstring(AGAIN)) == ["test_late", "test_late"]
    (suite,) = tree.iter("testsuite")
    assert (suite.get("failures"), suite.get("errors")) == ("1", "0")
    failed = [case.get("name") for case in tree.iter("testcase") if case.find("failure") is not None]
    assert failed == ["test_broken"]
    values = [found.get("value") for found in tree.iter("property")]
    assert values == ["not within 60 s", "no bus"]


# --- the line of a kind ------------------------------------------------------------------------


def line_of(runner: ModuleType, disk: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The line that .ci/test.py would end with for a machine that left this disk and ended with status 0."""
    monkeypatch.setattr(runner, "RESULTS", disk.parent / "results")
    runner.RESULTS.mkdir()
    results.keep(disk, "vm-x")
    copied = ("cp", str(disk.parent / "kept" / "vm-x.xml"), str(runner.RESULTS / "vm-x.xml"))
    return str(runner.run(runner.Kind("vm-x", copied)).line)


def test_the_line_names_what_passed_only_at_the_second_try(
    runner: ModuleType, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(disk, junit_xml=FAILED_AND_PASSED.replace("test_broken", "test_late"), junit__again_xml=AGAIN)
    monkeypatch.setattr(runner, "NOTHING_LEFT_OUT", False)
    line = line_of(runner, disk, monkeypatch)
    assert line.startswith("ran: vm-x — 4 passed, 1 skipped, ")
    assert line.endswith("; 3 passed only at the second try: test_late, test_late, test_late")


def test_a_failure_in_the_results_is_one_whatever_the_exit_status(
    runner: ModuleType, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(disk, junit_xml=FAILED_AND_PASSED)
    assert line_of(runner, disk, monkeypatch).startswith("FAILED: vm-x — 1 passed, 3 failed, 1 skipped, ")


def test_in_ci_a_skip_inside_the_machine_is_a_failure(
    runner: ModuleType, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(disk, junit_xml=FAILED_AND_PASSED.replace("test_broken", "test_late"), junit__again_xml=AGAIN)
    monkeypatch.setattr(runner, "NOTHING_LEFT_OUT", True)
    line = line_of(runner, disk, monkeypatch)
    assert line.startswith("FAILED: vm-x — 4 passed, 1 skipped, ")
    assert line.endswith("; CI may skip none")


def test_kinds_side_by_side_run_at_the_same_time_and_what_they_write_is_not_mixed(
    runner: ModuleType, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    to_first, to_second = tmp_path / "to-first", tmp_path / "to-second"
    subprocess.run(("mkfifo", str(to_first), str(to_second)), check=True)
    # Each waits for the other.
    first = f"echo first begins; cat {to_first}; echo first ends; : >{to_second}"
    second = f"echo second begins; : >{to_first}; cat {to_second}; echo second ends; exit 3"
    outcomes = runner.run_all(
        [
            runner.Kind("first", ("sh", "-c", first), limit_s=60.0, side_by_side=True),
            runner.Kind("second", ("sh", "-c", second), limit_s=60.0, side_by_side=True),
        ]
    )
    lines = [outcome.line.rpartition(",")[0] for outcome in outcomes]
    assert lines == ["ran: first — passed", "FAILED: second — status 3"]
    assert [line for line in capfdbinary.readouterr().out.decode().splitlines() if line] == [
        *("===== first", "first begins", "first ends"),
        *("===== second, at the same time", "second begins", "second ends"),
    ]


# Says that it runs, then that it was told to end, and ends.
ENDS_WHEN_TOLD = """
import pathlib, signal, sys
said = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGINT, lambda *_: sys.exit(said.write_text("told")))
said.write_text("runs")
signal.alarm(120)
signal.pause()
"""
RUNS_TWO = """
import runpy, sys
path, program, *files = sys.argv[1:]
runner = runpy.run_path(path)
of = runner["end"].__globals__
of["CTRL_C_S"] = 0.1
for each in (2, 15):
    of["signal"].signal(each, of["end"])
of["run_all"]([
    of["Kind"](file[-1], (sys.executable, "-c", program, file), side_by_side=True) for file in files
])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_only_the_runner_gets_ends_all_that_it_has_started(
    number: signal.Signals, tmp_path: Path
) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    command = (sys.executable, "-c", RUNS_TWO, str(REPO / ".ci" / "test.py"), ENDS_WHEN_TOLD)
    with subprocess.Popen((*command, *map(str, files)), stdout=subprocess.DEVNULL) as runs:
        try:
            end_s = time.monotonic() + 60
            while not all(file.exists() and file.read_text() for file in files):
                assert time.monotonic() < end_s, "they don't start"
                time.sleep(0.02)
            runs.send_signal(number)
            assert runs.wait(60) == 128 + number
        finally:
            runs.kill()
    assert [file.read_text() for file in files] == ["told", "told"]
