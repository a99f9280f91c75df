"""Builds the Debian packages into dist/ and has lintian look at them; prints their paths.

memory-monitor is the first of them, memory-monitor-exporter the second. All is done in a copy, in build/deb:
dpkg-buildpackage wants the directory debian at the top, and leaves much behind. The version is that of
memmon_systemd; the same tree gives the same packages, byte for byte.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "deb"
DIST = ROOT / "dist"

sys.path.insert(0, str(ROOT))

from memmon_systemd import __version__  # noqa: E402  # the tree's, whatever else is installed

VERSION = f"{__version__}-1"
PACKAGES = tuple(f"{name}_{VERSION}_all.deb" for name in ("memory-monitor", "memory-monitor-exporter"))
SOURCES = (
    *("CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml"),
    *("completions", "docs", "exporter", "memmon_systemd", "packaging", "units"),
)
CHANGELOG = """\
memory-monitor ({version}) unstable; urgency=medium

  * Version {upstream}: what changed is in changelog.gz, beside this file.

 -- {maintainer}  {date}
"""


class BuildError(Exception):
    """There is no package; the message is one line, or a tool's last lines and one line."""


def build() -> list[Path]:
    """The packages that were built, in dist/."""
    demand_tools()
    if WORK.exists():
        shutil.rmtree(WORK)
    tree = WORK / f"memory-monitor-{__version__}"
    when_s = source_date_s()
    copy_sources(tree)
    write_changelog(tree / "debian", when_s)
    for path in tree.rglob("*"):
        os.utime(path, (when_s, when_s))
    run("dpkg-buildpackage", "--build=binary", "--no-sign", cwd=tree, SOURCE_DATE_EPOCH=str(when_s))
    packages = [WORK / name for name in PACKAGES]
    check(packages)
    return put_into_dist(packages)


@contextmanager
def only_one() -> Iterator[None]:
    """Waits for whoever is building in the same tree."""
    WORK.parent.mkdir(exist_ok=True)
    with WORK.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def demand_tools() -> None:
    """Raises BuildError with one line that says what is missing."""
    packages = {"dpkg-buildpackage": "build-essential", "lintian": "lintian"}
    missing = [package for tool, package in packages.items() if shutil.which(tool) is None]
    if missing:
        raise BuildError(f"not installed: {', '.join(missing)}; `bash .ci/setup deb` installs that on Debian")


def copy_sources(tree: Path) -> None:
    """Copies what the package is built from, with the directory debian where Debian's tools look for it."""
    tree.mkdir(parents=True)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tree / name)
    (tree / "packaging" / "debian").rename(tree / "debian")


def source_date_s() -> int:
    """The time that all files of the package have: SOURCE_DATE_EPOCH, else that of the last commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is not None:
        if not given.isdecimal():
            raise BuildError(f"SOURCE_DATE_EPOCH={given!r} is not a time: use seconds since 1970 (date +%s)")
        return int(given)
    if shutil.which("git") is not None:
        log = ("git", "log", "-1", "--format=%ct")
        asked = subprocess.run(log, cwd=ROOT, capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            return int(asked.stdout)
    # No git, or the tree is from an archive: then what changed last is as good.
    return int((ROOT / "CHANGELOG.md").stat().st_mtime)


def write_changelog(debian: Path, when_s: int) -> None:
    """Debian's tools take version and date from here."""
    lines = (debian / "control").read_text().splitlines()
    maintainer = next(line.partition(": ")[2] for line in lines if line.startswith("Maintainer: "))
    (debian / "changelog").write_text(
        CHANGELOG.format(
            version=VERSION, upstream=__version__, maintainer=maintainer, date=formatdate(when_s)
        )
    )


def check(packages: list[Path]) -> None:
    """Has lintian look at the packages; an error is a failure here, and so is a warning."""
    run("lintian", "--allow-root", "--fail-on=error,warning", *map(str, packages), cwd=WORK)


def put_into_dist(packages: list[Path]) -> list[Path]:
    """Moves the packages into dist/, which keeps no other version."""
    DIST.mkdir(exist_ok=True)
    for older in (*DIST.glob("memory-monitor_*.deb"), *DIST.glob("memory-monitor-exporter_*.deb")):
        older.unlink()
    return [Path(shutil.move(package, DIST / package.name)) for package in packages]


def run(*command: str, cwd: Path, **variables: str) -> None:
    """Runs a tool silently; its last lines are shown if it fails."""
    # Debian's tools need Debian's Python, whichever comes first in the PATH of the user.
    environment = os.environ | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"} | variables
    log = WORK / f"{command[0]}.log"
    with log.open("w") as output:
        done = subprocess.run(command, cwd=cwd, env=environment, stdout=output, stderr=output, check=False)
    if done.returncode != 0:
        last_lines = "\n".join(log.read_text().splitlines()[-30:])
        raise BuildError(f"{last_lines}\n{command[0]} failed with status {done.returncode}, as shown above")


def main() -> int:
    """Builds; the paths of the packages go to stdout, an error to stderr."""
    try:
        with only_one():
            print(*build(), sep="\n")
    except (BuildError, OSError) as error:
        print(f"build_deb.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
