"""What start-up alone needs isn't kept, and is there again for whoever asks."""

import subprocess
import sys

PARSERS = ("argparse", "gettext", "shutil", "memmon_systemd.arguments")


def loaded_after(code: str) -> set[str]:
    """The modules that a new interpreter has loaded after running the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_the_parser_is_gone_once_the_arguments_are_settings() -> None:
    parse = "from memmon_systemd.cli import _parsed; _parsed(['-m', '5', 'x'])"
    assert not loaded_after(f"{parse}; import memmon_systemd.app") & set(PARSERS)


if sys.version_info < (3, 13):  # Since then dataclasses needs it for every class.

    def test_dataclasses_come_without_inspect() -> None:
        assert not loaded_after("import memmon_systemd.app") & {"inspect", "ast", "dis"}


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
