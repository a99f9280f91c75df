"""What is shipped beside the modules is in the Debian package and in the wheel."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "packaging" / "debian"
SHIPPED = [
    str(path.relative_to(ROOT))
    for top in ("units", "completions")
    for path in sorted((ROOT / top).rglob("*"))
    if path.is_file()
]


def is_matched(file: str, globs: list[str]) -> bool:
    return any(ROOT / file in ROOT.glob(glob) for glob in globs)


@pytest.mark.parametrize("file", SHIPPED)
def test_the_debian_package_has_it(file: str) -> None:
    installed = [line.split()[0] for line in (DEBIAN / "install").read_text().splitlines()]
    assert file in installed + (DEBIAN / "examples").read_text().splitlines()


def test_the_debian_package_has_every_page_of_docs_and_no_source_of_its_picture() -> None:
    # A directory is copied whole.
    entries = [path for line in (DEBIAN / "docs").read_text().splitlines() for path in ROOT.glob(line)]
    files = {file for path in entries for file in (path.rglob("*") if path.is_dir() else [path])}
    assert files == set((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("file", SHIPPED)
def test_the_wheel_has_it(file: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    directories = project["tool"]["setuptools"]["data-files"]
    places = [place for place, globs in directories.items() if is_matched(file, globs)]
    # Below share/memory-monitor it is where it is in the source.
    assert places == [f"share/memory-monitor/{Path(file).parent}"]


def test_the_package_of_the_exporter_has_its_units_the_rules_and_the_dashboard() -> None:
    exporter = ROOT / "exporter"
    lines = (DEBIAN / "memory-monitor-exporter.install").read_text().splitlines()
    installed = [line.split()[0] for line in lines]
    shipped = [path for top in ("units", "grafana") for path in (exporter / top).iterdir()]
    shipped.append(exporter / "prometheus" / "memory-monitor.rules.yml")
    assert sorted(installed) == sorted(str(path.relative_to(ROOT)) for path in shipped)


def test_the_paths_that_the_page_and_the_rules_name_are_those_of_the_package() -> None:
    lines = (DEBIAN / "memory-monitor-exporter.install").read_text().splitlines()
    places = {f"/{target}/{Path(source).name}" for source, target in map(str.split, lines)}
    texts = [ROOT / "docs" / name for name in ("prometheus.md", "memory-monitor-exporter.8.md")]
    texts.append(ROOT / "exporter" / "prometheus" / "memory-monitor.rules.yml")
    path = re.compile(r"/usr/share/memory-monitor-exporter/[\w./-]+\.(?:yml|json)")
    named = {found for text in texts for found in path.findall(text.read_text())}
    assert named
    assert named <= places


def test_the_port_is_the_same_everywhere() -> None:
    files = [
        *(ROOT / "docs" / name for name in ("prometheus.md", "memory-monitor-exporter.8.md")),
        ROOT / "exporter" / "units" / "memory-monitor-exporter.socket",
        ROOT / "exporter" / "memory_monitor_exporter" / "listening.py",
    ]
    for file in files:
        assert set(re.findall(r"\b1\d{4}\b", file.read_text())) == {"10893"}, file
