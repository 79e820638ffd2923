"""The cache of compiled kernels on disk; if it cannot be used, kernels are compiled anew."""

import pickle
import warnings
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

from ..support.errors import DataWarning, UserError
from ..support.files import write_atomically
from ..support.terminal import step

_told = False


def compiled(**options: Any) -> Callable[[Callable], Any]:
    """Return a decorator, `numba.njit(nogil=True, **options)` with a cache that never fails."""

    def decorate(function: Callable) -> Any:
        kernel = numba.njit(nogil=True, **options)(function)
        try:
            kernel._cache = KernelCache(function)  # enable_caching() can only make numba's own
        except RuntimeError as error:  # numba finds no folder
            _tell(error)
        return kernel

    return decorate


class KernelCache(FunctionCache):
    """Numba's cache with a file for each signature, named by all that its code depends on.

    If it cannot be used, a kernel is compiled. With numba's own index, two processes that begin at
    the same time may mix up the code of two signatures.
    """

    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        self._cache_file: Any = self  # numba calls its `load` and `save`

    def load_overload(self, sig: Any, target_context: Any) -> Any | None:
        """Return the compiled function for a signature, or None."""
        kernel = None
        try:
            kernel = super().load_overload(sig, target_context)
        except Exception as error:  # whatever is wrong with the file, the kernel can be compiled
            _tell(error)

        if kernel is None:
            _announce()
        return kernel

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write a compiled function to the cache, if that is possible."""
        try:
            super().save_overload(sig, data)
        except (OSError, UserError) as error:
            _tell(error)

    def load(self, key: Any) -> Any | None:
        """Return the data that were saved under `key`, or None."""
        path = self._path(key)
        return pickle.loads(path.read_bytes()) if path.exists() else None

    def save(self, key: Any, data: Any) -> None:
        """Write `data` under `key`: whole, or not at all."""
        write_atomically(self._path(key), dumps(data))

    def _path(self, key: Any) -> Path:
        digest = sha256(repr((numba.__version__, _stamps(), key)).encode()).hexdigest()
        return Path(self.cache_path) / f"{self._impl.filename_base}.{digest[:16]}.nbc"


@cache
def _stamps() -> list[tuple[str, int, int]]:
    """Return name, time and size of the files here: kernels have functions of several files."""
    beside = sorted(Path(__file__).parent.glob("*.py"))
    return [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in beside]


@cache
def _announce() -> None:
    """Say once per process that kernels are being compiled, which takes a while."""
    step("compiling kernels, once, which takes about half a minute")


def _tell(error: Exception) -> None:
    """Warn once in a process that the cache cannot be used, and why."""
    global _told
    if not _told:
        _told = True
        warnings.warn(
            "the sparse kernels are compiled now, as their cache cannot be used "
            f"({str(error).splitlines()[0]}): set NUMBA_CACHE_DIR to a folder that can be written, "
            "to do this only once",
            DataWarning,
            stacklevel=2,
        )
