"""What MXNet 1.9.1 and d2l 0.17 expect of libraries that have changed since.

`install` arranges that both find it when they are imported, whoever imports them. Nothing is
loaded before that, and other libraries find what they are used to.
"""

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

# What MXNet imports for its quantization, downloads and converter, and no training uses:
# together they take longer to load than MXNet itself.
UNUSED = ("onnx", "requests", "scipy.stats")


def install() -> None:
    """Prepare every later import of MXNet and of d2l's MXNet version."""
    sys.meta_path.insert(0, _Finder())


class _Finder:  # without importlib.abc's base class, which takes longer to load than all of this
    """A finder of the modules in `_PREPARED` that prepares what they import."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the spec of a module to prepare, None for all others."""
        spec = PathFinder.find_spec(name, path, target) if name in _PREPARED else None
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

    # Python 3.12 has no distutils, and importing setuptools' copy loads all of setuptools. MXNet
    # uses it only to compare NumPy's version.
    version = ModuleType("distutils.version")
    vars(version).update(LooseVersion=_numbers, StrictVersion=_numbers)
    stand_ins: dict[str, Any] = {"distutils": ModuleType("distutils"), version.__name__: version}
    stand_ins |= {name: _Deferred(name) for name in UNUSED if importlib.util.find_spec(name)}

    # Where scikit-learn is installed, MXNet derives a class from it that MXNet itself calls
    # deprecated, and loading it takes a second. None makes its import fail.
    stand_ins["sklearn.base"] = None

    with _in_place(stand_ins):
        yield


@contextmanager
def _for_operators() -> Iterator[None]:
    """Let MXNet make the functions of its 2,600 operators at their first call, not at import.

    Their sources are written and compiled one by one, which took 1.1 s of 1.65.
    """
    yield

    base = vars(sys.modules["mxnet.base"])
    for name in ("_init_op_module", "_init_np_op_module"):
        base[name] = _making_late(base[name])


def _making_late(register: Callable[..., None]) -> Callable[..., None]:
    def register_late(*args: Any, **named: Any) -> None:
        *modules, make = *args, *named.values()
        register(*modules, lambda *operator: _late(make, *operator))

    return register_late


def _late(make: Callable[..., Callable], handle: Any, operator: str, name: str) -> Callable:
    """Return a stand-in for an operator's function, which `make` makes at the first call."""
    made = cache(lambda: make(handle, operator, name))

    def call(*args: Any, **named: Any) -> Any:
        return made()(*args, **named)

    call.__name__, call.__qualname__ = name, name
    call.__doc__ = f"MXNet's operator {operator}: mxnet.apache.org/versions/1.9.1/api has its text."
    return call


def _for_d2l() -> AbstractContextManager[None]:
    from IPython import display
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    # IPython 9.16 removed this function; d2l's figures call it.
    vars(display).setdefault("set_matplotlib_formats", set_matplotlib_formats)

    return nullcontext()


def _numbers(version: str) -> list[int]:
    """Return the numbers in a version's text; lists of them compare as versions do."""
    return [int(number) for number in re.findall(r"\d+", version)]


class _Deferred(ModuleType):
    """A stand-in for a module, which is loaded when one of its attributes is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name == "__spec__":  # the import system asks every module for it
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


_PREPARED: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "mxnet": _for_mxnet,
    "mxnet.base": _for_operators,
    "d2l.mxnet": _for_d2l,
    # it only asks whether this can be imported; products of matrices need it
    "numba.np.arraymath": lambda: _in_place({"scipy.linalg.cython_blas": ModuleType("blas")}),
}
