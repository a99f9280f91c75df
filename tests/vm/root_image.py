"""The root disk, kernel and initrd of the test machine: made once per recipe, then cached.

mmdebstrap makes a root directory from Debian's archive, `mke2fs -d` makes an ext4 image of it.
Both need root, and only for as long as an image is built; booting one doesn't.

What the cache holds, below `.vm/` in the repository: one directory for each suite and recipe,
named after the suite and a hash of everything that decides what is in the image.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SUITES = ("bookworm", "trixie")

FOR_RECIPES = (
    *("gunicorn", "nodejs", "default-jdk-headless", "celery", "redis-server", "python3-redis"),
    *("supervisor", "monit", "msmtp-mta"),
)
"""The programs that docs/recipes are about. Only the recipes need them, and they are half a GiB."""

FOR_CONTAINERS = ("podman", "uidmap", "docker.io", "apparmor")
"""What docs/recipes/containers.md is about; uidmap is for podman without root, Docker loads a profile."""

FOR_PROMETHEUS = ("prometheus", "prometheus-node-exporter", "python3-prometheus-client")
"""Who scrapes memory-monitor-exporter, and what that is made of."""

FOR_HOOKS = ("haproxy", "socat", "etcd-server", "etcd-client", "wrk", "prometheus")
"""What docs/recipes/haproxy.md and etcd.md are about, with the load, and what scrapes the exporter."""

FOR_FLEETS = ("ansible-core", "python3-apt", "python3-prometheus-client")
"""What docs/fleet.md is about. python3-apt is what Ansible would install where it is missing; the last
one is what the exporter needs."""

VARIANTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(SUITES, ()),
    "bookworm+recipes": FOR_RECIPES + FOR_CONTAINERS,
    "bookworm+prometheus": FOR_PROMETHEUS,
    "bookworm+hooks": FOR_HOOKS,
    "bookworm+ansible": FOR_FLEETS,
    # Quadlet came with podman 4.4; Debian 12 has 4.3.
    "trixie+containers": (*FOR_CONTAINERS, "docker-cli"),
}
"""What can be booted, and the packages that it has beside PACKAGES."""

PACKAGES = (
    # A machine that boots with systemd, D-Bus, a user manager and polkit.
    *("linux-image-cloud-amd64", "initramfs-tools", "systemd-sysv", "udev", "kmod"),
    *("dbus", "dbus-user-session", "libpam-systemd", "polkitd", "procps"),
    # What memory-monitor runs on.
    *("python3", "python3-pystemd", "python3-psutil"),
    # What the tests use.
    *("python3-pytest", "strace", "man-db"),
)

# Written before the packages are installed: an initrd of only what the test machine has boots
# sooner.
EARLY_FILES = {
    "etc/initramfs-tools/conf.d/vm": "MODULES=list\n",
    "usr/share/initramfs-tools/modules.d/vm": "virtio_pci\nvirtio_blk\next4\n",
}

FILES = {
    "etc/hostname": "vm\n",
    "etc/hosts": "127.0.0.1 localhost vm\n",
    # A fixed machine ID: without one every run would be a first boot, which presets all units.
    "etc/machine-id": "6d656d6f72796d6f6e69746f72766d31\n",
    # Lingering: the user manager of `tester` starts at boot.
    "var/lib/systemd/linger/tester": "",
    "etc/systemd/system/vm-job.service": """\
[Unit]
Description=The job that this machine was booted for
After=multi-user.target user@1000.service
Wants=user@1000.service
FailureAction=poweroff-force

[Service]
# Type=exec: with oneshot the job would be a part of booting, which then never ends.
Type=exec
ExecStart=/bin/sh -c 'tar -x -f /dev/vdb -C / --keep-directory-symlink && exec /bin/bash /srv/vm-job'
StandardOutput=file:/dev/ttyS1
StandardError=inherit
# A test may fill the memory: the kernel then has to leave the job itself alone, and systemd must
# not end it because a process of a test was killed.
OOMScoreAdjust=-900
OOMPolicy=continue
TasksMax=infinity
""",
}

MASKED_UNITS = (
    # The console is a log, nobody logs in there.
    *("serial-getty@ttyS0.service", "getty@tty1.service"),
    # Nothing but the tests should load the machine.
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service"),
    # No test needs these, and starting a process takes half a second here.
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount"),
    *("sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount", "modprobe@drm.service"),
    *("modprobe@fuse.service", "modprobe@efi_pstore.service", "systemd-pstore.service"),
    *("systemd-binfmt.service", "systemd-sysusers.service", "systemd-random-seed.service"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"),
    *("systemd-remount-fs.service",),
)

MASKED_GENERATORS = (
    *("cryptsetup", "debug", "fstab", "getty", "gpt-auto", "hibernate-resume", "integritysetup"),
    *("rc-local", "run", "ssh", "system-update", "sysv", "tpm2", "veritysetup"),
)
"""All that Debian 12 and 13 have: each is a process at each of 20 `systemctl daemon-reload`."""

LINKS = {
    **{f"etc/systemd/system/{unit}": "/dev/null" for unit in MASKED_UNITS},
    **{f"etc/systemd/system-generators/systemd-{name}-generator": "/dev/null" for name in MASKED_GENERATORS},
    "etc/systemd/system/multi-user.target.wants/vm-job.service": "../vm-job.service",
}

# Run in the root directory as its root.
COMMANDS = (
    ("useradd", "--create-home", "--uid", "1000", "--shell", "/bin/bash", "tester"),
    # No index of all manual pages after each installation of a package: man-db does it where this file is.
    ("rm", "/var/lib/man-db/auto-update"),
    # Nothing is new since the packages were installed: no caches to be made anew at each boot.
    ("touch", "/etc/.updated", "/var/.updated"),
)

_CONTAINER_UNITS = r".*/\(docker\|containerd\|podman\|apparmor\).*"
CONTAINER_COMMANDS = (
    # Their services aren't started at each boot: that is a minute here, and only one page is about them.
    ("find", "/etc/systemd/system", "-type", "l", "-regex", _CONTAINER_UNITS, "-delete"),
)

PROMETHEUS_COMMANDS = (
    # As these: only the tests of one page are about them.
    ("find", "/etc/systemd/system", "-type", "l", "-name", "prometheus*.service", "-delete"),
)

# Sparse: the image takes on disk what is in it, about half a GiB.
IMAGE_SIZE = "3G"


class BuildError(Exception):
    """The image can't be built; the message is one line, or one line and a tool's last lines."""


# mmdebstrap mounts /proc, /sys and /dev in the root that it makes. Should it be ended in the middle, these
# must be gone before the root is removed: in namespaces of its own they end with it, and so do its children.
# setpriv: also if this program is killed.
IN_NAMESPACES_OF_ITS_OWN = (
    *("setpriv", "--pdeathsig=KILL", "--"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
)


@dataclass(frozen=True, slots=True)
class Image:
    """What a machine boots from, as paths on the host."""

    root: Path
    kernel: Path
    initrd: Path


def recipe_hash(suite: str) -> str:
    """Names what is in an image of `suite`: it changes when anything above changes."""
    recipe = (suite, packages_of(suite), EARLY_FILES, FILES, LINKS, commands_of(suite), IMAGE_SIZE)
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]


def packages_of(suite: str) -> tuple[str, ...]:
    """The packages in an image of a suite or of a variant of it."""
    return PACKAGES + VARIANTS[suite]


def commands_of(suite: str) -> tuple[tuple[str, ...], ...]:
    """What is run in the root of an image of a suite or of a variant of it."""
    has = set(packages_of(suite))
    containers = CONTAINER_COMMANDS if set(FOR_CONTAINERS) <= has else ()
    return COMMANDS + containers + (PROMETHEUS_COMMANDS if set(FOR_PROMETHEUS) <= has else ())


def image_for(suite: str, cache: Path) -> Image:
    """Gives the image of `suite`, building it if the cache has none for the present recipe.

    Images of older recipes of the suite are removed. Raises BuildError.
    """
    directory = cache / f"{suite}-{recipe_hash(suite)}"
    with _only_one_builder(suite, cache):
        if not directory.exists():
            for outdated in cache.glob(f"*{suite}-*/"):
                shutil.rmtree(outdated)
            _build(suite, directory)
    return Image(directory / "root.ext4", directory / "vmlinuz", directory / "initrd.img")


@contextmanager
def _only_one_builder(suite: str, cache: Path) -> Iterator[None]:
    cache.mkdir(exist_ok=True)
    with (cache / f"{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(suite: str, directory: Path) -> None:
    if os.geteuid() != 0:
        raise BuildError("building the image needs root, once: run this with sudo")
    print(f"building the Debian {suite} image in {directory}, once (minutes)", file=sys.stderr)
    # Renamed when complete: an interrupted build leaves nothing that looks like an image.
    with tempfile.TemporaryDirectory(prefix=f"building-{suite}-", dir=directory.parent) as work:
        root, image = Path(work, "root"), Path(work, "image")
        image.mkdir()
        _make_root(suite, root)
        _configure(suite, root)
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy(root / name, image / name)
        size = ("-d", str(root), str(image / "root.ext4"), IMAGE_SIZE)
        _run("mke2fs", "-q", "-t", "ext4", *size)
        image.rename(directory)


def _make_root(suite: str, root: Path) -> None:
    with tempfile.TemporaryDirectory() as early:
        # sync-in gives `/` the mode of the directory that it copies.
        Path(early).chmod(0o755)
        _write_files(Path(early), EARLY_FILES)
        _run(
            *IN_NAMESPACES_OF_ITS_OWN,
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            f"--include={','.join(packages_of(suite))}",
            f"--essential-hook=sync-in {early} /",
            suite.partition("+")[0],
            str(root),
        )


def _configure(suite: str, root: Path) -> None:
    for command in commands_of(suite):
        _run("chroot", str(root), *command)
    _write_files(root, FILES)
    for name, target in LINKS.items():
        link = root / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)


def _write_files(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _run(*command: str) -> None:
    """Runs a tool silently; its last lines are shown if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        last_lines = "\n".join(done.stdout.splitlines()[-15:])
        raise BuildError(f"{command[0]} failed with status {done.returncode}:\n{last_lines}")
