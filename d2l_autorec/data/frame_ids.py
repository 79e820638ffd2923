"""The ids of a frame: what an id may be, their type, and their order."""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd

from ..support.errors import DataError

# Control characters, line ends of Unicode, and halves of characters: an .npz file, a line of a
# csv file or a terminal does not give them back as they are.
UNUSABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
LONGEST = 500  # characters; the ids of a run are stored in an array as wide as the longest


def cleaned_ids(column: pd.Series, role: str, locate: Callable[[int], str]) -> pd.Series:
    """A column of ids: integers as they are, else categories of text.

    Blanks and tabs around an id are no part of it; everything else is, capitals
    and the normal form of Unicode included. 7 and '7' are the same id.

    Parameters
    ----------
    column : Series
    role : str
        'user' or 'item', for messages.
    locate : callable
        Row number to a place, for errors.

    Raises
    ------
    DataError
        If an id is missing, neither a string nor a whole number, longer than
        `LONGEST`, or has a character of `UNUSABLE`.
    """
    if column.dtype.kind in "iu":
        return column

    codes, ids = pd.factorize(column)
    found = np.asarray(ids, dtype=object)

    def refuse(bad: np.ndarray, what: str) -> None:
        if bad.any():
            row = int(bad.argmax())
            raise DataError(
                f"{locate(row)}: the {role} id {what}; {int(bad.sum())} lines are so: "
                "correct or delete them"
            )

    wrong = np.array([not _can_be_id(id_) for id_ in found], dtype=bool)
    for code in np.flatnonzero(wrong):
        refuse(codes == code, f"is {found[code]!r}: it must be a string or a whole number")

    texts = [str(id_).strip(" \t") for id_ in found]
    empty = np.array([text == "" for text in texts] + [True])  # the last for the code -1
    refuse(empty[codes], "is empty")

    unusable = [UNUSABLE.search(text) is not None for text in texts]
    for code in np.flatnonzero(unusable):
        refuse(codes == code, f"{texts[code][:LONGEST]!r} has a control character")

    too_long = [len(text) > LONGEST for text in texts]
    for code in np.flatnonzero(too_long):
        refuse(codes == code, f"{texts[code][:20]!r}... is longer than {LONGEST} characters")

    merged, different = pd.factorize(np.array(texts, dtype=object))
    categories = pd.Index(different, dtype=object)
    return pd.Series(pd.Categorical.from_codes(merged[codes], categories))


def _can_be_id(value: object) -> bool:
    """Whether it is a string or a whole number; True and False are neither."""
    return isinstance(value, (str, int, np.integer)) and not isinstance(value, bool)


def index_of(
    column: pd.Series, values: np.ndarray, times: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Ids in canonical order (see `ratings_from_frame`), and each row's position among them."""
    codes, ids = pd.factorize(column)  # in order of first appearance
    counts = np.bincount(codes)
    exact = np.rint(values * 1024.0).astype(np.float64)  # whole numbers: sums know no order

    keys = [np.arange(len(counts))]  # the last key decides first
    if times is not None:
        keys.append(np.bincount(codes, times))
    keys += [np.bincount(codes, exact), -counts]

    order = np.lexsort(keys)
    position = np.empty(len(order), dtype=np.int32)
    position[order] = np.arange(len(order), dtype=np.int32)

    ordered_ids = natural_ids(np.asarray(ids))[order]
    return ordered_ids, position[codes]


def natural_ids(ids: np.ndarray) -> np.ndarray:
    """Integers where every id is one in its plain form, else strings."""
    if ids.dtype.kind in "iu" and (ids <= np.iinfo(np.int64).max).all():
        return ids.astype(np.int64)

    text = pd.Series(ids, dtype=object).astype(str)
    if text.str.fullmatch(r"0|-?[1-9][0-9]{0,17}").all():
        return text.astype(np.int64).to_numpy()
    return text.to_numpy(dtype=object)
