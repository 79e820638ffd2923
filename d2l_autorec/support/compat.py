"""What MXNet 1.9.1 and d2l 0.17 expect of libraries that have moved on.

`install` arranges that each gets it when it is imported, whoever imports it. Nothing is loaded
before, and other libraries find what they are used to.
"""

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

# What MXNet imports for its quantization, downloads and converter, and no training uses:
# together they take longer to load than MXNet itself.
UNUSED = ("onnx", "requests", "scipy.stats")


def install() -> None:
    """Prepare every later import of MXNet and of d2l's MXNet version."""
    sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Find the modules of `_PREPARED`, and prepare what they import."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the spec of a module to prepare, None for all others."""
        if name not in _PREPARED:
            return None

        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None

        execute = spec.loader.exec_module

        def execute_prepared(module: ModuleType) -> None:
            with _PREPARED[name]():
                execute(module)

        spec.loader.exec_module = execute_prepared  # type: ignore[method-assign]
        return spec


@contextmanager
def _for_mxnet() -> Iterator[None]:
    import numpy

    # NumPy 1.24 removed this alias of Python's bool; MXNet's arrays use it whenever they compare.
    vars(numpy).setdefault("bool", bool)

    # Python 3.12 is without distutils, and setuptools' own loads all of setuptools. MXNet
    # compares NumPy's version by it, nothing else.
    version = ModuleType("distutils.version")
    vars(version).update(LooseVersion=_numbers, StrictVersion=_numbers)
    stand_ins: dict[str, Any] = {"distutils": ModuleType("distutils"), version.__name__: version}
    stand_ins |= {name: _Deferred(name) for name in UNUSED if importlib.util.find_spec(name)}

    # Scikit-learn is the base of a class that MXNet itself calls deprecated, where it is
    # installed, and takes a second to load. None: it cannot be imported.
    stand_ins["sklearn.base"] = None

    with _in_place(stand_ins):
        yield


def _for_d2l() -> AbstractContextManager[None]:
    from IPython import display
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    # IPython 9.16 took it away; d2l's figures ask for it.
    vars(display).setdefault("set_matplotlib_formats", set_matplotlib_formats)

    return nullcontext()


_PREPARED: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "mxnet": _for_mxnet,
    "d2l.mxnet": _for_d2l,
}


def _numbers(version: str) -> list[int]:
    """Return the numbers of a version, which compare as versions do."""
    return [int(number) for number in re.findall(r"\d+", version)]


class _Deferred(ModuleType):
    """Stand for a module, and load it when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name == "__spec__":  # the import system asks every module
            raise AttributeError(name)

        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _in_place(stand_ins: dict[str, Any]) -> Iterator[None]:
    """Put modules in place of those that are not loaded yet, until the block ends."""
    added = {name: module for name, module in stand_ins.items() if name not in sys.modules}
    sys.modules.update(added)

    try:
        yield
    finally:
        for name, module in added.items():
            if sys.modules.get(name) is module:
                sys.modules.pop(name, None)
