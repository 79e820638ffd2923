"""Why an item is recommended: the rated items that speak for it; imports no MXNet."""

import numpy as np

from .predictor import Predictor, Scored

MOST = 3


def because(
    predictor: Predictor, items: np.ndarray, rated: np.ndarray, values: np.ndarray
) -> list[list[Scored]]:
    """For each item the rated ones that contribute most, best first, at most `MOST`.

    A rated item contributes its similarity to the item, times how far its rating is above the
    lowest of the scale. Similarities are the cosines of `similar_items`, or the weights of a
    linear model (EASE). What does not speak for the item, with a contribution of 0 or below, is
    left out; of a model without vectors nothing is known.

    Parameters
    ----------
    predictor : Predictor
    items : ndarray of int, shape (n,)
        Positions of the recommended items.
    rated : ndarray of int, shape (rated,)
        Positions of the rated items.
    values : ndarray of float, shape (rated,)
        Their ratings on the user's scale.

    Returns
    -------
    list of list of Scored
        The score is the similarity.
    """
    warm = ~predictor.cold_items[rated]
    rated = rated[warm]
    similarities = _similarities(predictor, items, rated)  # (n, rated)
    if similarities is None:
        return [[] for _ in items]

    contributions = similarities * _weights(predictor, values[warm])
    best_first = np.argsort(-contributions, axis=1, kind="stable")[:, :MOST]
    best = np.take_along_axis(contributions, best_first, axis=1)

    named = predictor.scored(rated, np.zeros(len(rated)))
    reasons = []
    for places, of_item, similarity in zip(
        best_first.tolist(), best.tolist(), similarities.tolist()
    ):
        speaking = [place for place, part in zip(places, of_item) if part > 0]
        reasons.append([named[place]._replace(score=similarity[place]) for place in speaking])

    return reasons


def _similarities(predictor: Predictor, items: np.ndarray, rated: np.ndarray) -> np.ndarray | None:
    """Shape (items, rated); None of a model that has none."""
    if predictor.item_vectors is not None:
        return predictor.directions[items] @ predictor.directions[rated].T

    linear = predictor.parts.linear
    if linear is None or linear.weights is None:
        return None
    return linear.weights[np.ix_(rated, items)].T


def _weights(predictor: Predictor, values: np.ndarray) -> np.ndarray:
    """From 0, of the lowest rating of the scale, to 1; a click is 1."""
    low, high = predictor.ratings.bounds
    if high == low:
        return np.ones(len(values))
    return (values - low) / (high - low)
