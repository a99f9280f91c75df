"""docs/recipes/containers.md: podman and Docker; Quadlet where podman has it (Debian 13)."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from kit import eventually, run
from recipes.container import has_quadlet, image_tar, start_docker
from recipes.page import File, Page, install, install_app, shown
from recipes.service import DEADLINE_S, Recipe, assert_page_shows_this_run, forget_log

PAGE: Final = Page("recipes/containers.md")
WORKER: Final = Recipe("worker")
DIRECTORY: Final = Path("/srv/worker")
SERVICE: Final = Path("/etc/systemd/system/worker.service")
QUADLET: Final = Path("/etc/containers/systemd/worker.container")
IMAGE: Final = "localhost/worker"
PODMAN_LOG: Final = "journalctl --no-hostname -u worker"
DOCKER_LOG: Final = "journalctl --no-hostname -u 'docker-*.scope'"
USER: Final = ("runuser", "-u", "tester", "--", "env", "-C", "/home/tester", "XDG_RUNTIME_DIR=/run/user/1000")
CONFIG: Final = "/home/tester/.config"


@pytest.fixture(scope="module")
def image() -> Path:
    """The root of a container, and the program, which doesn't leak yet."""
    install_app("worker.py", str(DIRECTORY))
    leak(0)
    return image_tar()


@pytest.fixture(scope="module")
def podman(image: Path) -> None:
    """Podman has the image."""
    run("podman", "import", str(image), IMAGE)
    install(PAGE.file("/etc/memory-monitor/worker.conf"))


def leak(mib: int) -> None:
    """How much the worker leaks from now on in each job."""
    Path(DIRECTORY, "leak").write_text(str(mib))


@contextmanager
def installed(file: File) -> Iterator[None]:
    """A service of the page, for the time of a test: they have one name."""
    install(file)
    try:
        yield
    finally:
        Path(file.path).unlink()
        run("systemctl", "daemon-reload")


def found(*arguments: str, prefix: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """The findings of `--check` by their ids."""
    command = (*prefix, "memory-monitor", "--check", "--json", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    ((target,),) = [name["targets"] for name in json.loads(done.stdout)["names"]]
    return {finding["id"]: finding for finding in target["findings"]}


def assert_it_is_asked_and_comes_back() -> None:
    """The worker leaks until it is asked, and finishes what it does."""
    WORKER.wait_until_measured()
    before = WORKER.main_process()
    leak(40)
    try:
        WORKER.wait_until_says(": signalled: ")
    finally:
        leak(0)
    WORKER.wait_until_says("the job at hand is finished")
    WORKER.wait_for_another(before)
    WORKER.wait_until_ok()


@pytest.mark.skipif(not has_quadlet(), reason="podman is older than 4.4")
@pytest.mark.usefixtures("podman")
def test_quadlet_has_the_container_in_the_service() -> None:
    with installed(PAGE.file(str(QUADLET))), WORKER.running():
        assert_it_is_asked_and_comes_back()
        assert_page_shows_this_run(PAGE, PODMAN_LOG)


@pytest.mark.usefixtures("podman")
def test_split_cgroups_have_the_container_in_the_service() -> None:
    with installed(PAGE.file(str(SERVICE))), WORKER.running():
        assert_it_is_asked_and_comes_back()


@pytest.mark.usefixtures("podman")
def test_a_signal_that_conmon_keeps_is_found() -> None:
    with installed(PAGE.file(str(SERVICE))):
        run("systemctl", "start", WORKER.unit)
        try:
            (wrong,) = found("-m", "80%", "-s", "SIGUSR1", "worker").keys() & {"signal-not-forwarded"}
            print(wrong)
            assert "signal-not-forwarded" not in found("-m", "80%", "worker")
            before = WORKER.main_process()
            run("systemctl", "kill", "--signal=SIGUSR1", "--kill-whom=main", WORKER.unit)
            assert WORKER.main_process() == before
        finally:
            run("systemctl", "stop", WORKER.unit)


@pytest.mark.usefixtures("podman")
def test_what_podman_generates_has_it_elsewhere_until_one_option_is_changed() -> None:
    command = ("python3", f"{DIRECTORY}/worker.py", f"{DIRECTORY}/leak")
    volume = f"{DIRECTORY}:{DIRECTORY}"
    run("podman", "create", "--name=worker", "--network=none", "-v", volume, IMAGE, *command)
    text = run("podman", "generate", "systemd", "--new", "--restart-policy=always", "--name", "worker")
    run("podman", "rm", "worker")
    with installed(File(str(SERVICE), text)):
        run("systemctl", "start", WORKER.unit)
        elsewhere = found("-m", "80%", "worker")["payload-elsewhere"]
        run("systemctl", "stop", WORKER.unit)
        assert "--cgroups=split" in elsewhere["remedy"]["advice"]
        assert "--cgroups=no-conmon" in text
        changed = text.replace("--cgroups=no-conmon", "--cgroups=split").replace(
            "[Service]", "[Service]\nDelegate=yes\nMemoryMax=600M"
        )
        install(File(str(SERVICE), changed))
        with WORKER.running():
            # Its ExecStop= is podman's, which stops the container as the signal does.
            assert "ExecStop=" in text
            assert {one["level"] for one in found("-m", "80%", "worker").values()} <= {"note"}
            assert_it_is_asked_and_comes_back()


@contextmanager
def glob_of_docker_is_monitored() -> Iterator[None]:
    """The monitor of the page."""
    install(*(file for file in PAGE.files if "docker" in file.path))
    forget_log()
    run("systemctl", "enable", "--runtime", "--now", "memory-monitor@docker.service")
    try:
        yield
    finally:
        run("systemctl", "disable", "--runtime", "--now", "memory-monitor@docker.service")


def docker_log() -> list[str]:
    """What the page shows."""
    return shown(DOCKER_LOG)


def wait_for(log: Callable[[], list[str]], words: str, count: int = 1) -> None:
    """Waits until so many lines of a log have these words."""

    def is_there() -> bool:
        return len([line for line in log() if words in line]) >= count

    eventually(is_there, words, DEADLINE_S, lambda: "\n".join(log()))


def test_dockers_containers_are_monitored_by_their_scopes(image: Path) -> None:
    start_docker()
    run("docker", "import", str(image), "worker")
    (command,) = (block for block in PAGE.blocks if block.startswith("docker run "))
    run("sh", "-c", command)
    try:
        findings = found("-m", "80%", "docker-*.scope")
        assert "no-restart" in findings
        assert {finding["level"] for finding in findings.values()} == {"note"}
        with glob_of_docker_is_monitored():
            wait_for(docker_log, ": ok: ")
            leak(40)
            wait_for(docker_log, ": signalled: ")
            leak(0)
            wait_for(docker_log, "; systemd doesn't start scopes again")
            wait_for(docker_log, ": ok: ", 2)
            print("", *docker_log(), sep="\n")
        run("docker", "logs", "worker")
    finally:
        leak(0)
        run("docker", "rm", "--force", "worker")


def user_log() -> list[str]:
    """That of the user's worker and its monitor."""
    return run(
        *USER, "journalctl", "--user", "--no-hostname", "-u", "worker", "-u", "memory-monitor@worker"
    ).splitlines()


def test_without_root_it_is_the_same(image: Path) -> None:
    """The service without Quadlet, which both versions of podman can run."""
    # As on a machine that was installed as usual: the journal is kept, and each user can read the own.
    Path("/var/log/journal").mkdir(exist_ok=True)
    run("journalctl", "--flush")
    run(*USER, "podman", "import", str(image), IMAGE)
    files = (PAGE.file(str(SERVICE)), PAGE.file("/etc/memory-monitor/worker.conf"))
    places = (
        "/home/tester/.config/systemd/user/worker.service",
        "/home/tester/.config/memory-monitor/worker.conf",
    )
    install(*(File(place, file.text) for place, file in zip(places, files, strict=True)))
    run("chown", "-R", "tester:", "/home/tester/.config")
    run(*USER, "systemctl", "--user", "daemon-reload")
    run(*USER, "systemctl", "--user", "start", "worker")
    run(*USER, "memory-monitor", "--check", "--user", "-m", "80%", "worker")
    try:
        run(*USER, "systemctl", "--user", "start", "memory-monitor@worker")
        wait_for(user_log, ": ok: ")
        leak(40)
        wait_for(user_log, ": signalled: ")
        leak(0)
        wait_for(user_log, "the job at hand is finished")
        wait_for(user_log, ": ok: ", 2)
    finally:
        leak(0)
        run(*USER, "systemctl", "--user", "stop", "worker", "memory-monitor@worker")
