"""Archives of arrays, .npz files in which nothing is pickled: what `Ratings` and `Clicks` keep."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..support.errors import DataError


def save_archive(
    path: Path,
    user_ids: np.ndarray,
    item_ids: np.ndarray,
    titles: Mapping[Any, str],
    name: str,
    **arrays: Any,
) -> None:
    """Write arrays beside the ids, titles and name of their data set.

    Not compressed: of 20 million ratings that took half a minute, and reading them twice as long.
    """
    np.savez(
        path,
        user_ids=storable_ids(user_ids),
        item_ids=storable_ids(item_ids),
        title_ids=storable_ids(np.array(list(titles))),
        title_texts=np.array(list(titles.values()), dtype=str),
        name=np.array(name),
        **arrays,
    )


@contextmanager
def opened_archive(path: Path) -> Iterator[tuple[dict[str, np.ndarray], dict[str, Any]]]:
    """The arrays that `save_archive` wrote; and ids, titles and name, as a data set takes them.

    Raises
    ------
    DataError
        If the file is missing, or whatever else goes wrong in the block: damaged
        bytes can raise anything from zlib, struct and NumPy.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)

        title_ids = usable_ids(arrays.pop("title_ids")).tolist()
        title_texts = arrays.pop("title_texts").tolist()
        about = {
            "user_ids": usable_ids(arrays.pop("user_ids")),
            "item_ids": usable_ids(arrays.pop("item_ids")),
            "titles": dict(zip(title_ids, title_texts)),
            "name": str(arrays.pop("name")),
        }
        yield arrays, about
    except Exception as error:
        raise DataError(
            f"{path} is missing or damaged ({error}): restore it from a copy, or begin a new run"
        ) from error


def storable_ids(ids: np.ndarray) -> np.ndarray:
    """Ids in a type that an .npz file holds without pickling."""
    if ids.dtype == object:
        return ids.astype(str)
    return ids


def usable_ids(ids: np.ndarray) -> np.ndarray:
    """The reverse of `storable_ids`."""
    if ids.dtype.kind == "U":
        return ids.astype(object)
    return ids
