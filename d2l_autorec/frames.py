"""A frame of ratings to checked `Ratings`: values, duplicates, ids and their order."""

import warnings
from typing import Callable, Optional, Tuple

import numpy as np
import pandas as pd

from .errors import DataError, DataWarning
from .layout import NUMERIC
from .ratings import Ratings

DUPLICATES = ("error", "last", "mean")


def ratings_from_frame(frame: pd.DataFrame, name: str = "frame", duplicates: str = "error",
                       scale: Optional[Tuple[float, float]] = None,
                       locate: Optional[Callable[[int], str]] = None) -> Ratings:
    """Checked `Ratings` of a frame with columns user, item, rating and perhaps timestamp.

    Ids that are all whole numbers in their plain form become integers, else
    all are strings ("007" and "7" stay two users). Index 0 is the user (item)
    with the most ratings; ties go by sum of ratings, sum of timestamps, then
    first row. So the index maps do not depend on the names of the ids, and,
    but for such full ties, not on the order of the rows.

    Parameters
    ----------
    frame : DataFrame
    name : str
        For messages and the result file.
    duplicates : {'error', 'last', 'mean'}
    scale : (float, float), optional
    locate : callable, optional
        Row number to a place, for errors.

    Raises
    ------
    DataError
        If a (user, item) pair occurs twice and `duplicates` is 'error', or a
        rating is outside `scale`.
    """
    locate = locate or (lambda row: f"{name}, row {row}")
    frame = deduplicated(frame, locate, duplicates)
    values = frame["rating"].to_numpy(dtype=np.float32)
    times = frame["timestamp"].to_numpy(dtype=np.int64) if "timestamp" in frame else None
    _check_scale(values, scale, locate)
    user_ids, users = _index(frame["user"], values, times)
    item_ids, items = _index(frame["item"], values, times)
    ratings = Ratings(users, items, values, user_ids, item_ids, times, scale, name=name)
    if ratings.offset:
        warnings.warn(f"{name}: the rating scale {ratings.scale[0]:g}..{ratings.scale[1]:g} "
                      f"includes 0 or below, and 0 means unobserved: trained on rating + "
                      f"{ratings.offset:g}, shifted back in every output", DataWarning,
                      stacklevel=2)
    return ratings


def checked_numbers(frame: pd.DataFrame, locate: Callable[[int], str]) -> pd.DataFrame:
    """Ratings and whole timestamps, all finite; where there are no ratings, ones."""
    if "rating" not in frame:
        frame["rating"] = np.ones(len(frame), dtype=np.float32)
    for role in (role for role in NUMERIC if role in frame):
        bad = ~np.isfinite(frame[role].to_numpy())
        if bad.any():
            row = int(bad.argmax())
            raise DataError(f"{locate(row)}: the {role} is missing or not finite "
                            f"({frame[role][row]}); {int(bad.sum())} lines are so: correct or "
                            "delete them")
    if "timestamp" in frame:
        frame["timestamp"] = _whole_times(frame["timestamp"], locate)
    return frame


def _whole_times(times: pd.Series, locate: Callable[[int], str]) -> pd.Series:
    too_large = (times.abs() >= 2.0 ** 53).to_numpy()
    if too_large.any():
        row = int(too_large.argmax())
        raise DataError(f"{locate(row)}: the timestamp {times[row]:g} is beyond 2^53: give seconds "
                        "or milliseconds")
    cut = int((times % 1 != 0).sum())
    if cut:
        warnings.warn(f"{cut} timestamps lost their fractions of a second", DataWarning,
                      stacklevel=4)
    return times.astype("int64")


def _check_scale(values: np.ndarray, scale: Optional[Tuple[float, float]],
                 locate: Callable[[int], str]) -> None:
    if scale is None:
        return
    outside = (values < scale[0]) | (values > scale[1])
    if outside.any():
        row = int(outside.argmax())
        raise DataError(f"{locate(row)}: the rating {values[row]:g} is outside the scale "
                        f"{scale[0]:g},{scale[1]:g}; {int(outside.sum())} lines are so: correct "
                        "them or --scale")


def deduplicated(frame: pd.DataFrame, locate: Callable[[int], str], duplicates: str
                  ) -> pd.DataFrame:
    users, items = (pd.factorize(frame[role])[0].astype(np.int64) for role in ("user", "item"))
    keys = users * (items.max(initial=0) + 1) + items
    ordered = np.sort(keys)
    count = int((ordered[1:] == ordered[:-1]).sum())
    if not count:
        return frame
    repeated = pd.Series(keys).duplicated()
    if duplicates == "error":
        second = int(repeated.to_numpy().argmax())
        first = int((keys == keys[second]).argmax())
        row = frame.iloc[second]
        raise DataError(f"{locate(second)}: user {row['user']!r} rated item {row['item']!r} "
                        f"already in {locate(first).split(', ')[-1]}; {count} ratings are "
                        "repeated: choose --duplicates last or mean, or delete them")
    warnings.warn(f"{count} repeated ratings of an item by the same user were merged "
                  f"(--duplicates {duplicates})", DataWarning, stacklevel=3)
    last = frame[~pd.Series(keys).duplicated(keep="last").to_numpy()].copy()
    if duplicates == "mean":
        means = frame["rating"].astype("float64").groupby(keys).mean()
        kept = keys[last.index.to_numpy()]
        last["rating"] = means.loc[kept].to_numpy(dtype=np.float32)
    return last.reset_index(drop=True)


def _index(column: pd.Series, values: np.ndarray, times: Optional[np.ndarray]
           ) -> Tuple[np.ndarray, np.ndarray]:
    """Ids in canonical order (see `ratings_from_frame`), and each row's position among them."""
    codes, ids = pd.factorize(column)  # in order of first appearance
    counts = np.bincount(codes)
    exact = np.rint(values * 1024.0).astype(np.float64)  # whole numbers: sums know no order
    keys = [np.arange(len(counts))]
    keys += [] if times is None else [np.bincount(codes, times)]
    keys += [np.bincount(codes, exact), -counts]
    order = np.lexsort(keys)
    position = np.empty(len(order), dtype=np.int32)
    position[order] = np.arange(len(order), dtype=np.int32)
    return _natural(np.asarray(ids))[order], position[codes]


def _natural(ids: np.ndarray) -> np.ndarray:
    """Integers where every id is one in its plain form, else strings."""
    if ids.dtype.kind in "iu":
        return ids.astype(np.int64)
    text = pd.Series(ids, dtype=object).astype(str)
    if text.str.fullmatch(r"0|-?[1-9]\d{0,17}").all():
        return text.astype(np.int64).to_numpy()
    return text.to_numpy(dtype=object)
