"""AutoRec of what user and item means leave of the ratings."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as onp
from mxnet import np
from mxnet.gluon import nn

from ..data.means import Means, shrunk_means
from ..kernels.csr import CSRBatch, numpy_view
from .deep_autorec import DeepAutoRec
from .layers import Dropout
from .vectors import Vectors

ROW_LENGTH = 20.0  # of a row of inputs that are all 1: what the encoder of 500 units begins with


class Reading(NamedTuple):
    """A sparse batch as a network reads it.

    Parameters
    ----------
    inputs : CSRBatch, (B, C)
        What the encoder reads.
    targets : ndarray of float32, shape (n,)
        What the decoder is to predict at the entries.
    unit : float
        What 1 stands for in the targets, in the ratings' unit.
    row_biases : ndarray of float32, shape (B,)
        What is added to a row's predictions.
    """

    inputs: CSRBatch
    targets: onp.ndarray
    unit: float
    row_biases: onp.ndarray


class Centering(nn.HybridBlock):
    """What a row's mean and the columns' means say of its ratings, and what they leave.

    rating = column mean + row bias + unit * left

    The row bias is the shrunk mean of the row's own ratings, less the columns' means, so that a
    row which training did not see has one, too. An input is (left + 1) where there is a rating
    and 0 elsewhere, times `ROW_LENGTH` / sqrt(ratings of the row): who rated what counts, and
    rows of few ratings count as much as rows of many.

    Parameters
    ----------
    means : Means
        Of the rows and columns of training. They are constants: not trained, but kept with the
        parameters.
    """

    def __init__(self, means: Means, **kwargs: Any) -> None:
        super().__init__(**kwargs)

        with self.name_scope():
            self.columns = self._constant("columns", means.mean + means.columns)
            self.damping = self._constant("damping", [means.row_damping])
            self.unit = self._constant("unit", [means.unit])

    def _constant(self, name: str, values: Any) -> Any:
        return self.params.get_constant(name, np.array(values, dtype="float32"))

    def hybrid_forward(
        self, F: Any, x: Any, columns: Any, damping: Any, unit: Any
    ) -> tuple[Any, Any]:
        """Return the encoder's inputs, (B, C), and row biases, (B, 1), of a dense batch."""
        observed = F.np.abs(F.np.sign(x))
        counts = observed.sum(axis=1, keepdims=True)

        left = (x - columns) * observed
        row_biases = left.sum(axis=1, keepdims=True) / (counts + damping)
        left = (left - row_biases * observed) / unit

        length = ROW_LENGTH / F.np.sqrt(F.np.maximum(counts, 1))
        return (left + observed) * length, row_biases

    def rated(self, predicted: Any, row_biases: Any) -> Any:
        """Return the ratings, (B, C), of what the decoder predicts for a dense batch."""
        ctx = predicted.ctx
        return predicted * self.unit.data(ctx) + self.columns.data(ctx) + row_biases

    def read(self, batch: CSRBatch) -> Reading:
        """Return a sparse batch as the network reads it, with what the decoder is to predict."""
        size, rows = len(batch), batch.rows
        counts = onp.diff(batch.indptr)

        left = batch.data - self.column_means()[batch.indices]
        row_biases = shrunk_means(rows, left, size, self.row_damping()).astype(onp.float32)
        unit = self.unit_of_ratings()
        targets = ((left - row_biases[rows]) / unit).astype(onp.float32)

        lengths = (ROW_LENGTH / onp.sqrt(onp.maximum(counts, 1))).astype(onp.float32)
        values = (targets + onp.float32(1)) * lengths[rows]
        return Reading(batch.with_data(values), targets, unit, row_biases)

    def at(self, cells: CSRBatch, row_biases: onp.ndarray) -> onp.ndarray:
        """Return what the means predict at the entries of a batch, shape (n,)."""
        return self.column_means()[cells.indices] + row_biases[cells.rows]

    def column_means(self) -> onp.ndarray:
        """Return the column means, shape (C,)."""
        return numpy_view(self.columns.list_data()[0])

    def row_damping(self) -> float:
        """Ratings of 0 deviation that a row is given beside its own."""
        return float(numpy_view(self.damping.list_data()[0])[0])

    def unit_of_ratings(self) -> float:
        """Return what 1 stands for in the network."""
        return float(numpy_view(self.unit.list_data()[0])[0])

    def in_ratings(self, decoder: Vectors) -> Vectors:
        """Return the decoder's rows and biases, such that what they predict are ratings."""
        unit = onp.float32(self.unit_of_ratings())
        return Vectors(decoder.weights * unit, decoder.biases * unit + self.column_means())


class CenteredAutoRec(DeepAutoRec):
    """AutoRec that reads and predicts what row and column means leave of the ratings.

    ratings -> `Centering` -> input dropout -> AutoRec -> + means -> ratings

    Before its first step it predicts the means; what it learns, it learns beside them. Rows of
    few ratings, of which AutoRec makes next to nothing, so have the means to fall back on.

    Parameters
    ----------
    num_hidden, num_users, dropout, **kwargs
        As for `DeepAutoRec`, whose f is the identity here.
    means : Means
        Of the columns.
    input_dropout : float
        Share of the ratings that the encoder does not see in training, and is to predict all the
        same (as Mult-DAE's).

    Shape: (batch_size, num_users) -> (batch_size, num_users).
    """

    def __init__(
        self,
        num_hidden: Sequence[int],
        num_users: int,
        means: Means,
        dropout: float = 0.05,
        input_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_hidden, num_users, dropout, **kwargs)

        with self.name_scope():
            self.centering = Centering(means)
            self.input_dropout = Dropout(input_dropout)

        if self.decoder.weight is not self.encoder.weight:
            self.decoder.weight.init = "zeros"  # it begins with the means, and nothing beside

    def read(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        """Return the encoder's inputs, and row biases, (B, 1)."""
        inputs, row_biases = self.centering(x)
        return self.input_dropout(inputs) * self.input_scale, row_biases

    def rated(self, z: np.ndarray, row_biases: Any) -> np.ndarray:
        """Return the ratings that the decoder's outputs stand for."""
        return self.centering.rated(z, row_biases)
