"""The job's disk: a tar of the repository, of the command to run in the machine, and of additions."""

import io
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
TESTS = "tests/vm"

REPO_IN_VM = "srv/memory-monitor"
# A directory of the machine whose files come out on the disk of results.
RESULTS_IN_VM = "/srv/vm-results"
JUNIT = "junit.xml"
JUNIT_AGAIN = "junit-again.xml"
# A run that is interrupted may still have to end services that take their time.
INTERRUPTED_S = 60
# So many that fail twice are enough to know that it is no matter of time.
FAILED_TWICE_MAX = 3


class JobError(Exception):
    """The job can't be put together; the message is one line."""


@dataclass(frozen=True, slots=True)
class Addition:
    """A file or directory of the host and where it goes in the machine."""

    host: Path
    vm: str


def write_job(job: Path, command: str, packages: Mapping[str, Path], additions: Sequence[Addition]) -> None:
    """Writes the tar that the machine unpacks over its root, with packages by name."""
    with tarfile.open(job, "w") as tar:
        for name in repository_files():
            tar.add(REPO / name, f"{REPO_IN_VM}/{name}", filter=_as_root)
        tar.add(Path(__file__).with_name("job.sh"), "srv/vm-job", filter=_as_root)
        _add_counting_library(tar)
        for name, package in packages.items():
            tar.add(package, f"srv/{name}.deb", filter=_as_root)
        for addition in additions:
            tar.add(addition.host, addition.vm.lstrip("/"), filter=_as_root)
        text = command.encode()
        member = tarfile.TarInfo("srv/vm-command")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))


def _add_counting_library(tar: tarfile.TarFile) -> None:
    """What counts allocations, compiled here: the machine has no compiler; both run on x86-64 and glibc."""
    source = REPO / "tests/audit/count_calls.c"
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory, "count_calls.so")
        command = ("gcc", "-std=c11", "-O2", "-fPIC", "-shared", "-o", str(library), str(source), "-ldl")
        compiled = subprocess.run(command, capture_output=True, text=True, check=False)
        if compiled.returncode != 0:
            raise JobError(f"gcc can't compile {source}: {compiled.stderr.strip()}")
        tar.add(library, "srv/count_calls.so", filter=_as_root)


def repository_files() -> list[str]:
    """The files that git knows or would know, without those deleted in the work tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        raise JobError(f"git ls-files failed in {REPO} with status {listed.returncode}")
    names = sorted(set(listed.stdout.split("\0")) - {""})
    return [name for name in names if (REPO / name).is_symlink() or (REPO / name).exists()]


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The machine's root owns what is shipped, and everybody can read it."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def limited(command: str, limit_s: float) -> str:
    """The shell command, interrupted after that time; its status is TIMED_OUT then (timeout(1))."""
    timeout = ("timeout", "--signal=INT", f"--kill-after={INTERRUPTED_S}", f"{limit_s:g}")
    return shlex.join((*timeout, "/bin/bash", "-c", command))


def pytest_command(arguments: Sequence[str]) -> str:
    """pytest in the machine: all of tests/vm, unless the arguments name files of it.

    -P: what is tested is the installed package and not the source beside the tests.

    What failed is run once more, and that is said: where the host is busy, the emulated machine stands
    still for so long that a deadline passes. A fault fails twice.
    """
    in_repo = [_test_file(argument) or argument for argument in arguments]
    chosen = [] if any(map(_test_file, arguments)) else [TESTS]
    pytest = ["python3", "-P", "-m", "pytest", "-o", "cache_dir=/var/tmp/pytest", *chosen, *in_repo]
    once = shlex.join([*pytest, f"--junit-xml={RESULTS_IN_VM}/{JUNIT}"])
    last_failed = ("--last-failed", f"--maxfail={FAILED_TWICE_MAX}")
    again = shlex.join([*pytest, *last_failed, f"--junit-xml={RESULTS_IN_VM}/{JUNIT_AGAIN}"])
    return "\n".join(
        [
            "test -x /usr/bin/memory-monitor || exit 69  # EX_UNAVAILABLE of sysexits.h",
            f"{once} && exit",
            "status=$?",
            "[ $status = 1 ] || exit $status",
            "echo 'vm: once more, what failed:'",
            again,
        ]
    )


def selection(test: str) -> list[str]:
    """pytest's arguments for a file, file::test, or an expression as of its -k. Raises JobError."""
    if _test_file(test) is not None:
        return [test]
    file = test.partition("::")[0]
    if file.endswith(".py") or "::" in test:
        raise JobError(f"{test!r}: there is no {file!r} in {TESTS}")
    return ["-k", test]


def _test_file(argument: str) -> str | None:
    """The argument as pytest needs it, if it names a test file of tests/vm (or `file::test`), or a folder."""
    file = argument.partition("::")[0]
    if file and (REPO / TESTS / file).is_file():
        return f"{TESTS}/{argument}"
    if file.startswith(f"{TESTS}/") and (REPO / file).exists():
        return argument
    return None
