"""Builds what a release consists of into dist/release: sdist, wheel, Debian packages, SBOM and checksums.

    packaging/release.py           of this tree
    packaging/release.py v1.2.3    the same of that tag: refuses one that the version doesn't have

It needs the extra `release`, and what packaging/build_deb.py needs. It publishes nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from release_checks import ReleaseError, check_artifacts, check_sbom, said_by

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "dist" / "release"
WORK = ROOT / "build" / "release"

sys.path.insert(0, str(ROOT))

from memmon_systemd import __version__  # noqa: E402  # the tree's, whatever else is installed

CHECKSUMS = "SHA256SUMS"
COMMANDS = ("memory-monitor", "memmonctl")
_RELEASE = re.compile(r"^## (\S+)(?: \((.*)\))?$", re.MULTILINE)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def check_tag(tag: str, version: str, changelog: str) -> None:
    """Refuses a tag that isn't that of the version, or of a version without a date; ReleaseError."""
    if tag != f"v{version}":
        raise ReleaseError(f"tag {tag}: memmon_systemd/__init__.py says {version}: use the tag v{version}")
    said_version, said_date = check_changelog(version, changelog)
    if not _DATE.fullmatch(said_date):
        raise ReleaseError(
            f"tag {tag}: CHANGELOG.md says '{said_version} ({said_date})': use the date, as in (2026-01-31)"
        )


def check_changelog(version: str, changelog: str) -> tuple[str, str]:
    """The first version in the changelog, and what is said of its date; ReleaseError if it is another."""
    found = _RELEASE.search(changelog)
    if found is None or found[1] != version:
        said = "none" if found is None else found[1]
        raise ReleaseError(
            f"CHANGELOG.md: the first version is {said}, and memmon_systemd/__init__.py says {version}:"
            f" use the heading ## {version} (not yet released)"
        )
    return found[1], found[2] or ""


def source_date() -> str:
    """The time that the files in the packages have: SOURCE_DATE_EPOCH, else that of the last commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return given or run("git", "log", "-1", "--format=%ct").strip()


def build(epoch: str) -> list[Path]:
    """What is released, in dist/release; the checksums too."""
    for directory in (OUT, WORK, ROOT / "build" / "lib"):
        # Of build/lib setuptools would take modules that are no more.
        shutil.rmtree(directory, ignore_errors=True)
    for directory in (OUT, WORK):
        directory.mkdir(parents=True)
    # The wheel is built of the sdist, which so is seen to be complete.
    run(sys.executable, "-m", "build", "--outdir", str(OUT), SOURCE_DATE_EPOCH=epoch)
    (sdist,) = OUT.glob("*.tar.gz")
    make_reproducible(sdist, int(epoch))
    # Debian's tools need Debian's Python, whichever comes first in the PATH.
    packages = run("/usr/bin/python3", "packaging/build_deb.py", SOURCE_DATE_EPOCH=epoch).splitlines()
    for package in packages:
        shutil.copy(package, OUT)
    build_sbom(OUT / f"memory-monitor-{__version__}.cdx.json", epoch)
    check_artifacts(OUT, __version__, tracked_files())
    return [*sorted(OUT.iterdir()), write_checksums(OUT)]


def make_reproducible(sdist: Path, when_s: int) -> None:
    """Writes an sdist anew: setuptools has the time of the build in it, and who has built it."""
    plain = WORK / "sdist.tar"
    with tarfile.open(sdist) as archive, tarfile.open(plain, "w") as again:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            member.mtime, member.pax_headers = when_s, {}
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            again.addfile(member, archive.extractfile(member))
    with sdist.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=when_s) as zipped:
        zipped.write(plain.read_bytes())


def tracked_files() -> set[str]:
    """What git has: a source distribution without one of these isn't the source."""
    return set(run("git", "ls-files").splitlines())


def build_sbom(sbom: Path, epoch: str) -> None:
    """Writes what pip installs with the wheel, as CycloneDX; runs the commands that it installs."""
    (wheel,) = OUT.glob("*.whl")
    environment = WORK / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    python = str(environment / "bin" / "python")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "--quiet", str(wheel))
    for command in COMMANDS:
        said = run(str(environment / "bin" / command), "--version").strip()
        if said != f"{command} {__version__}":
            raise ReleaseError(f"{command} --version says '{said}', and not {__version__}")
    # It can't look up a version that is elsewhere.
    project = WORK / "pyproject.toml"
    text = (ROOT / "pyproject.toml").read_text()
    project.write_text(text.replace('dynamic = ["version"]', f'version = "{__version__}"'))
    cyclonedx = (sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(project))
    how = ("--mc-type", "application", "--output-reproducible", "--output-file", str(sbom))
    run(*cyclonedx, *how, python, SOURCE_DATE_EPOCH=epoch)
    check_sbom(sbom, __version__)


def write_checksums(directory: Path) -> Path:
    """SHA256SUMS of all files beside it, as sha256sum --check takes it."""
    lines = [f"{sha256(path)}  {path.name}\n" for path in sorted(directory.iterdir())]
    checksums = directory / CHECKSUMS
    checksums.write_text("".join(lines))
    return checksums


def sha256(path: Path) -> str:
    """In hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(*command: str, **variables: str) -> str:
    """What a tool writes to stdout; ReleaseError with its last lines if it fails."""
    return said_by(command, ROOT, os.environ | variables)


def main(arguments: Sequence[str]) -> int:
    """Builds and lists the files; an error goes to stderr."""
    try:
        changelog = (ROOT / "CHANGELOG.md").read_text()
        check_changelog(__version__, changelog)
        for tag in arguments:
            check_tag(tag, __version__, changelog)
        for path in build(source_date()):
            print(f"{path.stat().st_size:>9,}  {path.relative_to(ROOT)}")
    except (ReleaseError, OSError, subprocess.SubprocessError) as error:
        print(f"release.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
