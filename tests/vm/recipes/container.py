"""An image for podman and Docker, made of this machine's Python: the machine has no network."""

import re
from pathlib import Path
from typing import Final

from kit import run

_TAR: Final = Path("/var/tmp/image.tar")
_LEFT_OUT: Final = ("dist-packages", "__pycache__", "test", "idlelib", "ensurepip", "pydoc_data")


def has_quadlet() -> bool:
    """Whether podman is 4.4 or newer."""
    return Path("/usr/lib/systemd/system-generators/podman-system-generator").exists()


def image_tar() -> Path:
    """The root of a container that can run Python programs, without more than these need."""
    python = Path("/usr/bin/python3").resolve()
    libraries = re.findall(r"/\S+", run("ldd", str(python)))
    library = f"/usr/lib/{python.name}"
    left_out = [f"--exclude={name}" for name in _LEFT_OUT]
    names = [name.lstrip("/") for name in ("/usr/bin/python3", library, *libraries)]
    run("tar", "-C", "/", "--dereference", *left_out, "-c", "-f", str(_TAR), *names)
    _TAR.chmod(0o644)
    return _TAR


def start_docker() -> None:
    """Without a network, for which it would need the kernel's packet filter."""
    Path("/etc/docker").mkdir(exist_ok=True)
    Path("/etc/docker/daemon.json").write_text('{"iptables": false, "bridge": "none"}')
    run("systemctl", "start", "docker.service")
