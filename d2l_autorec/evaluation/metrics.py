"""Metrics in plain NumPy; each docstring has the formula."""

import math
from typing import Any

import numpy as np
from scipy import sparse


def rmse(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Return the root of the mean of (truth - prediction)^2, in float64; NaN of nothing."""
    error = _errors(truth, prediction)
    return float(np.sqrt(np.mean(np.square(error)))) if error.size else math.nan


def mae(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Return the mean of |truth - prediction|, in float64; NaN of nothing."""
    error = _errors(truth, prediction)
    return float(np.mean(np.abs(error))) if error.size else math.nan


def _errors(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return truth - prediction, in float64."""
    return np.asarray(truth, dtype=np.float64) - np.asarray(prediction, dtype=np.float64)


def errors_by_count(
    truth: np.ndarray, prediction: np.ndarray, counts: np.ndarray
) -> list[dict[str, Any]]:
    """Return RMSE and MAE of ratings in groups: of nothing, of 1 to 9, of 10 to 99, and so on.

    Parameters
    ----------
    truth, prediction : ndarray, shape (n,)
    counts : ndarray of int, shape (n,)
        How many training ratings the item, or the user, of each rating has.

    Returns
    -------
    list of dict
        Of each group that has ratings: 'from', 'to' (both included), 'test_ratings', 'rmse', 'mae'.
    """
    groups = []
    low, high = 0, 0
    while low <= counts.max(initial=-1):
        chosen = (counts >= low) & (counts <= high)
        if chosen.any():
            pair = truth[chosen], prediction[chosen]
            group = {"from": low, "to": high, "test_ratings": int(chosen.sum())}
            groups.append({**group, "rmse": rmse(*pair), "mae": mae(*pair)})
        low, high = high + 1, 10 * high + 9

    return groups


def mean_over_users(
    truth: np.ndarray, prediction: np.ndarray, users: np.ndarray
) -> tuple[float, float]:
    """Return the mean over users of the RMSE, and of the MAE, of each one's; NaN of nothing.

    Users count alike here, however many ratings they have.
    """
    error = _errors(truth, prediction)
    if not error.size:
        return math.nan, math.nan

    _, of_user = np.unique(users, return_inverse=True)
    counts = np.bincount(of_user)
    squared = np.bincount(of_user, np.square(error)) / counts
    absolute = np.bincount(of_user, np.abs(error)) / counts
    return float(np.sqrt(squared).mean()), float(absolute.mean())


def top_items(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the k items of highest score, best first; of equal scores the lower index first.

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
    """Return which ranked items are held-out ones.

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
    """Return a user's hits among the first k, over min(k, relevant) (Liang et al. 2018, 4.2).

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
    return _over_relevant(found, np.minimum(k, relevant), relevant)


def plain_recall_at(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return a user's hits among the first k, over all relevant: with more than k it is below 1.

    See `recall_at` for parameters and users without held-out items.
    """
    return _over_relevant(hits[:, :k].sum(axis=1), relevant, relevant)


def precision_at(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return a user's hits among the first k, over k. See `recall_at`."""
    return _over_relevant(hits[:, :k].sum(axis=1), np.full(len(hits), k), relevant)


def hit_rate_at(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return 1 for a user with a hit among the first k, else 0. See `recall_at`.

    Source: Deshpande and Karypis, Item-based top-N recommendation algorithms, ACM TOIS 2004.
    """
    return _over_relevant(hits[:, :k].any(axis=1), np.ones(len(hits)), relevant)


def reciprocal_rank_at(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return 1 / rank of a user's first hit, ranks from 1; 0 without one among the first k.

    Its mean over users is the MRR (Voorhees, TREC-8, 1999). See `recall_at`.
    """
    shown = hits[:, :k]
    first = shown.argmax(axis=1) + 1
    return _over_relevant(shown.any(axis=1), first, relevant)


def average_precision_at(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return the sum of precision@rank over hits up to rank k, over min(k, relevant).

    Its mean over users is the MAP@k (Manning, Raghavan, Schuetze, Introduction to Information
    Retrieval, 2008, section 8.4, cut off at k). See `recall_at`.
    """
    shown = hits[:, :k]
    ranks = np.arange(1, shown.shape[1] + 1)
    precisions = shown.cumsum(axis=1) / ranks

    return _over_relevant((precisions * shown).sum(axis=1), np.minimum(k, relevant), relevant)


def coverage_at(ranked: np.ndarray, num_items: int, k: int) -> float:
    """Return the share of all items that are among the first k of at least one user.

    Source: Ge, Delgado-Battenfeld, Jannach, Beyond accuracy, RecSys 2010 (catalog coverage).

    Parameters
    ----------
    ranked : ndarray of int, shape (users, at least k or all items)
        -1 is no item.
    num_items : int
    k : int
    """
    shown = np.unique(ranked[:, :k])
    return float((shown >= 0).sum() / num_items)


def _over_relevant(values: np.ndarray, by: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Return values / by, shape (users,); NaN for a user without held-out items."""
    quotients = np.full(len(values), np.nan)
    return np.divide(values, by, where=relevant > 0, out=quotients)


def ndcg_at(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return a user's sum of 1 / log2(rank + 1) over hits, over that of min(k, relevant) hits.

    Ranks are from 1. See `recall_at` for parameters and users without held-out items.
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    gain = hits[:, :k] @ discounts[: hits.shape[1]]

    ideal_of = np.concatenate([[0], np.cumsum(discounts)])  # of that many hits
    ideal = ideal_of[np.minimum(k, relevant)]

    return _over_relevant(gain, ideal, relevant)


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and its standard error, sd / sqrt(users), over users that are not NaN."""
    values = values[~np.isnan(values)]
    if not len(values):
        return math.nan, math.nan
    return float(values.mean()), float(values.std() / np.sqrt(len(values)))


METRICS = {
    "ndcg": ndcg_at,
    "recall": recall_at,
    "plain_recall": plain_recall_at,
    "precision": precision_at,
    "hit_rate": hit_rate_at,
    "mrr": reciprocal_rank_at,
    "map": average_precision_at,
}
