"""Memory that only start-up needs: not taken, or given back for what comes next.

Measured on CPython 3.11.2, Debian 12, as anonymous memory of the process: `dataclasses` 1.9 MB, of which
`inspect` (with ast, dis, tokenize) 1.3 MB, only to write a docstring where a class has none; the parser of
the command line 1.1 MB.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType

_OF_INSPECT = ("inspect", "ast", "dis", "opcode", "_opcode_metadata", "tokenize", "token", "linecache")


class _Later(ModuleType):
    """A module that is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(import_module(self.__name__), name)


def import_without(absent: str, module: str) -> None:
    """Import a module whose import of another one waits until something of that is asked for."""
    if module in sys.modules or absent in sys.modules:
        return
    sys.modules[absent] = _Later(absent)
    try:
        import_module(module)
    finally:
        del sys.modules[absent]


def forget_inspect() -> None:
    """Give back `inspect` where `dataclasses` has imported it: all classes are made (3.13: 1.3 MB)."""
    dataclasses = sys.modules["dataclasses"]
    if isinstance(vars(dataclasses).get("inspect"), _Later):
        return
    vars(dataclasses)["inspect"] = _Later("inspect")
    forget(_OF_INSPECT)


def forget(modules: Iterable[str]) -> None:
    """Give back the memory of modules that nothing else holds; they can be imported again."""
    for name in modules:
        sys.modules.pop(name, None)
        package, _, child = name.rpartition(".")
        if package:
            vars(sys.modules[package]).pop(child, None)
    gc.collect()
