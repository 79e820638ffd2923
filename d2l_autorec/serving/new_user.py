"""Recommendations for a person whom training did not see, without training again.

User-based, their ratings are a row like any other: one forward pass gives the ratings of all items.
Else ridge regression fits a user vector to them.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from ..support.errors import DataError, DataWarning, check_whole
from .predictor import Predictor, Scored, top

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
    predictor: Predictor, items: np.ndarray, values: np.ndarray, n: int = 10
) -> list[Scored]:
    """Return the best items for someone whose ratings were not in training.

    Parameters
    ----------
    predictor : Predictor
    items : ndarray of int, shape (rated,)
        Positions of the items that they rated, as `read_new_user` returns.
    values : ndarray of float32, shape (rated,)
        Ratings on the run's scale.
    n : int

    Returns
    -------
    list of Scored
        As `Predictor.recommend` returns.

    Raises
    ------
    ConfigError
        If `n` is below 1.
    DataError
        If no rated item has a training rating.
    """
    check_whole("n", n, at_least=1)
    scores = predict_new_user(predictor, items, values)
    scores[items] = -np.inf
    scores[predictor.cold_items] = -np.inf
    best = top(scores, n)
    return predictor.scored(best, predictor.shown(scores[best]))


def predict_new_user(predictor: Predictor, items: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Predict unclipped ratings of all items for someone who gave `values` to `items`.

    An item without a training rating is predicted by the mean of `values`.

    User-based, their ratings are a row like any other: one forward pass.
    Else the model has a vector for each user but none for them, and `fold_in`
    fits it.

    Returns
    -------
    ndarray of float32, shape (items,)

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
        entries = (targets, (np.zeros_like(items[warm]), items[warm]))
        (raw,) = predictor.of_rows(sparse.csr_matrix(entries, shape=(1, ratings.num_items)))
    else:
        weight, bias = fold_in(predictor, items[warm], targets)
        (raw,) = predictor.of_vectors(weight[None], bias)

    scores = raw - np.float32(ratings.offset)
    scores[predictor.cold_items] = values.mean()
    return scores


def fold_in(
    predictor: Predictor, items: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.float32]:
    """Fit the vector and bias of a new user by ridge regression.

    With h_i the vector of item i, which stays as it is, y_i their rating less
    the item's bias (before the decoder's activation), and m, c the mean vector
    and bias of the users in training, (w, b) minimises

        sum_i (y_i - h_i w - b)^2 + ridge (|w - m|^2 + (b - c)^2),

    in closed form. This is the error that training minimises, for one
    user; with no ratings at all it would give the mean user. The ridge
    is `RIDGE_PER_UNIT` for each hidden unit and the bias.

    Parameters
    ----------
    predictor : Predictor
        Of a model with vectors of users.
    items : ndarray of int, shape (rated,)
    targets : ndarray of float32, shape (rated,)
        Ratings plus the run's offset.

    Returns
    -------
    weight : ndarray of float32, shape (H,)
    bias : float32
    """
    mean = predictor.mean_user
    output = predictor.parts.output
    if output is not None:
        targets = output.inverse(targets)

    hidden = np.column_stack([predictor.item_vectors[items], np.ones(len(items))])
    hidden = hidden.astype(np.float64)
    left = targets - predictor.item_biases[items] - hidden @ mean  # what that user leaves

    fitted = mean + ridge_solution(hidden, left, RIDGE_PER_UNIT * len(mean))
    return fitted[:-1].astype(np.float32), np.float32(fitted[-1])


def ridge_solution(rows: np.ndarray, targets: np.ndarray, ridge: float) -> np.ndarray:
    """Return the x that minimises |rows x - targets|^2 + ridge |x|^2, shape (columns,).

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
    predictor: Predictor, rated: Mapping[Any, float] | Iterable[Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ratings of one person, as `recommend_new_user` takes them.

    Parameters
    ----------
    predictor : Predictor
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

    values: Sequence[Any] = [1.0] * len(names)
    if predictor.config.task == "rating":
        if not isinstance(rated, Mapping):
            raise DataError("ratings holds items alone: give a dict of item to rating")
        values = list(rated.values())
    items = predictor.items.positions(names)
    return _checked(predictor, names, items, values, lambda _: "ratings")


def read_new_user(path: Path, predictor: Predictor) -> tuple[np.ndarray, np.ndarray]:
    """Read the ratings of one person: a csv file with the columns item,rating, header or not.

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
    from ..data.readers import read_table
    from ..data.rules import ids_of, values_of

    is_ranking = predictor.config.task == "ranking"
    roles = ("item",) if is_ranking else ("item", "rating")
    request = Request(len(roles), separator=",", roles=roles, exactly=LAYOUT[len(roles)])
    table = read_table(path, request)
    values = values_of(table, (-np.inf, np.inf))
    codes, ids, _ = ids_of(table, "item")

    names = [str(id_) for id_ in ids[codes]]
    items = predictor.items.find(names)
    unknown = [name for name, item in zip(names, items) if item < 0]
    if len(unknown) == len(names):
        predictor.items.positions(unknown)  # its error names the nearest ids
    if unknown:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        warnings.warn(
            f"{path}: {len(unknown)} of {len(names)} items are not in this run and were "
            f"left out: {shown}",
            DataWarning,
            stacklevel=2,
        )

    items, values = _checked(predictor, names, items, values.tolist(), table.locate)
    return items[items >= 0], values[items >= 0]


def _checked(
    predictor: Predictor,
    names: Sequence[Any],
    items: np.ndarray,
    values: Sequence[Any],
    locate: Callable[[int], str],
) -> tuple[np.ndarray, np.ndarray]:
    """Return items and values; raise DataError unless each is rated once, on the scale."""
    low, high = predictor.ratings.bounds
    met: set[int] = set()
    for at, (name, item, value) in enumerate(zip(names, items.tolist(), values)):
        if isinstance(value, bool) or not isinstance(value, (Real, np.number)):
            raise DataError(f"{locate(at)}: {value!r} for item {str(name)!r} is not a number")
        if not low <= float(value) <= high:
            raise DataError(
                f"{locate(at)}: {float(value):.12g} for item {str(name)!r} is outside the scale "
                f"{low:g}..{high:g}"
            )
        if item in met:
            raise DataError(
                f"{locate(at)}: item {str(name)!r} is given more than once: keep one of them"
            )
        if item >= 0:
            met.add(item)
    return items, np.array(values, dtype=np.float32)
