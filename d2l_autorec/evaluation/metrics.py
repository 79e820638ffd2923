"""Metrics in plain NumPy; each docstring has the formula."""

import math
from typing import Any

import numpy as np
from scipy import sparse


def rmse(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Return the root of the mean of (truth - prediction)^2, in float64; NaN for no ratings."""
    error = _errors(truth, prediction)
    return float(np.sqrt(np.mean(np.square(error)))) if error.size else math.nan


def mae(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Return the mean of |truth - prediction|, in float64; NaN for no ratings."""
    error = _errors(truth, prediction)
    return float(np.mean(np.abs(error))) if error.size else math.nan


def _errors(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return truth - prediction, in float64."""
    return np.asarray(truth, dtype=np.float64) - np.asarray(prediction, dtype=np.float64)


def errors_by_count(
    truth: np.ndarray, prediction: np.ndarray, counts: np.ndarray
) -> list[dict[str, Any]]:
    """Return RMSE and MAE of ratings in groups by `counts`: 0, 1 to 9, 10 to 99, and so on.

    Parameters
    ----------
    truth, prediction : ndarray, shape (n,)
        Test ratings, and their predictions.
    counts : ndarray of int, shape (n,)
        How many training ratings the item, or the user, of each test rating has.

    Returns
    -------
    list of dict
        For each group that has test ratings: 'from', 'to' (both included), 'test_ratings', 'rmse',
        'mae'.
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


def errors_by_user(
    truth: np.ndarray, prediction: np.ndarray, users: np.ndarray
) -> dict[str, np.ndarray]:
    """Return columns with a row for each user: 'user' (ascending), 'ratings', 'rmse' and 'mae'."""
    error = _errors(truth, prediction)
    different, place, counts = np.unique(users, return_inverse=True, return_counts=True)
    squared = np.bincount(place, np.square(error)) / counts
    absolute = np.bincount(place, np.abs(error)) / counts
    return {"user": different, "ratings": counts, "rmse": np.sqrt(squared), "mae": absolute}


def hits_at(ranked: np.ndarray, held_out: sparse.csr_matrix) -> np.ndarray:
    """Return which of the ranked items are held-out ones.

    Parameters
    ----------
    ranked : ndarray of int, shape (users, k)
        The ranked items; -1 is none.
    held_out : csr_matrix, shape (users, items)
        The held-out clicks.

    Returns
    -------
    ndarray of bool, shape (users, k)
    """
    users = np.arange(len(ranked))[:, None]
    return (held_out[users, ranked].toarray() > 0) & (ranked >= 0)


def recall_at(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return the number of hits among each user's first k, over min(k, relevant).

    Source: Liang et al., Variational Autoencoders for Collaborative Filtering, WWW 2018, section
    4.2.

    Parameters
    ----------
    hits : ndarray of bool, shape (users, at least k or all items)
        Which of the ranked items are held-out ones, best first.
    relevant : ndarray of int, shape (users,)
        How many held-out items each user has, at least 1.

    Returns
    -------
    ndarray of float64, shape (users,)
    """
    return hits[:, :k].sum(axis=1) / np.minimum(k, relevant)


def plain_recall_at(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return the number of hits among each user's first k, over all relevant, even if more than k.

    See `recall_at` for parameters.
    """
    return hits[:, :k].sum(axis=1) / relevant


def precision_at(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return the number of hits among each user's first k, over k. See `recall_at`."""
    return hits[:, :k].sum(axis=1) / k


def hit_rate_at(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return 1 for a user with a hit among the first k, else 0. See `recall_at`.

    Source: Deshpande and Karypis, Item-based top-N recommendation algorithms, ACM TOIS 2004.
    """
    return hits[:, :k].any(axis=1).astype(float)


def reciprocal_rank_at(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return 1 / rank of a user's first hit, ranks from 1; 0 without one among the first k.

    Its mean over users is the MRR (Voorhees, TREC-8, 1999). See `recall_at`.
    """
    shown = hits[:, :k]
    return shown.any(axis=1) / (shown.argmax(axis=1) + 1)


def average_precision_at(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return the sum of precision@rank over hits up to rank k, over min(k, relevant).

    Its mean over users is the MAP@k (Manning, Raghavan, Schuetze, Introduction to Information
    Retrieval, 2008, section 8.4, cut off at k). See `recall_at`.
    """
    shown = hits[:, :k]
    ranks = np.arange(1, shown.shape[1] + 1)
    precisions = shown.cumsum(axis=1) / ranks

    return (precisions * shown).sum(axis=1) / np.minimum(k, relevant)


def coverage_at(ranked: np.ndarray, num_items: int, k: int) -> float:
    """Return the share of all items that are among the first k of at least one user.

    Source: Ge, Delgado-Battenfeld, Jannach, Beyond accuracy, RecSys 2010 (catalog coverage).

    Parameters
    ----------
    ranked : ndarray of int, shape (users, at least k or all items)
        The ranked items; -1 is none.
    num_items : int
        How many items there are.
    k : int
    """
    return float((recommendation_counts(ranked, num_items, k) > 0).mean())


def gini_at(ranked: np.ndarray, num_items: int, k: int) -> float:
    """Return the Gini index of how often each item is among the first k.

    It is 0 if all items are as often, and 1 if it is always the same one.

    With the counts c in ascending order it is sum_j (2j - items - 1) c_j / sum c / (items - 1).
    Source: Shani and Gunawardana, Evaluating recommendation systems, Recommender Systems Handbook,
    2011. See `coverage_at` for parameters.
    """
    counts = np.sort(recommendation_counts(ranked, num_items, k))
    weights = 2 * np.arange(1, num_items + 1) - num_items - 1
    return float(weights @ counts / (counts.sum() * (num_items - 1)))


def recommendation_counts(ranked: np.ndarray, num_items: int, k: int) -> np.ndarray:
    """Return for how many users each item is among the first k, shape (items,)."""
    shown = ranked[:, :k]
    return np.bincount(shown[shown >= 0], minlength=num_items)


def novelty_at(ranked: np.ndarray, train: sparse.csr_matrix, k: int) -> np.ndarray:
    """Return the mean of -log2 p(item), the self-information in bits, over each user's first k.

    p(item) is the share of the training users who clicked it. Source: Zhou et al., Solving the
    apparent diversity-accuracy dilemma of recommender systems, PNAS 107(10), 2010.

    Parameters
    ----------
    ranked : ndarray of int, shape (users, at least k or all items)
        The ranked items; -1 is none.
    train : csr_matrix, shape (training users, items)
        The training clicks.
    k : int

    Returns
    -------
    ndarray of float64, shape (users,)
        NaN for a user without a ranked item.
    """
    shown = ranked[:, :k]
    bits = np.log2(train.shape[0] / clicks_of_items(train))
    return np.ma.masked_where(shown < 0, bits[shown]).mean(axis=1).filled(np.nan)


def clicks_of_items(train: sparse.csr_matrix) -> np.ndarray:
    """Return how many users clicked each item, but at least 1, shape (items,)."""
    return np.maximum(np.bincount(train.indices, minlength=train.shape[1]), 1)


def diversity_at(likeness: np.ndarray, ranked: np.ndarray, k: int) -> np.ndarray:
    """Return the mean of 1 - cosine over the pairs of each user's first k; 0 if there is no pair.

    Source: Ziegler et al., Improving recommendation lists through topic diversification, WWW 2005
    (intra-list similarity); as a distance Zhang and Hurley, Avoiding monotony, RecSys 2008.

    Parameters
    ----------
    likeness : ndarray, shape (users, depth)
        The result of `likeness_to_better`.
    ranked : ndarray of int, shape (users, depth)
        The ranked items; -1 is none.
    k : int

    Returns
    -------
    ndarray of float64, shape (users,)
    """
    lengths = (ranked[:, :k] >= 0).sum(axis=1)
    pairs = lengths * (lengths - 1) / 2
    return (pairs - likeness[:, :k].sum(axis=1)) / np.maximum(pairs, 1)


def likeness_to_better(ranked: np.ndarray, train: sparse.csr_matrix) -> np.ndarray:
    """Return the sum of each ranked item's cosines to the items that are ranked above it.

    The cosine of two items is that of their columns in `train`. Only the cosines of one item are in
    memory at a time. See `novelty_at` for parameters.

    Returns
    -------
    ndarray of float64, shape (users, depth)
        The sums; 0 where there is no item.
    """
    columns = (train @ sparse.diags(1 / np.sqrt(clicks_of_items(train)))).tocsr()
    by_item = columns.T.tocsr()

    items, starts = np.unique(np.sort(ranked, axis=None), return_index=True)
    places_of = np.split(np.argsort(ranked, axis=None, kind="stable"), starts[1:])
    likeness = np.zeros(ranked.shape)
    for item, places in zip(items, places_of):
        if item < 0:
            continue
        cosines = (by_item[item] @ columns).toarray()[0]
        users, ranks = np.divmod(places, ranked.shape[1])
        is_above = np.arange(ranked.shape[1]) < ranks[:, None]
        likeness[users, ranks] = (cosines[ranked[users]] * is_above).sum(axis=1)

    return likeness


def ndcg_at(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return each user's NDCG: the gain of the first k, over that of the best possible ranking.

    The gain is the sum of 1 / log2(rank + 1) over hits, with ranks from 1; the best ranking has
    min(k, relevant) hits, first. See `recall_at` for parameters.

    Sources: Jarvelin and Kekalainen, Cumulated gain-based evaluation of IR techniques, ACM TOIS
    2002; Liang et al. 2018, section 4.2.
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    gain = hits[:, :k] @ discounts[: hits.shape[1]]

    best_gains = np.cumsum(discounts)  # by number of hits, from 1
    return gain / best_gains[np.minimum(k, relevant) - 1]


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
