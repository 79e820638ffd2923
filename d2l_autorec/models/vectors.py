"""Models as NumPy arrays and functions, for what answers without MXNet."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse, special

SELU_SLOPE = 1.0507009873554805  # of its positive branch
SELU_LOWEST = 1.6732632423543772  # its negative branch tends to minus this, times the slope


class Vectors(NamedTuple):
    """Vectors and biases of users or items; a prediction is their product plus both biases.

    Parameters
    ----------
    weights : ndarray of float32, shape (n, H)
    biases : ndarray of float32, shape (n,)
    """

    weights: np.ndarray
    biases: np.ndarray


class Linear(NamedTuple):
    """Scores of items as a linear function of a user's row: row @ weights + biases.

    Parameters
    ----------
    weights : ndarray or csr_matrix, shape (items, items), or None
        None where a row makes no difference.
    biases : ndarray of float32, shape (items,)
    """

    weights: np.ndarray | sparse.csr_matrix | None
    biases: np.ndarray

    def scores(self, rows: sparse.csr_matrix) -> np.ndarray:
        """Return the scores of rows, shape (rows, items)."""
        if self.weights is None:
            return np.tile(self.biases, (rows.shape[0], 1))
        return _dense(rows @ self.weights) + self.biases

    def effects(self, clicked: Any) -> np.ndarray:
        """Return how much clicks on items speak for each item, shape (clicked, items)."""
        return _dense(self.weights[clicked])  # type: ignore[index]

    def parts(self) -> dict[str, Any]:
        """Return what `Parts` are made of."""
        return {"linear": self}


@dataclass(frozen=True, eq=False)
class FoldIn:
    """Scores of items by the vector of a user, which is solved for by their row of clicks.

    With h_i the vector of item i, w minimises

        sum over clicks of (1 - h_i w)^2 + unobserved * sum over all items of (h_i w)^2
            + penalty * (clicks + unobserved * items) |w|^2.

    Parameters
    ----------
    items : ndarray of float32, shape (items, H)
    penalty, unobserved : float
    """

    items: np.ndarray
    penalty: float
    unobserved: float

    @cached_property
    def _gram(self) -> np.ndarray:
        vectors = self.items.astype(np.float64)
        return self.unobserved * (vectors.T @ vectors)

    def vectors(self, rows: sparse.csr_matrix) -> np.ndarray:
        """Return the vectors of rows, shape (rows, H)."""
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
        """Return what `Parts` are made of."""
        vectors = Vectors(self.items, np.zeros(len(self.items), dtype=np.float32))
        return {"items": vectors, "score_rows": self.scores, "fold_in": self}


def _dense(matrix: Any) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else matrix


class ScaledActivation(NamedTuple):
    """An activation of predictions; bounded ones are scaled to the ratings.

    sigmoid(z) lies in (0, 1) and tanh(z) in (-1, 1): neither could predict a
    5. They are stretched to low..high.

    Parameters
    ----------
    name : {'sigmoid', 'tanh', 'relu', 'elu', 'selu'}
    low, high : float
        Ends of the rating scale, in the network's units.
    """

    name: str
    low: float
    high: float

    def line(self) -> tuple[float, float]:
        """Return factor and summand that take the activation to the scale."""
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
            return special.expit(z)
        if self.name == "tanh":
            return np.tanh(z)
        if self.name == "relu":
            return np.maximum(z, 0)

        slope, lowest = (1, 1) if self.name == "elu" else (SELU_SLOPE, SELU_LOWEST)
        negative = np.float32(lowest) * np.expm1(np.minimum(z, 0))
        return np.where(z > 0, z, negative) * np.float32(slope)

    def inverse(self, ratings: np.ndarray) -> np.ndarray:
        """Return what z would be for these ratings, which are above 0.

        The ends of the scale, which a bounded activation only approaches, count
        as 2 % inside it.
        """
        if self.name == "selu":
            return ratings / np.float32(SELU_SLOPE)
        if self.name in ("relu", "elu"):
            return ratings

        share = (ratings - self.low) / (self.high - self.low)
        inside = np.clip(share, 0.02, 0.98)
        logit = np.log(inside / (1 - inside))

        return logit if self.name == "sigmoid" else logit / 2  # tanh(z) = 2 sigmoid(2 z) - 1
