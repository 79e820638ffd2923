"""Compiled kernels are kept on disk, where that can be done; where it cannot, they are compiled."""

import hashlib
import os
import pickle
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.serialize import dumps

from ..support.errors import DataWarning
from ..support.terminal import step

DIGEST_BYTES = hashlib.sha256().digest_size

_told = False
_announced = False


def compiled(**options: Any) -> Callable[[Callable], Any]:
    """`numba.njit(nogil=True, **options)`, with a cache that never fails."""

    def decorate(function: Callable) -> Any:
        kernel = numba.njit(nogil=True, **options)(function)
        settings: Any = numba.config  # a module that makes its names when it is loaded
        if settings.DISABLE_JIT:
            return kernel

        try:
            kernel._cache = KernelCache(function)  # enable_caching() can only make numba's own
        except Exception as error:  # numba finds no folder
            _tell(error)

        return kernel

    return decorate


class KernelCache(FunctionCache):
    """Numba's cache, without which a kernel is compiled: a read-only or full disk is no error."""

    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        locator = self._impl.locator
        folder = Path(locator.get_cache_path())
        about = repr((numba.__version__, _stamps(Path(function.__code__.co_filename))))

        self._cache_file = KernelFiles(folder, self._impl.filename_base, about)

    def load_overload(self, sig: Any, target_context: Any) -> Any | None:
        """The compiled function for a signature, or None."""
        try:
            kernel = super().load_overload(sig, target_context)
        except Exception as error:  # whatever is wrong with the file, the kernel can be compiled
            _tell(error)
            kernel = None

        if kernel is None:
            _announce()
        return kernel

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function, if that can be done."""
        try:
            super().save_overload(sig, data)
        except Exception as error:
            _tell(error)


def _stamps(source: Path) -> list[tuple[str, int, int]]:
    """What changes with a kernel's code: other files' functions can be compiled into it."""
    beside = sorted(source.parent.glob("*.py"))
    return [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in beside]


class KernelFiles(IndexDataCacheFile):
    """A file for each compiled function, named by all that it depends on, and with its digest.

    Numba's own files would run what a flipped bit made of the code, and two processes that begin
    together can exchange the code of two signatures.

    Parameters
    ----------
    folder : Path
    name : str
        Of the function.
    about : str
        What a compiled function depends on beside its key.
    """

    def __init__(self, folder: Path, name: str, about: str) -> None:
        super().__init__(str(folder), name, about)
        self._folder = folder
        self._name = name
        self._about = about

    def load(self, key: Any) -> Any | None:
        """What was saved under `key`, or None.

        Raises
        ------
        OSError, ValueError
            If the file cannot be read or is damaged.
        """
        path = self._path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None

        digest = content[:DIGEST_BYTES]
        code = content[DIGEST_BYTES:]
        if hashlib.sha256(code).digest() != digest:
            raise ValueError(f"{path} is damaged")

        return pickle.loads(code)

    def save(self, key: Any, data: Any) -> None:
        """Write `data` under `key`: whole, or not at all."""
        code = dumps(data)
        digest = hashlib.sha256(code).digest()
        handle, unfinished = tempfile.mkstemp(prefix=".part-", dir=self._folder)

        try:
            with open(handle, "wb") as file:
                file.write(digest + code)
            os.replace(unfinished, self._path(key))
        except BaseException:
            os.unlink(unfinished)
            raise

    def _path(self, key: Any) -> Path:
        depends_on = f"{self._about} {key!r}"
        digest = hashlib.sha256(depends_on.encode()).hexdigest()

        return self._folder / f"{self._name}.{digest[:16]}.nbc"


def _announce() -> None:
    """Say once in a process that something is compiled, which takes its time."""
    global _announced
    if not _announced:
        _announced = True
        step("compiling kernels, once")


def _tell(error: Exception) -> None:
    """Say once in a process that there is no use of the cache, and why."""
    global _told
    if _told:
        return

    _told = True
    reason = str(error).splitlines()[0]
    warnings.warn(
        "the sparse kernels are compiled now, as their cache cannot be used "
        f"({reason}): set NUMBA_CACHE_DIR to a folder that can be "
        "written, to do this only once",
        DataWarning,
        stacklevel=2,
    )
