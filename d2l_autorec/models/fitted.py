"""A model that is computed at once, as a run sees a network."""

from typing import TYPE_CHECKING, Any

import numpy as np
from mxnet.ndarray import NDArray as MXNetArray  # of which mxnet.np's arrays are a subclass
from scipy import sparse

from ..kernels.csr import CSRBatch
from .base import Model

if TYPE_CHECKING:
    from .kinds import RunConfig
    from .vectors import Linear


class Fitted(Model):
    """What the `fit` of a model returns, as a network without parameters of MXNet's.

    Parameters
    ----------
    config : RunConfig

    Shape: (batch_size, items), an ndarray or a CSRBatch -> (batch_size, items).
    """

    is_closed_form = True
    has_parameters = False

    def __init__(self, config: "RunConfig") -> None:
        self._config = config
        self._linear: Any = None

    def fit(self, train: sparse.csr_matrix) -> "Fitted":
        """Compute the scores' weights from a matrix of shape (users, items)."""
        self._linear = self._config.fit(train)
        return self

    def linear(self) -> "Linear":
        """Return the scores as a linear function of a user's row."""
        return self._linear

    def __call__(self, rows: Any) -> np.ndarray:
        weights, biases = self._linear.weights, self._linear.biases
        if weights is None:
            return np.tile(biases, (rows.shape[0], 1))
        return as_csr(rows) @ weights + biases


def as_csr(rows: Any) -> sparse.csr_matrix:
    """Return a batch, dense or CSRBatch, as a SciPy matrix."""
    if isinstance(rows, CSRBatch):
        return sparse.csr_matrix((rows.data, rows.indices, rows.indptr), rows.shape)
    if isinstance(rows, MXNetArray):
        rows = rows.asnumpy()
    return sparse.csr_matrix(rows)
