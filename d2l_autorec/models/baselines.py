"""Rankings without a network: by popularity, and by a closed-form linear autoencoder."""

from typing import Any

import numpy as np
from mxnet.ndarray import NDArray as MXNetArray  # of which mxnet.np's arrays are a subclass
from scipy import linalg, sparse

from ..kernels.csr import CSRBatch
from ..support.errors import ConfigError
from ..support.memory import available_memory, check_fits
from .base import Model
from .vectors import Linear

BLOCK = 1024  # items whose products are in sparse form at once


class Popularity(Model):
    """Scores are the numbers of clicks in training, the same for every user.

    Shape: (batch_size, items) -> (batch_size, items).
    """

    is_closed_form = True
    has_parameters = False

    def fit(self, train: sparse.csr_matrix) -> "Popularity":
        """Count the clicks of a matrix of shape (users, items)."""
        clicks = np.bincount(train.indices, minlength=train.shape[1])
        self._clicks = clicks.astype(np.float32)
        return self

    def linear(self) -> Linear:
        """The same scores for every row."""
        return Linear(None, self._clicks)

    def __call__(self, fold_in: Any) -> np.ndarray:
        return np.tile(self._clicks, (fold_in.shape[0], 1))


class EASE(Model):
    """Linear autoencoder without self-similarity: scores X B, in closed form.

    G = X'X + penalty I; P = inverse of G; B_ij = -P_ij / P_jj, and 0 on the diagonal.

    Parameters
    ----------
    penalty : float
        Lambda of the paper.
    memory : int, optional
        Bytes that may be used; by default what is available now.

    Raises
    ------
    ConfigError
        If the penalty is not above 0; by `fit`, if there are too many items for
        the memory, before anything is computed.

    Shape: (batch_size, items), an ndarray or a CSRBatch -> (batch_size, items).

    Source: Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019, equation 8.
    """

    is_closed_form = True
    has_parameters = False

    def __init__(self, penalty: float = 500.0, memory: int | None = None) -> None:
        if not 0 < penalty < float("inf"):
            raise ConfigError(f"EASE's penalty is {penalty:g}: it must be above 0")

        self._penalty = penalty
        self._memory = memory

    def fit(self, train: sparse.csr_matrix) -> "EASE":
        """Solve for the weights; X is `train`, of shape (users, items)."""
        memory = self._memory
        if memory is None:
            memory = available_memory()
        check_memory(train.shape[1], memory)

        gram = gram_matrix(train, self._penalty)  # (items, items)
        weights = _inverse(gram)

        weights /= -np.diag(weights).copy()  # column j by P_jj
        np.fill_diagonal(weights, 0)

        self._weights = weights
        return self

    def linear(self) -> Linear:
        """The weights."""
        no_biases = np.zeros(len(self._weights), dtype=np.float32)
        return Linear(self._weights, no_biases)

    def __call__(self, fold_in: Any) -> np.ndarray:
        return as_csr(fold_in) @ self._weights


def needed_memory(items: int) -> int:
    """Bytes that EASE takes at its peak: one float64 matrix of items x items, and a block."""
    return 8 * items * items + 24 * BLOCK * items


def check_memory(items: int, memory: int | None) -> None:
    """Raise ConfigError if EASE of so many items does not fit; None is no known limit."""
    enough = ""
    if memory is not None:
        enough = f", enough for {_largest(memory)} items"
    way_out = f"{enough}: drop rare items with `min_item_clicks`, or leave EASE out"

    check_fits(needed_memory(items), memory, f"EASE of {items} items", way_out)


def _largest(memory: int) -> int:
    half = 12 * BLOCK  # the positive root of 8 n^2 + 24 BLOCK n = memory
    return int((np.sqrt(half * half + 8.0 * memory) - half) / 8)


def gram_matrix(train: sparse.csr_matrix, penalty: float) -> np.ndarray:
    """X'X + penalty I in float64, a block of items at a time."""
    by_user = train.astype(np.float64)
    by_item = by_user.T.tocsr()
    items = train.shape[1]
    gram = np.empty((items, items))

    for first in range(0, items, BLOCK):
        last = first + BLOCK
        gram[first:last] = (by_item[first:last] @ by_user).toarray()

    gram[np.diag_indices_from(gram)] += penalty
    return gram


def _inverse(gram: np.ndarray) -> np.ndarray:
    """The inverse of a symmetric positive definite matrix, in its own memory."""
    factor, _ = linalg.lapack.dpotrf(gram.T, lower=1, overwrite_a=1)  # .T: LAPACK's order
    inverse, _ = linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)

    for first in range(0, len(inverse), BLOCK):  # only the lower triangle is computed
        last = first + BLOCK

        block = inverse[first:last, first:last]
        block[...] = np.tril(block) + np.tril(block, -1).T
        inverse[first:last, last:] = inverse[last:, first:last].T

    return inverse


def as_csr(rows: Any) -> sparse.csr_matrix:
    """A batch, dense or CSRBatch, as a SciPy matrix."""
    if isinstance(rows, CSRBatch):
        return sparse.csr_matrix((rows.data, rows.indices, rows.indptr), rows.shape)
    if isinstance(rows, MXNetArray):
        rows = rows.asnumpy()
    return sparse.csr_matrix(rows)
