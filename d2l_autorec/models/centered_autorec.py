"""AutoRec on ratings from which user and item means were subtracted."""

from typing import Any, NamedTuple

import numpy as onp
from mxnet import np
from mxnet.gluon import nn

from ..data.means import Means, Prior
from ..kernels.csr import CSRBatch, numpy_view
from .deep_autorec import DeepAutoRec
from .layers import Dropout
from .vectors import Vectors

ROW_LENGTH = 20.0  # Euclidean length of a row of inputs that the means predict exactly


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
        What is added to the predictions of each row.
    """

    inputs: CSRBatch
    targets: onp.ndarray
    unit: float
    row_biases: onp.ndarray


class Centering(nn.HybridBlock):
    """A layer that splits ratings into what the means predict and what is left.

    rating = column mean + row bias + unit * left

    The row bias is the shrunk mean of the row's own ratings less the columns' means, so that a
    row which training did not see has one, too. An input is (left + 1) where there is a rating
    and 0 elsewhere, times `ROW_LENGTH` / sqrt(ratings of the row): it counts, too, who rated
    what, and rows of few ratings count as much as rows of many.

    Parameters
    ----------
    means : Means
        The means of the training matrix. They are constants: not trained, but kept with the
        parameters.

    Shape: (batch_size, columns) -> (batch_size, columns), (batch_size, 1).
    """

    def __init__(self, means: Means) -> None:
        super().__init__()

        with self.name_scope():
            self.columns = self._constant("columns", means.mean + means.columns)
            self.prior = self._constant("prior", means.row_prior)
            self.unit = self._constant("unit", [means.unit])
        self._last: tuple[Any, Any] = (None, None)

    def _constant(self, name: str, values: Any) -> Any:
        return self.params.get_constant(name, np.array(values, dtype="float32"))

    def hybrid_forward(self, F: Any, x: Any, columns: Any, prior: Any, unit: Any) -> Any:
        """Return the encoder's inputs, (B, C), and the row biases, (B, 1), for a dense batch."""
        observed = F.np.abs(F.np.sign(x))
        counts = observed.sum(axis=1, keepdims=True)

        left = (x - columns) * observed
        expected = prior[1] * F.np.log(F.np.maximum(counts, 1))
        total = left.sum(axis=1, keepdims=True) - counts * expected
        row_biases = expected + total / (counts + prior[0])
        left = (left - row_biases * observed) / unit

        length = ROW_LENGTH / F.np.sqrt(F.np.maximum(counts, 1))
        return (left + observed) * length, row_biases

    def rated(self, predicted: Any, row_biases: Any) -> Any:
        """Convert the decoder's outputs for a dense batch to ratings, (B, C)."""
        ctx = predicted.ctx
        return predicted * self.unit.data(ctx) + self.columns.data(ctx) + row_biases

    def read(self, batch: CSRBatch) -> Reading:
        """Return a sparse batch as the network reads it, with what the decoder is to predict.

        The last result is kept: steps and evaluations read the same batch, the whole table.
        """
        data, reading = self._last
        if data is not batch.data:
            reading = self._read(batch)
            self._last = batch.data, reading
        return reading

    def _read(self, batch: CSRBatch) -> Reading:
        rows = batch.rows
        counts = onp.diff(batch.indptr)

        left = batch.data - self.column_means()[batch.indices]
        sums = onp.bincount(rows, left, len(batch))
        row_biases = self.row_prior().biases(counts, sums).astype(onp.float32)
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

    def row_prior(self) -> Prior:
        """Return the numbers by which row biases are shrunk."""
        return Prior(*numpy_view(self.prior.list_data()[0]).tolist())

    def unit_of_ratings(self) -> float:
        """Return how many rating units a 1 in the network stands for."""
        return float(numpy_view(self.unit.list_data()[0])[0])

    def in_ratings(self, decoder: Vectors) -> Vectors:
        """Return the decoder's weights and biases, scaled so that they predict ratings."""
        unit = onp.float32(self.unit_of_ratings())
        return Vectors(decoder.weights * unit, decoder.biases * unit + self.column_means())


class CenteredAutoRec(DeepAutoRec):
    """An AutoRec that reads and predicts what is left of ratings after row and column means.

    ratings -> `Centering` -> input dropout -> AutoRec -> + means -> ratings

    Before its first step it predicts the means (unless weights are tied), and it learns only what
    they leave. So rows of few ratings, from which AutoRec learns next to nothing, still have the
    means.

    Parameters
    ----------
    *sizes, **kwargs
        As for `DeepAutoRec`, whose f is the identity here.
    means : Means
        The means of the training matrix.
    input_dropout : float
        Share of the ratings that training hides from the encoder, but still has the decoder
        predict (as in Mult-DAE).

    Shape: (batch_size, num_users) -> (batch_size, num_users).
    """

    def __init__(
        self, *sizes: Any, means: Means, input_dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(*sizes, **kwargs)

        with self.name_scope():
            self.centering = Centering(means)
            self.input_dropout = Dropout(input_dropout)

        if self.decoder.weight is not self.encoder.weight:
            self.decoder.weight.init = "zeros"  # so that it first predicts the means alone

    def read(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        """Return the encoder's inputs, (B, C), and the row biases, (B, 1)."""
        inputs, row_biases = self.centering(x)
        return self.input_dropout(inputs) * self.input_scale, row_biases

    def rated(self, z: np.ndarray, row_biases: Any) -> np.ndarray:
        """Return the ratings that the decoder's outputs stand for."""
        return self.centering.rated(z, row_biases)
