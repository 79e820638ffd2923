"""Trained models as NumPy arrays and functions, which answer without MXNet."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

SELU_SLOPE = 1.0507009873554805  # slope of the positive branch
SELU_LOWEST = 1.6732632423543772  # its negative branch tends to minus this, times the slope


class Vectors(NamedTuple):
    """Vectors and biases of users or of items.

    A prediction is the product of a user's and an item's vector, plus both biases.

    Parameters
    ----------
    weights : ndarray of float32, shape (n, H)
        The vectors.
    biases : ndarray of float32, shape (n,)
        The biases.
    """

    weights: np.ndarray
    biases: np.ndarray

    @classmethod
    def unbiased(cls, weights: np.ndarray) -> "Vectors":
        """Return these vectors, with biases of 0."""
        return cls(weights, np.zeros(len(weights), dtype=np.float32))


class Linear(NamedTuple):
    """Scores of items as a linear function of a user's row: row @ weights + biases.

    Parameters
    ----------
    weights : ndarray or csr_matrix, shape (items, items), or None
        None if the scores are the same for all rows.
    biases : ndarray of float32, shape (items,)
        What is added to the scores.
    """

    weights: np.ndarray | sparse.csr_matrix | None
    biases: np.ndarray

    def scores(self, rows: sparse.csr_matrix) -> np.ndarray:
        """Return the scores of rows, shape (rows, items)."""
        if self.weights is None:
            return np.tile(self.biases, (rows.shape[0], 1))
        return _dense(rows @ self.weights) + self.biases

    def effects(self, clicked: Any) -> np.ndarray:
        """Return what a click on each of `clicked` adds to the scores, shape (clicked, items)."""
        return _dense(self.weights[clicked])  # type: ignore[index]

    def parts(self) -> dict[str, Any]:
        """Return the keyword arguments that this gives `Parts`."""
        return {"linear": self, "score_rows": self.scores}


@dataclass(frozen=True, eq=False)
class FoldIn:
    """Scores of items by a user's vector, which is computed from their row of clicks.

    With h_i the vector of item i, the user's vector w minimises

        sum over clicks of (1 - h_i w)^2 + unobserved * sum over all items of (h_i w)^2
            + penalty * (clicks + unobserved * items) |w|^2.

    Parameters
    ----------
    items : ndarray of float32, shape (items, H)
        The vectors of the items.
    penalty, unobserved : float
        The two weights in that sum.
    """

    items: np.ndarray
    penalty: float
    unobserved: float

    @cached_property
    def _gram(self) -> np.ndarray:
        vectors = self.items.astype(np.float64)
        return self.unobserved * (vectors.T @ vectors)

    def vectors(self, rows: sparse.csr_matrix) -> np.ndarray:
        """Return the users' vectors for rows of clicks, shape (rows, H)."""
        found = np.zeros((rows.shape[0], self.items.shape[1]))
        for vector, start, end in zip(found, rows.indptr, rows.indptr[1:]):
            clicked = self.items[rows.indices[start:end]].astype(np.float64)
            ridge = self.penalty * (len(clicked) + self.unobserved * len(self.items))
            system = self._gram + clicked.T @ clicked + ridge * np.eye(len(vector))
            vector[:] = np.linalg.solve(system, clicked.sum(axis=0))
        return found.astype(np.float32)

    def scores(self, rows: sparse.csr_matrix) -> np.ndarray:
        """Return the scores of rows, shape (rows, items)."""
        return self.vectors(rows) @ self.items.T

    def parts(self) -> dict[str, Any]:
        """Return the keyword arguments that this gives `Parts`."""
        vectors = Vectors.unbiased(self.items)
        return {"items": vectors, "score_rows": self.scores, "fold_in": self}


def _dense(matrix: Any) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else matrix


def top_items(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the k items with the highest scores, best first; equal ones in index order.

    Only the chosen k are sorted, never all items.

    Parameters
    ----------
    scores : ndarray, shape (users, items)
        The scores; -inf for items that must not be ranked.
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


class ScaledActivation(NamedTuple):
    """An activation of predictions; one that is bounded is stretched to the rating scale.

    sigmoid(z) lies in (0, 1) and tanh(z) in (-1, 1): neither could predict a
    5. They are stretched to low..high.

    Parameters
    ----------
    name : {'sigmoid', 'tanh', 'relu', 'elu', 'selu'}
    low, high : float
        Lowest and highest rating, in the network's units.
    """

    name: str
    low: float
    high: float

    def line(self) -> tuple[float, float]:
        """Return the factor and the summand that take the activation to the rating scale."""
        if self.name == "sigmoid":
            return self.high - self.low, self.low
        if self.name == "tanh":
            return (self.high - self.low) / 2, (self.high + self.low) / 2
        return 1.0, 0.0

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Return ratings, in the network's units and of the shape of `z`."""
        factor, summand = self.line()
        return self._activated(z) * np.float32(factor) + np.float32(summand)

    def _activated(self, z: np.ndarray) -> np.ndarray:
        if self.name == "sigmoid":
            from scipy import special  # here: no training needs it, and it is slow to load

            return special.expit(z)
        if self.name == "tanh":
            return np.tanh(z)
        if self.name == "relu":
            return np.maximum(z, 0)

        slope, lowest = (1, 1) if self.name == "elu" else (SELU_SLOPE, SELU_LOWEST)
        negative = np.float32(lowest) * np.expm1(np.minimum(z, 0))
        return np.where(z > 0, z, negative) * np.float32(slope)

    def inverse(self, ratings: np.ndarray) -> np.ndarray:
        """Return the z that gives these ratings, which are above 0, in the same shape.

        A bounded activation only approaches the ends of the scale: ratings there count as 2 %
        inside it.
        """
        if self.name == "selu":
            return ratings / np.float32(SELU_SLOPE)
        if self.name in ("relu", "elu"):
            return ratings

        share = (ratings - self.low) / (self.high - self.low)
        inside = np.clip(share, 0.02, 0.98)
        logit = np.log(inside / (1 - inside))

        return logit if self.name == "sigmoid" else logit / 2  # tanh(z) = 2 sigmoid(2 z) - 1
