"""What a library imports and does not use is loaded when it is first used."""

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    """In the place of a module, which it loads when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name == "__spec__":  # the import system asks every module
            raise AttributeError(name)

        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def deferred(names: Sequence[str]) -> Iterator[None]:
    """What the block imports gets stand-ins for the modules `names`; later imports do not.

    Parameters
    ----------
    names : sequence of str
        Those that are loaded already or cannot be found stay as they are.
    """
    stand_ins = {}
    for name in names:
        if name not in sys.modules and importlib.util.find_spec(name) is not None:
            stand_ins[name] = _Deferred(name)
    sys.modules.update(stand_ins)

    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]


@contextmanager
def distutils_of_python() -> Iterator[None]:
    """What the block imports gets Python's own distutils.

    Setuptools gives its own instead, and loads all of itself for that: a tenth of the time that
    MXNet takes, which wants to compare two version numbers. Afterwards it is as if nothing had
    been imported, so that setuptools has nothing to warn of.
    """
    spec = PathFinder.find_spec("distutils")
    if "distutils" in sys.modules or spec is None or spec.loader is None:
        yield
        return

    module = importlib.util.module_from_spec(spec)
    sys.modules["distutils"] = module

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 is without it
            spec.loader.exec_module(module)
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "distutils"]:
            del sys.modules[name]
