"""Models as NumPy arrays, for what answers without a network; imports no MXNet."""

from typing import NamedTuple

import numpy as np


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
    weights : ndarray, shape (items, items), or None
        None where a row makes no difference.
    biases : ndarray of float32, shape (items,)
    """

    weights: np.ndarray | None
    biases: np.ndarray
