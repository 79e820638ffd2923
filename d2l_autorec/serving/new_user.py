"""Recommendations for a person whom training did not see, without training again.

    items and ratings -> hidden vector, one forward pass (user-based)  \\
                                                                        -> ratings of all items
    items and ratings -> user vector, by ridge regression (the others) /
"""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from ..data.ids import IdMap
from ..support.errors import DataError, DataWarning, check_whole
from .predictor import Answering, Predictor, Scored, predictor_of, top

LAYOUT = {1: "it must have the one column item", 2: "it must have the two columns item,rating"}
# The ridge is this for each hidden unit, as |h|^2 grows with their number. Checked on ml-100k
# (H = 500, 25 epochs) by keeping 94 of the 943 users out of training, for three choices of the 94:
#   test RMSE of               first (961 ratings)  second (1061)  third (973)
#   the items' means                 1.073               1.100        1.072
#   fold_in, 0.004                   0.904               0.950        0.975
#   fold_in, 0.02                    0.858               0.905        0.908
#   fold_in, 0.04 (chosen)           0.852               0.900        0.895
#   fold_in, 0.2                     0.854               0.909        0.891
#   training with all users          0.872               0.925        0.900
RIDGE_PER_UNIT = 0.04


def recommend_new_user(
    run: Answering, items: np.ndarray, values: np.ndarray, n: int = 10
) -> list[Scored]:
    """The best items for someone whose ratings were not in training.

    Parameters
    ----------
    run : Answering
    items : ndarray of int, shape (rated,)
        Positions of the items that they rated, as `read_new_user` returns.
    values : ndarray of float32, shape (rated,)
        Ratings on the run's scale.
    n : int

    Returns
    -------
    list of Scored
        As `recommend` returns.

    Raises
    ------
    ConfigError
        If `n` is below 1.
    DataError
        If no rated item has a training rating.
    """
    check_whole("n", n, at_least=1)
    predictor = predictor_of(run)
    scores = predict_new_user(predictor, items, values)

    scores[items] = -np.inf
    scores[predictor.cold_items] = -np.inf
    best = top(scores, n)
    return predictor.scored(best, predictor.shown(scores[best]))


def predict_new_user(predictor: Predictor, items: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Unclipped ratings of all items for someone who gave `values` to `items`, shape (items,).

    An item without a training rating is predicted by the mean of `values`.

    User-based, their ratings are a row like any other: one forward pass.
    Else the model has a vector for each user but none for them, and `fold_in`
    fits it.

    Raises
    ------
    DataError
        If no rated item has a training rating.
    """
    ratings = predictor.ratings
    warm = ~predictor.cold_items[items]
    if not warm.any():
        raise DataError(
            "none of the rated items has a training rating in this run: there is "
            "nothing to recommend by"
        )

    targets = values[warm] + np.float32(ratings.offset)
    if predictor.user_table is None:
        first_row = np.zeros(len(targets), dtype=int)
        row = sparse.csr_matrix((targets, (first_row, items[warm])), shape=(1, ratings.num_items))
        products = predictor.scores_of_rows(row)[0]
    else:
        _, item_table = predictor.tables()
        weight, bias = fold_in(predictor, items[warm], targets)
        products = predictor.rated(item_table @ weight + predictor.item_biases + bias)

    scores = products - np.float32(ratings.offset)
    scores[predictor.cold_items] = values.mean()
    return scores


def fold_in(
    predictor: Predictor, items: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.float32]:
    """The vector and bias of a new user, by ridge regression.

    With h_i the vector of item i, which stays as it is, y_i their rating less
    the item's bias (before the decoder's activation), and m, c the mean vector
    and bias of the users in training, (w, b) minimises

        sum_i (y_i - h_i w - b)^2 + ridge (|w - m|^2 + (b - c)^2),

    in closed form. This is the error that training minimises, for one
    user; with no ratings at all it would give the mean user. The ridge
    is `RIDGE_PER_UNIT` for each hidden unit and the bias.

    Parameters
    ----------
    items : ndarray of int, shape (rated,)
    targets : ndarray of float32, shape (rated,)
        Ratings plus the run's offset.

    Returns
    -------
    weight : ndarray of float32, shape (H,)
    bias : float32
    """
    _, item_table = predictor.tables()
    mean = predictor.mean_user
    ridge = RIDGE_PER_UNIT * len(mean)

    targets = predictor.before_activation(targets) - predictor.item_biases[items]
    hidden = np.column_stack([item_table[items], np.ones(len(items))]).astype(np.float64)
    left = targets - hidden @ mean  # what the mean user does not explain

    fitted = mean + ridge_solution(hidden, left, ridge)
    return fitted[:-1].astype(np.float32), np.float32(fitted[-1])


def ridge_solution(rows: np.ndarray, targets: np.ndarray, ridge: float) -> np.ndarray:
    """The x that minimises |rows x - targets|^2 + ridge |x|^2, shape (columns,).

    Solves the smaller of two systems: x = (R'R + ridge I)^-1 R' t = R' (R R' + ridge I)^-1 t.

    Parameters
    ----------
    rows : ndarray of float64, shape (n, columns)
    targets : ndarray of float64, shape (n,)
    ridge : float
        Above 0.
    """
    count, columns = rows.shape
    if count < columns:
        gram = rows @ rows.T + ridge * np.eye(count)
        return rows.T @ np.linalg.solve(gram, targets)

    normal = rows.T @ rows + ridge * np.eye(columns)
    return np.linalg.solve(normal, rows.T @ targets)


def positions_and_values(
    run: Answering, rated: Mapping[Any, float] | Iterable[Any]
) -> tuple[np.ndarray, np.ndarray]:
    """The ratings of one person, for `recommend_new_user`.

    Parameters
    ----------
    run : Answering
    rated : mapping, or iterable of id
        Item id to rating; of a model that ranks items by clicks the ids alone.

    Returns
    -------
    items : ndarray of int64, shape (rated,)
        Positions.
    values : ndarray of float32, shape (rated,)

    Raises
    ------
    DataError
        If there is no item, one is unknown or occurs twice, or a rating is no
        number of the model's scale.
    """
    names = list(rated)
    if not names:
        raise DataError("ratings is empty: give at least one item")

    items = predictor_of(run).items.positions(names)
    _refuse_same_item(names, items)
    if run.config.task == "ranking":
        return items, np.ones(len(names), dtype=np.float32)
    if not isinstance(rated, Mapping):
        raise DataError("ratings holds items alone: give a dict of item to rating")

    for name, value in rated.items():
        _check_rating(name, value, run.ratings.bounds)
    values = np.array([rated[name] for name in names], dtype=np.float32)
    return items, values


def _refuse_same_item(names: list[Any], items: np.ndarray) -> None:
    """Raise DataError where two names are those of one item, as '5' and 5 are."""
    met: set[int] = set()
    for name, item in zip(names, items.tolist()):
        if item in met:
            raise DataError(
                f"ratings: item {str(name)!r} is given more than once: keep one of them"
            )
        met.add(item)


def _check_rating(name: Any, value: Any, scale: tuple[float, float]) -> None:
    """Raise DataError unless a value is a number of the scale."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Real, np.number)):
        raise DataError(f"ratings: {value!r} for item {str(name)!r} is not a number")

    try:
        number = float(value)
    except OverflowError:  # of a whole number
        number = math.inf

    low, high = scale
    if not low <= number <= high:
        raise DataError(
            f"ratings: {number:.12g} for item {str(name)!r} is outside the scale {low:g}..{high:g}"
        )


def read_new_user(path: Path, run: Answering) -> tuple[np.ndarray, np.ndarray]:
    """The ratings of one person: a csv file with the columns item,rating, header or not.

    Of a run that ranks items by clicks the file has the column item alone.

    Returns
    -------
    items : ndarray of int64, shape (rated,)
        Positions. Items that the run does not know are left out, with a
        warning that counts them.
    values : ndarray of float32, shape (rated,)

    Raises
    ------
    DataError
        If the file cannot be read, a rating is no number or outside the
        run's scale, an item occurs twice, or no item is known.
    """
    from ..data.layout import Request
    from ..data.rules import ids_of, values_of
    from ..data.tables import read_table

    roles: tuple[str, ...] = ("item", "rating")
    if run.config.task == "ranking":
        roles = ("item",)

    request = Request(len(roles), separator=",", roles=roles, exactly=LAYOUT[len(roles)])
    table = read_table(path, request)
    values = values_of(table, (-np.inf, np.inf))
    _check_scale(values, run.ratings.bounds, table.locate)
    codes, ids, _ = ids_of(table, "item")
    _refuse_repeated(codes, ids, values, table.locate)

    items = _known_items([str(id_) for id_ in ids[codes]], run, path)
    known = items >= 0
    return items[known], values[known]


def _check_scale(
    values: np.ndarray, scale: tuple[float, float], locate: Callable[[int], str]
) -> None:
    """Raise DataError where a rating is outside the run's scale."""
    low, high = scale
    outside = (values < low) | (values > high)
    if outside.any():
        row = int(outside.argmax())
        raise DataError(
            f"{locate(row)}: the rating {values[row]:g} is outside the scale {low:g}..{high:g} "
            f"of this run; {int(outside.sum())} of {len(values)} lines are affected: correct them"
        )


def _refuse_repeated(
    codes: np.ndarray, ids: np.ndarray, values: np.ndarray, locate: Callable[[int], str]
) -> None:
    """Raise DataError where an item occurs twice; codes are in order of first appearance."""
    repeated = np.flatnonzero(codes != np.arange(len(codes)))
    if not len(repeated):
        return

    row = int(repeated[0])
    first = int(codes[row])
    place_of_first = locate(first).split(", ")[-1]
    raise DataError(
        f"{locate(row)}: item {str(ids[first])!r} is rated more than once "
        f"({values[first]:g} in {place_of_first}, "
        f"{values[row]:g} here): keep one rating"
    )


def _known_items(names: list[str], run: Answering, path: Path) -> np.ndarray:
    """Positions of the items, -1 of those that the run does not know; a warning counts these."""
    item_ids = IdMap(run.ratings.item_ids, "item")
    items = item_ids.find(names)

    unknown = [name for name, position in zip(names, items) if position < 0]
    if len(unknown) == len(names):
        item_ids.positions(unknown)  # its error names the nearest ids

    if unknown:
        shown = ", ".join(unknown[:5])
        if len(unknown) > 5:
            shown += ", ..."
        warnings.warn(
            f"{path}: {len(unknown)} of {len(names)} items are not in this run and were "
            f"left out: {shown}",
            DataWarning,
            stacklevel=3,
        )

    return items
