"""The Debian package: what it brings, and what its coming, its upgrade and its going do to what runs."""

import gzip
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import Service, journal, properties_of, property_of, run

DEB = Path("/srv/memory-monitor.deb")
DOCS = Path(__file__).parents[2] / "docs"
SETTINGS = Path("/etc/memory-monitor/packaged.conf")
WANTED = Path("/etc/systemd/system/packaged.service.wants/memory-monitor@packaged.service")
MONITOR = "memory-monitor@packaged.service"
LET_ALONE = "memory-monitor@let-alone.service"
AS_TESTER = ("runuser", "-u", "tester", "--", "env", "XDG_RUNTIME_DIR=/run/user/1000")
COMPLETION = "/usr/share/bash-completion/completions/memory-monitor"


def install() -> None:
    run("dpkg", "--install", str(DEB))


@pytest.fixture(scope="module", autouse=True)
def installed_again() -> Iterator[None]:
    """What comes after these tests needs the package as it was."""
    yield
    install()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """packaged.service, with settings that an admin has made for its monitor."""
    SETTINGS.parent.mkdir(exist_ok=True)
    SETTINGS.write_text("MAX_MEMORY=30\n")
    with Service("packaged.service") as service:
        yield service
    SETTINGS.unlink()


@pytest.fixture
def monitored(service: Service) -> Service:
    """The service with its monitor enabled and running, whatever an earlier test has left."""
    if not Path("/usr/bin/memory-monitor").exists():
        install()
    if not WANTED.exists() or property_of(MONITOR, "ActiveState") != "active":
        run("systemctl", "enable", "--now", MONITOR)
    return service


def test_it_brings_the_command_the_units_the_pages_and_the_completions() -> None:
    files = set(run("dpkg-query", "--listfiles", "memory-monitor").splitlines())
    assert files >= {
        "/usr/bin/memory-monitor",
        "/usr/bin/memmonctl",
        "/etc/memory-monitor",
        "/usr/lib/systemd/system/memory-monitor@.service",
        "/usr/lib/systemd/user/memory-monitor@.service",
        "/usr/lib/systemd/catalog/memory-monitor.catalog",
        "/usr/share/man/man1/memory-monitor.1.gz",
        "/usr/share/man/man1/memmonctl.1.gz",
        "/usr/share/man/man5/memory-monitor.unit.5.gz",
        "/usr/share/man/man8/memory-monitor@.service.8.gz",
        COMPLETION,
        "/usr/share/zsh/vendor-completions/_memory-monitor",
        "/usr/share/bash-completion/completions/memmonctl",
        "/usr/share/zsh/vendor-completions/_memmonctl",
        "/usr/share/doc/memory-monitor/copyright",
        "/usr/share/doc/memory-monitor/changelog.gz",
        "/usr/share/doc/memory-monitor/check.md.gz",
        "/usr/share/doc/memory-monitor/examples/example.conf",
        "/usr/share/doc/memory-monitor/examples/unprivileged.conf",
        "/usr/share/doc/memory-monitor/examples/memory-monitor.rules",
    }
    assert run("dpkg", "--verify", "memory-monitor") == ""
    version = run("dpkg-query", "--show", "--showformat=${source:Upstream-Version}", "memory-monitor")
    assert run("memory-monitor", "--version") == f"memory-monitor {version}"


def test_it_brings_every_page_of_docs_as_it_is() -> None:
    pages = sorted(DOCS.rglob("*.md"))
    assert len(pages) >= 10
    for page in pages:
        shipped = Path("/usr/share/doc/memory-monitor") / page.relative_to(DOCS)
        # Those of more than 4 KiB are compressed, as Debian's policy has it.
        compressed = shipped.with_name(f"{shipped.name}.gz")
        text = gzip.decompress(compressed.read_bytes()) if compressed.exists() else shipped.read_bytes()
        assert text == page.read_bytes(), page


def test_nothing_is_enabled_by_it() -> None:
    listed = ("systemctl", "list-unit-files", "--no-legend", "memory-monitor@*.service")
    assert run(*listed).split()[:2] == ["memory-monitor@.service", "disabled"]
    assert run("find", "/etc/systemd", "-name", "memory-monitor*") == ""


@pytest.mark.parametrize(
    "verify",
    [
        ("systemd-analyze", "verify"),
        (*AS_TESTER, "systemd-analyze", "--user", "verify"),
    ],
    ids=["system", "user"],
)
def test_systemd_finds_no_fault_with_its_units_and_the_pages_that_they_name(verify: tuple[str, ...]) -> None:
    command = (*verify, "--man=yes", "memory-monitor@any.service")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "page", ["memory-monitor.1", "memmonctl.1", "memory-monitor.unit.5", "memory-monitor@.service.8"]
)
def test_its_manual_pages_render_without_a_warning(page: str) -> None:
    name, _, number = page.rpartition(".")
    rendering = ("man", "--warnings", "--encoding=UTF-8", number, name)
    done = subprocess.run(rendering, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    text = re.sub(".\b", "", done.stdout)
    assert f"{name} - " in text
    assert "SEE ALSO" in text


def test_bash_completes_the_units_that_run() -> None:
    with Service("completed@1.service"):
        script = f"""
            . {COMPLETION}
            COMP_LINE='memory-monitor -m 5 complet' COMP_POINT=27
            _memory_monitor memory-monitor complet 5
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        assert run("bash", "-c", script) == "completed@1.service"


def newer_package(directory: Path) -> Path:
    """The same package as version 99, whose command and unit say so."""
    tree = directory / "tree"
    run("dpkg-deb", "--raw-extract", str(DEB), str(tree))
    for file, old, new in (
        (tree / "DEBIAN/control", r"^Version: .*$", "Version: 99-1"),
        (
            tree / "usr/lib/python3/dist-packages/memmon_systemd/__init__.py",
            r"^__version__ = .*$",
            '__version__ = "99"',
        ),
        (tree / "usr/lib/systemd/system/memory-monitor@.service", r"^(Description=.*)$", r"\1, version 99"),
    ):
        text, count = re.subn(old, new, file.read_text(), flags=re.MULTILINE)
        assert count == 1
        file.write_text(text)
    newer = directory / "newer.deb"
    run("dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(newer))
    return newer


def test_an_upgrade_restarts_the_instances_that_run_and_starts_no_other(
    monitored: Service, tmp_path: Path
) -> None:
    with Service("let-alone.service"):
        # Known to systemd and not running: its admin has stopped it.
        run("systemctl", "enable", "--runtime", LET_ALONE)
        before = property_of(MONITOR, "MainPID")
        run("dpkg", "--install", str(newer_package(tmp_path)))
        assert properties_of(MONITOR, "ActiveState", "NeedDaemonReload", "Description") == {
            "ActiveState": "active",
            "NeedDaemonReload": "no",
            "Description": "Memory monitor of packaged.service, version 99",
        }
        pid = property_of(MONITOR, "MainPID")
        assert pid != before
        assert any("memory-monitor 99: " in str(entry["MESSAGE"]) for entry in journal(f"_PID={pid}"))
        assert property_of(LET_ALONE, "ActiveState") == "inactive"
        assert journal(f"--unit={LET_ALONE}") == []
        run("systemctl", "disable", "--runtime", LET_ALONE)
    assert monitored.said == ["started"]


def test_it_can_be_upgraded_and_removed_while_a_target_is_above_its_threshold(
    monitored: Service, tmp_path: Path
) -> None:
    with Service("packaged-2.service", "ignore", "grow 40") as above:
        instance = "memory-monitor@packaged-2.service"
        settings = SETTINGS.with_name("packaged-2.conf")
        settings.write_text("MAX_MEMORY=30\nOPTIONS=--repeat 1s\n")
        run("systemctl", "start", instance)
        above.wait_for("SIGTERM")
        before = property_of(instance, "MainPID")
        run("dpkg", "--install", str(newer_package(tmp_path)))
        assert property_of(instance, "MainPID") != before
        above.wait_for("SIGTERM", above.said.count("SIGTERM") + 2)
        run("dpkg", "--remove", "memory-monitor")
        asked = above.said.count("SIGTERM")
        assert property_of(instance, "ActiveState") == "inactive"
        assert property_of(above.unit, "ActiveState") == "active"
        install()
        run("systemctl", "start", instance)
        above.wait_for("SIGTERM", asked + 1)
        run("dpkg", "--purge", "memory-monitor")
        assert properties_of(instance, "ActiveState", "LoadState") == {
            "ActiveState": "inactive",
            "LoadState": "not-found",
        }
        assert property_of(above.unit, "ActiveState") == "active"
        settings.unlink()
    assert monitored.said == ["started"]


@pytest.mark.usefixtures("monitored")
def test_removed_it_stops_its_instances_and_keeps_what_an_admin_has_set() -> None:
    run("dpkg", "--remove", "memory-monitor")
    assert property_of(MONITOR, "ActiveState") == "inactive"
    assert not Path("/usr/bin/memory-monitor").exists()
    assert SETTINGS.read_text() == "MAX_MEMORY=30\n"
    # Installed again, everything is as it was.
    assert WANTED.is_symlink()
    install()
    run("systemctl", "start", MONITOR)
    assert property_of(MONITOR, "ActiveState") == "active"


@pytest.mark.usefixtures("monitored")
def test_purged_it_leaves_nothing_but_the_files_of_an_admin_and_dpkg_says_so() -> None:
    purge = ("dpkg", "--purge", "memory-monitor")
    purged = subprocess.run(purge, capture_output=True, text=True, check=False)
    assert purged.returncode == 0
    assert "directory '/etc/memory-monitor' not empty so not removed" in purged.stderr
    gone = {"ActiveState": "inactive", "LoadState": "not-found"}
    assert properties_of(MONITOR, "ActiveState", "LoadState") == gone
    names = ("-path", "*memory-monitor*", "-o", "-path", "*memory_monitor*", "-o", "-path", "*memmon*")
    left = run("find", "/etc", "/usr", "/var/lib", *names).splitlines()
    assert sorted(left) == [str(SETTINGS.parent), str(SETTINGS)]
