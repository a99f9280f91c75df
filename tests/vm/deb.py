"""The Debian packages of this tree, built by packaging/build_deb.py: the machine gets what users install.

What was built is kept by a hash of the files that it was built from, so it is never that of another tree.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from job import REPO, TESTS, repository_files
from root_image import BuildError

BUILT = REPO / "build" / "vm-package"
# Debian's tools need Debian's Python, whichever comes first in the PATH.
BUILD = ("/usr/bin/python3", "packaging/build_deb.py")
NAMES = ("memory-monitor", "memory-monitor-exporter")


class Identity(TypedDict, total=False):
    """As whom a process of subprocess.run runs."""

    user: int
    group: int
    extra_groups: Sequence[int]


def who_called_sudo() -> Identity:
    """The user who became root by sudo, and who owns what is left in the tree; nobody else's name."""
    if os.geteuid() != 0 or "SUDO_UID" not in os.environ:
        return {}
    group = int(os.environ["SUDO_GID"])
    return {"user": int(os.environ["SUDO_UID"]), "group": group, "extra_groups": [group]}


def give_to_who_called_sudo(*paths: Path) -> None:
    """Makes that user the owner."""
    identity = who_called_sudo()
    if identity:
        for path in paths:
            os.chown(path, identity["user"], identity["group"])


def packages_of_this_tree() -> dict[str, Path]:
    """The packages by name, built if the last ones were of other sources. Raises BuildError."""
    BUILT.mkdir(parents=True, exist_ok=True)
    give_to_who_called_sudo(BUILT.parent, BUILT)
    with (BUILT / "lock").open("w") as lock:
        # Two machines boot side by side.
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = sources_hash()
        packages = {name: BUILT / f"{wanted}-{name}.deb" for name in NAMES}
        if not all(package.exists() for package in packages.values()):
            for outdated in BUILT.glob("*.deb"):
                outdated.unlink()
            built = _build()
            if sources_hash() != wanted:
                raise BuildError("the sources changed while the packages were built: run this again")
            for path, package in zip(built, packages.values(), strict=True):
                shutil.copy(path, package)
    return packages


def sources_hash() -> str:
    """Names the state of all that a package can be made of: all files of the tree but the tests."""
    digest = hashlib.sha256()
    for name in repository_files():
        path = REPO / name
        if not name.startswith(f"{Path(TESTS).parts[0]}/") and path.is_file():
            digest.update(f"{name}\0{path.stat().st_mode & 0o111}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _build() -> list[Path]:
    """The packages that packaging/build_deb.py names, in the order of `NAMES`."""
    done = subprocess.run(BUILD, cwd=REPO, capture_output=True, text=True, check=False, **who_called_sudo())
    if done.returncode != 0:
        raise BuildError(f"there is no package to install:\n{done.stderr.strip()}")
    return [Path(line) for line in done.stdout.splitlines()]
