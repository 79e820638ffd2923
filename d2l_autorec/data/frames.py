"""A frame of ratings to checked `Ratings`: values, ids, duplicates."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..support.errors import DataError, DataWarning
from .frame_ids import cleaned_ids, index_of
from .plausible import Scale, check_ratings, finite_numbers
from .ratings import Ratings

DUPLICATES = ("error", "last", "mean")
LINES_SHOWN = 5


@dataclass(frozen=True)
class Source:
    """Where a frame comes from, for messages.

    Parameters
    ----------
    name : str
        For messages and the result file.
    locate : callable
        Row number to a place.
    layout : str
        What was recognised; the name alone where there is no file.
    remedy : str
        What to do if its ratings are none.
    """

    name: str
    locate: Callable[[int], str]
    layout: str
    remedy: str = "name the column that holds the ratings"

    @classmethod
    def of_frame(cls, name: str) -> "Source":
        """The source of a frame that was in memory."""
        return cls(name, lambda row: f"{name}, row {row}", name)


class Checked(NamedTuple):
    """A frame of different pairs, and how many ratings were merged into others."""

    frame: pd.DataFrame
    merged: int


def ratings_from_frame(
    frame: pd.DataFrame, name: str = "frame", duplicates: str = "error", scale: Scale = None
) -> Ratings:
    """Checked `Ratings` of a frame with columns user, item, rating and perhaps timestamp.

    Ids are strings or whole numbers, without the blanks around them (see
    `cleaned_ids`). Those that are all whole numbers in their plain form become
    integers, else all are strings ("007" and "7" stay two users). Index 0 is
    the user (item) with the most ratings; ties go by sum of ratings, sum of
    timestamps, then first row. So the index maps do not depend on the names of
    the ids, and, but for such full ties, not on the order of the rows.

    Parameters
    ----------
    frame : DataFrame
    name : str
        For messages and the result file.
    duplicates : {'error', 'last', 'mean'}
    scale : (float, float), optional

    Raises
    ------
    DataError
        If an id cannot be used, a number cannot be a rating (see
        `check_ratings`), or a (user, item) pair occurs twice and `duplicates`
        is 'error'.
    """
    source = Source.of_frame(name)
    return indexed(check(frame, source, duplicates, scale), source, duplicates, scale)


def check(frame: pd.DataFrame, source: Source, duplicates: str, scale: Scale) -> Checked:
    """The frame with usable ids and ratings, and different pairs."""
    frame = finite_numbers(frame, source.locate)
    for role in ("user", "item"):
        frame[role] = cleaned_ids(frame[role], role, source.locate)

    with np.errstate(over="ignore"):  # what is too large becomes inf, and is refused as that
        values = frame["rating"].to_numpy(dtype=np.float32)
    check_ratings(values, scale, source.locate, source.remedy)

    return _deduplicated(frame, source.locate, duplicates)


def indexed(checked: Checked, source: Source, duplicates: str, scale: Scale) -> Ratings:
    """`Ratings` of a checked frame; see `ratings_from_frame` for the order of the ids."""
    frame = checked.frame
    values = frame["rating"].to_numpy(dtype=np.float32)
    times = None
    if "timestamp" in frame:
        times = frame["timestamp"].to_numpy(dtype=np.int64)

    user_ids, users = index_of(frame["user"], values, times)
    item_ids, items = index_of(frame["item"], values, times)

    size = size_of(values, user_ids, item_ids, scale)
    merged = "no duplicates"
    if checked.merged:
        merged = f"{checked.merged:,} repeated ratings merged ({duplicates})"

    ratings = Ratings(
        users,
        items,
        values,
        user_ids,
        item_ids,
        times,
        scale,
        name=source.name,
        origin=f"{source.layout}; {size}, {merged}",
    )

    if ratings.offset:
        low, high = ratings.bounds
        warnings.warn(
            f"{source.name}: the rating scale {low:g}..{high:g} includes 0 or below, "
            f"and 0 means unobserved: trained on rating + {ratings.offset:g}, "
            "shifted back in every output",
            DataWarning,
            stacklevel=3,
        )

    return ratings


def size_of(values: np.ndarray, user_ids: np.ndarray, item_ids: np.ndarray, scale: Scale) -> str:
    """How many ratings of how many users and items, and their scale, in words."""
    low, high = scale or (values.min(), values.max())

    whence = "as given"
    if scale is None:
        whence = "as found"

    equal = ""
    if values.min() == values.max():
        equal = ", all ratings equal"

    return (
        f"{len(values):,} ratings of {len(user_ids):,} users x {len(item_ids):,} items, scale "
        f"{low:g}..{high:g} ({whence}{equal})"
    )


def pair_keys(frame: pd.DataFrame) -> np.ndarray:
    """One whole number for each different (user, item) pair, shape (n,)."""
    user_codes, _ = pd.factorize(frame["user"])
    item_codes, _ = pd.factorize(frame["item"])

    users = user_codes.astype(np.int64)
    items = item_codes.astype(np.int64)
    return users * (items.max(initial=0) + 1) + items


def _deduplicated(frame: pd.DataFrame, locate: Callable[[int], str], duplicates: str) -> Checked:
    keys = pair_keys(frame)
    ordered = np.sort(keys)
    count = int((ordered[1:] == ordered[:-1]).sum())

    if not count:
        return Checked(frame, 0)
    if duplicates == "error":
        raise _repeated(frame, keys, count, locate)

    warnings.warn(
        f"{count} repeated ratings of an item by the same user were merged "
        f"(`duplicates={duplicates}`)",
        DataWarning,
        stacklevel=4,
    )

    kept = ~pd.Series(keys).duplicated(keep="last").to_numpy()
    last = frame[kept].copy()
    if duplicates == "mean":
        means = frame["rating"].astype("float64").groupby(keys).mean()
        last["rating"] = means.loc[keys[kept]].to_numpy(dtype=np.float32)

    return Checked(last.reset_index(drop=True), count)


def _repeated(
    frame: pd.DataFrame, keys: np.ndarray, count: int, locate: Callable[[int], str]
) -> DataError:
    """The first repeated pair, the lines of all that are repeated, and how many differ."""
    repeated = pd.Series(keys).duplicated().to_numpy()
    values = frame["rating"].to_numpy()
    firsts = pd.Series(values).groupby(keys).transform("first").to_numpy()
    conflicts = int((repeated & (values != firsts)).sum())

    rows = np.flatnonzero(repeated)
    second = int(rows[0])
    first = int((keys == keys[second]).argmax())

    places = [_place_in_file(locate(int(row))) for row in rows[:LINES_SHOWN]]
    if len(rows) > LINES_SHOWN:
        places.append("...")

    user = frame["user"].iloc[second]
    item = frame["item"].iloc[second]
    return DataError(
        f"{locate(second)}: user {user!r} rated item {item!r} already in "
        f"{_place_in_file(locate(first))} ({values[first]:g} there, {values[second]:g} here); "
        f"{count} ratings are repeated ({', '.join(places)}), {conflicts} of them with another "
        "value: choose `duplicates=last` or mean, or delete them"
    )


def _place_in_file(place: str) -> str:
    return place.split(", ")[-1]
