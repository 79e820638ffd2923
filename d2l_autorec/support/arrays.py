"""Named arrays in one file: an .npz, each part with a checksum, and nothing pickled."""

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .errors import ConfigError, DataError

NAMES = "names"  # of all arrays: one flipped bit of a zip archive's list can hide some of them
BEGIN_ANEW = "restore it from a copy, or begin a new run"


def save_arrays(path: Path, arrays: Iterable[tuple[str, Any]]) -> None:
    """Write arrays one by one, without a copy of them.

    Not compressed: of 20 million ratings that took half a minute, and reading them twice as long.
    `numpy.savez` leaves its file open where the disk is full, and Python then complains of it.
    """
    names = []
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays:
            _write(archive, name, array)
            names.append(name)
        _write(archive, NAMES, np.array(names))


def _write(archive: zipfile.ZipFile, name: str, array: Any) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as part:
        np.lib.format.write_array(part, np.asanyarray(array), allow_pickle=False)


def load_arrays(source: Path | BinaryIO) -> dict[str, np.ndarray]:
    """Read what `save_arrays` wrote; damaged bytes can raise anything: see `telling_damage`."""
    with np.load(source, allow_pickle=False) as stored:
        arrays = dict(stored)

    if arrays.pop(NAMES).tolist() != [*arrays]:
        raise ValueError("arrays are missing in it")
    return arrays


@contextmanager
def telling_damage(path: Path, way_out: str = BEGIN_ANEW) -> Iterator[None]:
    """Raise DataError, which names the file, for what goes wrong in the block.

    Too little memory is no damage, nor is what cannot be written.
    """
    try:
        yield
    except (MemoryError, ConfigError):
        raise
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{path} is missing or damaged ({reason[0]}): {way_out}") from error
