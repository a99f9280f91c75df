"""Whether what was built for a release is complete, and all of one version."""

from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

NOT_IN_SDIST = re.compile(r"\.github/|\.gitignore$")
"""What is of no use without the repository."""
COMPONENTS = ("psutil", "pystemd")
_VERSION = re.compile(r"^Version: (.*)$", re.MULTILINE)
_MANUAL_PAGE = re.compile(r".*/man/man\d/.*\.gz")
_TITLE_LINE = re.compile(rb"^\.TH .*$", re.MULTILINE)


class ReleaseError(Exception):
    """There is nothing to release; the message is one line, or a tool's last lines and one line."""


def check_artifacts(directory: Path, version: str, tracked: Collection[str]) -> None:
    """Refuses what is of another version, and an sdist that isn't complete; ReleaseError."""
    (wheel,) = directory.glob("*.whl")
    (sdist,) = directory.glob("*.tar.gz")
    packages = sorted(directory.glob("*.deb"))
    if not packages:
        raise ReleaseError(f"{directory}: there is no Debian package")
    require(version, wheel.name, "METADATA", version_of_wheel(wheel))
    require(version, sdist.name, "PKG-INFO", version_of_sdist(sdist))
    check_complete(sdist, tracked)
    for package in packages:
        name, _, rest = package.name.partition("_")
        revision = said_by(("dpkg-deb", "--field", str(package), "Version"))
        require(version, package.name, "Version", revision.strip().rpartition("-")[0])
        require(version, package.name, f"the name {name}_", rest.partition("-")[0])
        for page, title in manual_pages(package):
            require(f"memory-monitor {version}", package.name, page, title)


def require(expected: str, file: str, place: str, found: str) -> None:
    """Refuses what doesn't say the version; ReleaseError."""
    if found != expected:
        raise ReleaseError(f"{file}: {place} says '{found}', and not '{expected}'")


def version_of_wheel(wheel: Path) -> str:
    """As its metadata says."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return version_line(archive.read(metadata).decode())


def version_of_sdist(sdist: Path) -> str:
    """As its metadata says."""
    with tarfile.open(sdist) as archive:
        (metadata,) = (
            name for name in archive.getnames() if name.count("/") == 1 and name.endswith("/PKG-INFO")
        )
        file = archive.extractfile(metadata)
        return version_line(file.read().decode() if file is not None else "")


def version_line(metadata: str) -> str:
    """The first field Version; "" if there is none."""
    found = _VERSION.search(metadata)
    return "" if found is None else found[1]


def check_complete(sdist: Path, tracked: Collection[str]) -> None:
    """Refuses an sdist without a file that git has; ReleaseError."""
    with tarfile.open(sdist) as archive:
        has = {name.partition("/")[2] for name in archive.getnames()}
    missing = sorted(name for name in tracked if name not in has and not NOT_IN_SDIST.match(name))
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ReleaseError(
            f"{sdist.name}: {', '.join(missing[:3])}{more} not in it: name them in MANIFEST.in"
        )


def manual_pages(package: Path) -> Iterator[tuple[str, str]]:
    """The manual pages of a Debian package, with the version in the title line of each."""
    content = subprocess.run(("dpkg-deb", "--fsys-tarfile", str(package)), capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(content.stdout)) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member) if _MANUAL_PAGE.fullmatch(member.name) else None
            if file is not None:
                title = _TITLE_LINE.search(gzip.decompress(file.read()))
                yield member.name, title_version("" if title is None else title[0].decode())


def title_version(title: str) -> str:
    """The source of .TH title section date source: "memory-monitor 1.2.3"."""
    quoted = re.findall(r'"([^"]*)"', title)
    return quoted[3] if len(quoted) > 3 else title


def check_sbom(sbom: Path, version: str) -> None:
    """Refuses an SBOM that lacks a component or the version; ReleaseError."""
    content = json.loads(sbom.read_text())
    components = {component["name"]: component.get("version", "") for component in content["components"]}
    missing = [name for name in COMPONENTS if not components.get(name)]
    if missing:
        raise ReleaseError(f"{sbom.name}: {', '.join(missing)} not in it")
    own = content["metadata"]["component"]
    require(f"memory-monitor {version}", sbom.name, "metadata", f"{own['name']} {own.get('version', '')}")


def said_by(
    command: Sequence[str], directory: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """What a tool writes to stdout; ReleaseError with its last lines if it fails."""
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last_lines = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise ReleaseError(
            f"{last_lines}\n{' '.join(command[:4])} failed with status {done.returncode}, as shown above"
        )
    return done.stdout
