"""Arithmetic over observed entries only: the functions of `numba_kernels`, and their threads.

That module, and numba with it, is loaded when a function is first used, so that commands and
models that need no kernel start without it.
"""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ..support.errors import ConfigError

ACTIVATIONS = ("identity", "sigmoid", "tanh", "relu")  # the compiled steps know them by number
RULES = ("adam", "rprop")  # of updates; known by number, too

_threads: int | None = None
_kernels: ModuleType | None = None
_process = 0  # the process that loaded the kernels, and has their threads


def set_threads(count: int) -> None:
    """Divide columns among `count` threads from now on, in every thread of this process.

    The last bits of sums depend on this number alone: if numba began with fewer threads, each
    computes several shares.
    """
    global _threads
    _threads = count
    if _kernels is not None:
        _limit_pool(_kernels)


def threads() -> int:
    """Return how many shares columns are divided into: `set_threads`' number, or numba's."""
    return _threads or load().get_num_threads()


def load(name: str = "numba_kernels") -> ModuleType:
    """Import a module of compiled functions of this folder, once numba's threads are set.

    Raises
    ------
    ConfigError
        If this process was forked from one that had loaded it: it lacks GNU OpenMP's threads,
        and numba would end it.
    """
    global _kernels, _process
    if _kernels is None:
        _kernels = importlib.import_module(f"{__name__}.numba_kernels")
        _process = os.getpid()
        _kernels.get_num_threads()  # starts them
        _limit_pool(_kernels)

    if os.getpid() != _process:
        raise ConfigError(
            "this process was forked from one that has computed with the sparse kernels, whose "
            "threads it lacks: take multiprocessing.get_context('spawn').Pool, or compute here"
        )
    return importlib.import_module(f"{__name__}.{name}")


@contextmanager
def limited_to(count: int) -> Iterator[None]:
    """Let kernels that are called in the block use at most `count` threads."""
    module = load()
    before: int = module.get_num_threads()
    module.set_num_threads(min(count, before))

    try:
        yield
    finally:
        module.set_num_threads(before)


def _limit_pool(module: ModuleType) -> None:
    module.set_num_threads(min(threads(), module.config.NUMBA_NUM_THREADS))


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # Python looks for such names in a package
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    return getattr(load(), name)
