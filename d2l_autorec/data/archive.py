"""What `Ratings` and `Clicks` keep in an .npz file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..support.arrays import load_arrays, save_arrays
from ..support.files import telling_damage


def save_archive(
    path: Path,
    user_ids: np.ndarray,
    item_ids: np.ndarray,
    titles: Mapping[Any, str],
    name: str,
    **arrays: Any,
) -> None:
    """Write arrays beside the ids, titles and name of their data set."""
    about = {
        "user_ids": storable_ids(user_ids),
        "item_ids": storable_ids(item_ids),
        "title_ids": storable_ids(np.array(list(titles))),
        "title_texts": np.array(list(titles.values()), dtype=str),
        "name": np.array(name),
    }
    save_arrays(path, {**about, **arrays}.items())


@contextmanager
def opened_archive(path: Path) -> Iterator[tuple[dict[str, np.ndarray], dict[str, Any]]]:
    """Yield what `save_archive` wrote: arrays; and ids, titles and name, as a data set takes them.

    Raises
    ------
    DataError
        If the file is missing or damaged, or what is made of it in the block cannot be.
    """
    with telling_damage(path):
        arrays = load_arrays(path)
        title_ids = usable_ids(arrays.pop("title_ids")).tolist()
        title_texts = arrays.pop("title_texts").tolist()
        about = {
            "user_ids": usable_ids(arrays.pop("user_ids")),
            "item_ids": usable_ids(arrays.pop("item_ids")),
            "titles": dict(zip(title_ids, title_texts)),
            "name": str(arrays.pop("name")),
        }
        yield arrays, about


def storable_ids(ids: np.ndarray) -> np.ndarray:
    """Return ids in a type that an .npz file holds without pickling."""
    return ids.astype(str) if ids.dtype == object else ids


def usable_ids(ids: np.ndarray) -> np.ndarray:
    """Reverse `storable_ids`."""
    return ids.astype(object) if ids.dtype.kind == "U" else ids
