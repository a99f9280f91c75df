"""Memory that only start-up needs: not taken, or given back for what comes next.

Measured on CPython 3.11.2, Debian 12, as anonymous memory of the process: `dataclasses` 1.9 MB, of which
`inspect` (with ast, dis, tokenize) 1.3 MB, only to write a docstring where a class has none; the parser of
the command line 1.1 MB.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from types import ModuleType

_OF_INSPECT = ("inspect", "ast", "dis", "opcode", "_opcode_metadata", "tokenize", "token", "linecache")


class _Later(ModuleType):
    """A module that is imported when something else of it is asked for than it is given."""

    def __init__(self, name: str, given: Mapping[str, object]) -> None:
        super().__init__(name)
        vars(self).update(given)

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(import_module(self.__name__), name)


def import_without(absent: Mapping[str, Mapping[str, object]], module: str) -> ModuleType:
    """Import a module whose imports of others wait until something of them is asked for.

    Names that it takes from them as it is imported, `from absent import name`, it is given: stand-ins.
    """
    later = {name: _Later(name, given) for name, given in absent.items() if name not in sys.modules}
    if module not in sys.modules:
        sys.modules.update(later)
    try:
        return import_module(module)
    finally:
        for name, stand_in in later.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]


def forget_inspect() -> None:
    """Give back `inspect` where `dataclasses` has imported it: all classes are made (3.13: 1.3 MB)."""
    dataclasses = sys.modules["dataclasses"]
    if isinstance(vars(dataclasses).get("inspect"), _Later):
        return
    vars(dataclasses)["inspect"] = _Later("inspect", {})
    forget(_OF_INSPECT)


def forget(modules: Iterable[str]) -> None:
    """Give back the memory of modules that nothing else holds; they can be imported again."""
    for name in modules:
        sys.modules.pop(name, None)
        package, _, child = name.rpartition(".")
        if package:
            vars(sys.modules[package]).pop(child, None)
    gc.collect()
