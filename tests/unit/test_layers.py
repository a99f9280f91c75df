"""Imports point down only: a stranger can read one folder without those above it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "memmon_systemd"
LAYERS = (
    ("errors", "formatting", "imports"),
    ("settings",),
    ("conf_file", "parsing", "linux", "output", "systemd"),
    ("nearest", "options"),
    ("argument_rules",),
    ("argv",),
    ("monitor",),
    ("pause_watch", "processes"),
    ("units",),
    ("names", "resident"),
    ("machine",),
    ("own_settings",),
    ("keeping", "sources"),
    ("arguments",),
    ("check",),
    ("app",),
    ("cli",),
    ("ctl",),
    ("__main__",),
)
"""From the lowest up; a part imports itself and what is below its line."""
OF_MONITOR = {"errors", "formatting", "settings", "output", "monitor"}
"""All that the loop and its decisions may know: no systemd, no /proc, no argv."""


def modules() -> list[str]:
    return sorted(
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    )


def imports_of(module: str) -> Iterator[str]:
    """What a module of the package imports of it, anywhere in its text, types included."""
    names = set(modules())
    for node in ast.walk(ast.parse((PACKAGE / module.replace(".", "/")).with_suffix(".py").read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [f"{node.module}.{alias.name}" for alias in node.names] + [str(node.module)]
        else:
            continue
        for name in found:
            inner = name.removeprefix("memmon_systemd.")
            if inner != name and inner in names:
                yield inner


def part_of(module: str) -> str:
    return module.partition(".")[0]


def height_of(module: str) -> int:
    (height,) = (height for height, parts in enumerate(LAYERS) if part_of(module) in parts)
    return height


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_its_own_folder_and_what_is_below(module: str) -> None:
    above = [
        name
        for name in imports_of(module)
        if part_of(name) != part_of(module) and height_of(name) >= height_of(module)
    ]
    assert not above


def test_the_monitor_knows_no_systemd_no_proc_and_no_argv() -> None:
    known = {
        part_of(name) for module in modules() if part_of(module) == "monitor" for name in imports_of(module)
    }
    assert "output" in known
    assert known <= OF_MONITOR


def test_only_the_command_opens_the_check() -> None:
    openers = {
        module
        for module in modules()
        if part_of(module) != "check" and any(part_of(name) == "check" for name in imports_of(module))
    }
    assert openers == {"app", "ctl.check", "ctl.evidence", "ctl.origin"}


def test_nothing_that_runs_the_monitor_opens_memmonctl() -> None:
    openers = {
        module
        for module in modules()
        if part_of(module) != "ctl" and any(part_of(name) == "ctl" for name in imports_of(module))
    }
    assert not openers


def test_no_two_modules_need_each_other() -> None:
    waiting = {module: set(imports_of(module)) - {module} for module in modules()}
    while free := [module for module, needs in waiting.items() if not needs & waiting.keys()]:
        for module in free:
            del waiting[module]
    assert not waiting, "these import each other, or what does"
