"""Metrics in plain NumPy; each docstring has the formula."""

import numpy as np
from scipy import sparse


def rmse(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Root mean squared error, sqrt(mean((truth - prediction)^2)), in float64; NaN of nothing."""
    error = _errors(truth, prediction)
    if not error.size:
        return float("nan")
    return float(np.sqrt(np.mean(np.square(error))))


def mae(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Mean absolute error, mean(|truth - prediction|), in float64; NaN of nothing."""
    error = _errors(truth, prediction)
    if not error.size:
        return float("nan")
    return float(np.mean(np.abs(error)))


def _errors(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """truth - prediction, in float64."""
    return np.asarray(truth, dtype=np.float64) - np.asarray(prediction, dtype=np.float64)


def top_items(scores: np.ndarray, k: int) -> np.ndarray:
    """The k items of highest score, best first; of equal scores the lower index comes first.

    Only the chosen k are sorted, never all items.

    Parameters
    ----------
    scores : ndarray, shape (users, items)
        -inf for items that are not to be ranked.
    k : int

    Returns
    -------
    ndarray of int, shape (users, min(k, items))
    """
    k = min(k, scores.shape[1])
    chosen = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, -k:]
    last = np.take_along_axis(scores, chosen, axis=1).min(axis=1, keepdims=True)  # k-th best

    # where more than k items reach it, the partition chose arbitrarily among the equal ones
    for row in np.flatnonzero((scores >= last).sum(axis=1) > k):
        better = np.flatnonzero(scores[row] > last[row])
        equal = np.flatnonzero(scores[row] == last[row])[: k - len(better)]
        chosen[row] = np.concatenate([better, equal])

    # by index first: the stable sort by score then leaves equal scores in that order
    chosen.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores, chosen, axis=1), axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)


def hits_at(ranked: np.ndarray, held_out: sparse.csr_matrix) -> np.ndarray:
    """Which ranked items are held-out ones.

    Parameters
    ----------
    ranked : ndarray of int, shape (users, k)
        -1 is no item.
    held_out : csr_matrix, shape (users, items)

    Returns
    -------
    ndarray of bool, shape (users, k)
    """
    cells = held_out.tocoo()
    num_items = held_out.shape[1]

    # one whole number for each (user, item)
    wanted = cells.row.astype(np.int64) * num_items + cells.col
    keys = np.arange(len(ranked))[:, None] * num_items + ranked

    return np.isin(keys, wanted) & (ranked >= 0)


def recall_at(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Each user's hits among the first k, over min(k, relevant) (Liang et al. 2018, section 4.2).

    Parameters
    ----------
    hits : ndarray of bool, shape (users, at least k or all items)
    relevant : ndarray of int, shape (users,)
        Held-out items.

    Returns
    -------
    ndarray of float64, shape (users,)
        NaN for a user without held-out items.
    """
    found = hits[:, :k].sum(axis=1)
    findable = np.minimum(k, relevant)

    recall = np.full(len(hits), np.nan)
    return np.divide(found, findable, where=relevant > 0, out=recall)


def ndcg_at(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Each user's sum of 1 / log2(rank + 1) over hits, over that of min(k, relevant) ideal hits.

    Ranks are from 1. See `recall_at` for parameters and users without held-out items.
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    gain = hits[:, :k] @ discounts[: hits.shape[1]]

    ideal_of = np.concatenate([[0], np.cumsum(discounts)])  # of that many hits
    ideal = ideal_of[np.minimum(k, relevant)]

    ndcg = np.full(len(hits), np.nan)
    return np.divide(gain, ideal, where=relevant > 0, out=ndcg)


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error, sd / sqrt(users), over the users that are not NaN."""
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")

    mean = values.mean()
    error = values.std() / np.sqrt(len(values))
    return float(mean), float(error)
