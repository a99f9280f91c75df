"""What is released has one version, and a tag that is another's releases nothing."""

import gzip
import io
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from memmon_systemd import __version__
from memmon_systemd.arguments import TextWanted, parse

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "packaging"))

import build_deb  # noqa: E402  # siblings of each other, not of this file
import release  # noqa: E402
import release_checks  # noqa: E402
from release_checks import ReleaseError  # noqa: E402

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
WORKFLOW = (ROOT / ".github" / "workflows" / "release.yml").read_text()
RULES = (ROOT / "packaging" / "debian" / "rules").read_text()
MANUAL_PAGES = sorted(path.name.removesuffix(".md") for path in (ROOT / "docs").glob("*.[1-8].md"))
DATED = CHANGELOG.replace("(not yet released)", "(2026-12-01)")


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "memmon_systemd.__version__"}
    folders = ("memmon_systemd", "packaging", "units", "completions", "deploy", "demo", ".ci", ".github")
    files = [
        path for folder in folders for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts
    ]
    files += [path for path in ROOT.glob("*") if path.name != "CHANGELOG.md"]
    says_it = [path for path in files if path.is_file() and __version__.encode() in path.read_bytes()]
    assert says_it == [ROOT / "memmon_systemd" / "__init__.py"]


def test_the_commands_and_the_debian_package_have_that_version() -> None:
    with pytest.raises(TextWanted) as said:
        parse(["--version"])
    assert str(said.value) == f"memory-monitor {__version__}\n"
    assert f"{__version__}-1" == build_deb.VERSION


def test_the_debian_changelog_is_written_with_that_version(tmp_path: Path) -> None:
    (tmp_path / "control").write_text("Source: x\nMaintainer: A <a@b>\n")
    build_deb.write_changelog(tmp_path, 0)
    assert (tmp_path / "changelog").read_text().startswith(f"memory-monitor ({__version__}-1) unstable;")


def test_every_manual_page_is_built_with_the_version_of_the_package_and_in_the_index() -> None:
    assert "-m 'source=memory-monitor $(DEB_VERSION_UPSTREAM)'" in RULES
    built = {f"{name}.{section}" for name, section in re.findall(r"\$\(call page,([^,]+),(\d),", RULES)}
    assert built == set(MANUAL_PAGES)
    (index,) = re.findall(r"^## Manual pages\n(.*?)^## ", (ROOT / "docs/README.md").read_text(), re.M | re.S)
    listed = re.findall(r"^\| \[(.*)\((\d)\)\]\((.*)\) \|", index, re.MULTILINE)
    assert [f"{name}.{section}.md" for name, section, _ in listed] == [page for _, _, page in listed]
    assert sorted(page.removesuffix(".md") for _, _, page in listed) == MANUAL_PAGES


def test_the_changelog_begins_with_that_version() -> None:
    assert release.check_changelog(__version__, CHANGELOG)[0] == __version__
    with pytest.raises(
        ReleaseError, match=rf"the first version is {re.escape(__version__)}, and .* says 9\.8\.7"
    ):
        release.check_changelog("9.8.7", CHANGELOG)


def test_the_tag_of_the_version_is_taken_once_the_changelog_has_its_date() -> None:
    release.check_tag(f"v{__version__}", __version__, DATED)
    undated = DATED.replace("(2026-12-01)", "(not yet released)")
    with pytest.raises(ReleaseError, match=r"\(not yet released\)': use the date"):
        release.check_tag(f"v{__version__}", __version__, undated)


@pytest.mark.parametrize(
    "tag", ["v9.8.7", __version__, f"V{__version__}", f"v{__version__}-rc1", f"v{__version__} "]
)
def test_another_tag_is_refused_before_anything_is_built(tag: str) -> None:
    command = [sys.executable, "packaging/release.py", tag]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    says = (
        f"release.py: tag {tag}: memmon_systemd/__init__.py says {__version__}: use the tag v{__version__}\n"
    )
    assert (done.stdout, done.stderr) == ("", says)


def test_the_workflow_builds_by_the_tag_with_what_can_be_run_by_hand_and_has_no_token() -> None:
    assert re.search(r'^on:\n  push:\n    tags: \["v\*"\]$', WORKFLOW, re.MULTILINE)
    assert "- run: make release\n        env:\n          TAG: ${{ github.ref_name }}\n" in WORKFLOW
    assert re.search(r"^permissions:\n  contents: read\n\n", WORKFLOW, re.MULTILINE)
    assert not re.search(r"secrets\.|github\.token|GITHUB_TOKEN|: write", WORKFLOW)
    assert 'packaging/release.py $${TAG:+"$$TAG"}' in (ROOT / "Makefile").read_text()


def wheel(directory: Path, version: str) -> None:
    with zipfile.ZipFile(directory / "a-1.whl", "w") as archive:
        archive.writestr("a-1.dist-info/METADATA", f"Name: a\nVersion: {version}\n")


def sdist(directory: Path, version: str, *files: str) -> None:
    with tarfile.open(directory / "a-1.tar.gz", "w:gz") as archive:
        for name, text in {"PKG-INFO": f"Version: {version}\n", **dict.fromkeys(files, "x")}.items():
            member = tarfile.TarInfo(f"a-1/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


def package(directory: Path, version: str, page_version: str) -> None:
    """A Debian package with a manual page, made by dpkg-deb."""
    tree = directory.parent / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: a\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@b>\nDescription: a\n"
    )
    page = tree / "usr/share/man/man1/a.1.gz"
    page.parent.mkdir(parents=True)
    page.write_bytes(
        gzip.compress(f'.TH "a" "1" "2026-11-28" "memory-monitor {page_version}" "U"\n'.encode())
    )
    command = (
        "dpkg-deb",
        "--root-owner-group",
        "--build",
        str(tree),
        str(directory / f"a_{version}_all.deb"),
    )
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.skipif(sys.platform != "linux", reason="dpkg-deb is on Debian")
@pytest.mark.parametrize(
    ("versions", "problem"),
    [
        (("1", "1", "1-1", "1"), None),
        (("2", "1", "1-1", "1"), "a-1.whl: METADATA says '2', and not '1'"),
        (("1", "2", "1-1", "1"), "a-1.tar.gz: PKG-INFO says '2', and not '1'"),
        (("1", "1", "2-1", "1"), "a_2-1_all.deb: Version says '2', and not '1'"),
        (("1", "1", "1-1", "2"), "man1/a.1.gz says 'memory-monitor 2', and not 'memory-monitor 1'"),
    ],
)
def test_files_of_another_version_are_not_released(
    tmp_path: Path, versions: tuple[str, str, str, str], problem: str | None
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    wheel(out, versions[0])
    sdist(out, versions[1])
    package(out, versions[2], versions[3])
    if problem is None:
        release_checks.check_artifacts(out, "1", {"PKG-INFO"})
        with pytest.raises(ReleaseError, match="units/a not in it"):
            release_checks.check_artifacts(out, "1", {"units/a"})
    else:
        with pytest.raises(ReleaseError, match=re.escape(problem)):
            release_checks.check_artifacts(out, "1", ())


def test_an_sdist_without_a_file_of_the_source_is_not_released(tmp_path: Path) -> None:
    sdist(tmp_path, "1", "units/a", "docs/b")
    path = tmp_path / "a-1.tar.gz"
    release_checks.check_complete(path, {"units/a", "docs/b", ".gitignore", ".github/x.yml"})
    with pytest.raises(ReleaseError, match=r"docs/c not in it: name them in MANIFEST\.in"):
        release_checks.check_complete(path, {"units/a", "docs/c"})


def test_an_sdist_does_not_say_when_and_by_whom_it_was_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "WORK", tmp_path)
    made = []
    for uid, files in ((1000, ("a", "b")), (0, ("b", "a"))):
        path = tmp_path / "x.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name in files:
                member = tarfile.TarInfo(name)
                member.uid, member.mtime, member.size = uid, uid, 1
                archive.addfile(member, io.BytesIO(name.encode()))
        release.make_reproducible(path, 1234567890)
        made.append(path.read_bytes())
        with tarfile.open(path) as archive:
            assert [(one.name, one.mtime, one.uname) for one in archive] == [
                *(("a", 1234567890, "root"), ("b", 1234567890, "root"))
            ]
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("component", "components", "problem"),
    [
        ({"name": "memory-monitor", "version": "1"}, {"psutil": "7", "pystemd": "0.15"}, None),
        ({"name": "memory-monitor"}, {"psutil": "7", "pystemd": "0.15"}, "metadata says 'memory-monitor '"),
        ({"name": "memory-monitor", "version": "1"}, {"psutil": "7"}, "pystemd not in it"),
    ],
)
def test_an_sbom_without_a_component_or_a_version_is_not_released(
    tmp_path: Path, component: dict[str, str], components: dict[str, str], problem: str | None
) -> None:
    sbom = tmp_path / "a.cdx.json"
    listed = [{"name": name, "version": version} for name, version in components.items()]
    sbom.write_text(json.dumps({"metadata": {"component": component}, "components": listed}))
    if problem is None:
        release_checks.check_sbom(sbom, "1")
    else:
        with pytest.raises(ReleaseError, match=re.escape(problem)):
            release_checks.check_sbom(sbom, "1")


def test_the_checksums_are_as_sha256sum_takes_them(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("b\n")
    (tmp_path / "a c").write_text("")
    assert release.write_checksums(tmp_path).read_text() == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a c\n"
        "0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f  b\n"
    )
