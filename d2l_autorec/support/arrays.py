"""Named arrays in one file: an .npz, each part with a checksum, and nothing pickled."""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

NAMES = "names"  # lists all arrays: one flipped bit of a zip archive's list can hide some of them


def save_arrays(path: Path, arrays: Iterable[tuple[str, Any]]) -> None:
    """Write arrays one by one, without a copy of them.

    They are not compressed: to compress 20 million ratings took half a minute, and reading them
    took twice as long. `numpy.savez` is not used because it leaves its file open where the disk
    is full, and Python then complains of it.
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
    """Read what `save_arrays` wrote.

    Damaged bytes can raise any exception; `telling_damage` makes one kind of them.
    """
    with np.load(source, allow_pickle=False) as stored:
        arrays = dict(stored)

    if arrays.pop(NAMES).tolist() != [*arrays]:
        raise ValueError("arrays are missing in it")
    return arrays
