"""What start-up alone needs isn't kept, and is there again for whoever asks."""

import os
import subprocess
import sys
from pathlib import Path

PARSERS = ("argparse", "gettext", "shutil", "memmon_systemd.arguments")


def loaded_after(code: str, environment: dict[str, str] | None = None) -> set[str]:
    """The words that the code prints in a new interpreter, and the modules that this has loaded then."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return set(done.stdout.split())


def test_the_parser_is_gone_once_the_arguments_are_settings() -> None:
    parse = "from memmon_systemd.cli import _parsed; _parsed(['-m', '5', 'x'])"
    assert not loaded_after(f"{parse}; import memmon_systemd.app") & set(PARSERS)


if sys.version_info < (3, 13):  # Since then dataclasses needs it for every class.

    def test_dataclasses_come_without_inspect() -> None:
        assert not loaded_after("import memmon_systemd.app") & {"inspect", "ast", "dis"}

    def test_the_classes_of_ast_are_not_made(tmp_path: Path) -> None:
        code = """\
from memmon_systemd.cli import _parsed
_parsed(["-m", "5", "x"])
import memmon_systemd.app, memmon_systemd.units.watch, memmon_systemd.resident.warmup
import gc
print(*(kind for kind in gc.get_objects() if isinstance(kind, type) and kind.__module__ == "ast"))
"""
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": os.fspath(tmp_path)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        loaded_after(code, environment)  # To compile a module makes them as well.
        assert not [word for word in loaded_after(code, environment) if word.startswith("'ast.")]


def test_inspect_is_given_back_and_dataclasses_finds_it_again() -> None:
    code = """\
import memmon_systemd.app, dataclasses
from memmon_systemd.imports import forget_inspect
forget_inspect()
import sys
assert not sys.modules.keys() & {"inspect", "ast", "dis"}
Later = dataclasses.make_dataclass("Later", ["a", "b"])
assert Later.__doc__ == "Later(a: 'typing.Any', b: 'typing.Any')", Later.__doc__
"""
    assert "inspect" in loaded_after(code)
