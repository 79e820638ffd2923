"""AutoRec (Sedhain et al., 2015), as the d2l chapter has it, and deeper."""

from collections.abc import Sequence
from typing import Any

import numpy as onp
from mxnet import autograd, np, npx
from mxnet.gluon import Parameter, nn
from mxnet.initializer import Xavier

from ..kernels.csr import CSRBatch
from ..kernels.functions import masked_decode
from ..kernels.fused_step import ACTIVATIONS, Layers
from .base import Model, OneHiddenLayer, Reading, vectors_of
from .layers import Affine, Dropout, InputDense, OutputDense, activation, rating_activation
from .vectors import Vectors


class AutoRec(nn.HybridBlock, Model):
    """Reconstructs rating vectors: input -> encoder -> dropout [-> inner layers] -> decoder.

    h(r) = f(W g(V r + mu) + b) (paper, equation 1); the chapter's g is the
    sigmoid and its f the identity.

    Item-based, a row of the input holds the ratings of one item by all users,
    0 where there is none. While `autograd.is_training()`, the prediction is
    multiplied by sign(input): unobserved entries then have no error and send
    no gradient.

    Parameters
    ----------
    num_hidden : int or sequence of int
        Hidden units; of each hidden layer, if there are several. Inner layers
        begin with Glorot's values: the chapter's Normal(0.01) is too small to
        train through.
    num_users : int
        Length of a rating vector: users, or items for a user-based model.
    dropout : float
        Share of the first layer's hidden units dropped in training.
    encoder_activation : str
        g, of every hidden layer.
    decoder_activation : str
        f, of the predictions; see `RatingActivation`.
    tied : bool
        Let the decoder have the encoder's weights: W = V' of the paper.
    scale : (float, float)
        Ends of the rating scale, for a bounded f.

    Attributes
    ----------
    input_scale : float
        What the encoder's inputs are multiplied by, 1 unless it is set.

    Shape: (batch_size, num_users) -> (batch_size, num_users).

    Notes
    -----
    Switches MXNet to NumPy semantics (`npx.set_np()`).

    `hybridize` traces the layers, one by one. The mask of `forward` and that of the
    dropout stand outside: a Python condition inside a trace would be frozen at the first call.

    Source: d2l, section "AutoRec: Rating Prediction with Autoencoders".
    """

    def __init__(
        self,
        num_hidden: int | Sequence[int],
        num_users: int,
        dropout: float = 0.05,
        encoder_activation: str = "sigmoid",
        decoder_activation: str = "identity",
        tied: bool = False,
        scale: tuple[float, float] = (1.0, 5.0),
        **kwargs: Any,
    ) -> None:
        npx.set_np()  # every layer computes by NumPy operators
        super().__init__(**kwargs)
        sizes = layer_sizes(num_hidden)
        self.input_scale = 1.0

        with self.name_scope():
            self.encoder = InputDense(sizes[0], num_users, encoder_activation)
            self.dropout = Dropout(dropout)
            self.inner = inner_layers(sizes, encoder_activation)
            self.decoder = OutputDense(num_users, sizes[-1], self._decoder_weight(tied))
            self.output = rating_activation(decoder_activation, scale)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        hidden = self.dropout(self.encoder(x))
        return self._rated(self.decoder(self._deeper(hidden)))

    def forward(self, x: np.ndarray | CSRBatch, at: CSRBatch | None = None) -> np.ndarray:
        """Reconstructions of `x`; of a CSRBatch, only at the entries of `at` (default: its own).

        Shape: (batch_size, num_users) -> the same; for a CSRBatch -> (entries,).
        """
        if isinstance(x, CSRBatch):
            return self._forward_sparse(x, at)

        pred = self.reconstructed(x)
        if autograd.is_training():  # mask the gradient during training
            return pred * np.sign(x)
        return pred

    # What deeper, tied, bounded and sparse variants add to the chapter's.

    def reconstructed(self, x: np.ndarray) -> np.ndarray:
        """Predictions of a dense batch, masked or not."""
        return super().forward(self.scaled(x))

    def first_hidden(self, x: np.ndarray | CSRBatch) -> np.ndarray:
        """The first layer's hidden units, of which training drops some: (batch_size, units)."""
        if isinstance(x, CSRBatch):
            return self.dropout(self.encoder(self.read(x).inputs))
        return self.dropout(self.encoder(self.scaled(x)))

    def hybridize(self, active: bool = True, **kwargs: Any) -> None:
        """Trace each layer but the dropout, whose mask is drawn anew in every step."""
        super().hybridize(active, **kwargs)
        self._active = False

    def seed_step(self, key: onp.uint64, first_row: int) -> None:
        """Let the next step's dropout depend on these two alone."""
        self.dropout.seed(key, first_row)

    def read(self, batch: CSRBatch) -> Reading:
        """A sparse batch as encoder and decoder read it."""
        no_biases = onp.zeros(len(batch), dtype=onp.float32)
        return Reading(self.scaled(batch), batch.data, 1.0, no_biases)

    def scaled(self, batch: Any) -> Any:
        """A batch of ratings, or of what is made of them, as the encoder is given it."""
        if self.input_scale == 1:
            return batch
        if not isinstance(batch, CSRBatch):
            return batch * self.input_scale

        values = batch.data * onp.float32(self.input_scale)
        return CSRBatch(batch.indptr, batch.indices, values, batch.shape[1], batch.ctx)

    def hidden(self, x: CSRBatch) -> np.ndarray:
        """What the decoder reads, shape (batch_size, hidden units of the last layer)."""
        return self._encoded(self.read(x))

    def row_vectors(self, rows: CSRBatch) -> Vectors:
        """Hidden units, and what is added to a row's predictions."""
        reading = self.read(rows)
        return Vectors(self._encoded(reading).asnumpy(), reading.row_biases)

    def _encoded(self, reading: Reading) -> np.ndarray:
        return self._deeper(self.dropout(self.encoder(reading.inputs)))

    def _deeper(self, hidden: Any) -> Any:
        """The inner layers; without one they are skipped: a traced identity has no graph."""
        if len(self.inner):
            return self.inner(hidden)
        return hidden

    def _rated(self, z: Any) -> Any:
        """The decoder's activation."""
        if self.output is None:
            return z
        return self.output(z)

    def _decoder_weight(self, tied: bool) -> Parameter | None:
        """The encoder's weight, for a tied decoder; else None: the decoder makes its own."""
        if tied:
            return self.encoder.weight
        return None

    def _forward_sparse(self, x: CSRBatch, at: CSRBatch | None) -> np.ndarray:
        """Reconstructions at the entries of `at`, by default those of `x`."""
        z = masked_decode(at or x, self.hidden(x), self.decoder.weight, self.decoder.bias)
        return self._rated(z)

    def sparse_weights(self) -> list[Parameter]:
        """The weights that the sparse kernels read and write."""
        return [self.encoder.weight, self.decoder.weight]

    def one_hidden(self) -> OneHiddenLayer | None:
        """The network as the fused step trains it; None where it is deep, tied or bounded."""
        encoder, decoder = self.encoder, self.decoder
        if len(self.inner) or decoder.weight is encoder.weight or self.output is not None:
            return None
        if encoder.activation_name not in ACTIVATIONS:
            return None

        parameters = Layers(encoder.weight, encoder.bias, decoder.weight, decoder.bias)
        return OneHiddenLayer(parameters, encoder.activation_name, self.dropout, self.read)

    def column_vectors(self) -> Vectors:
        """The decoder's rows."""
        return vectors_of(self.decoder)

    def affine_layers(self) -> list[Affine]:
        """Every layer but `output`: weight (units, inputs), bias, activation."""
        encoder, decoder = self.encoder, self.decoder
        dense = [layer for layer in self.inner if isinstance(layer, nn.Dense)]

        return [
            (encoder.weight.data().T * self.input_scale, encoder.bias.data(), encoder.act),
            *((layer.weight.data(), layer.bias.data(), encoder.act) for layer in dense),
            (decoder.weight.data(), decoder.bias.data(), None),
        ]


def layer_sizes(num_hidden: int | Sequence[int]) -> list[int]:
    """Hidden units of each layer; a number is one layer."""
    if isinstance(num_hidden, Sequence):
        return list(num_hidden)
    return [int(num_hidden)]


def inner_layers(sizes: Sequence[int], activation_name: str) -> nn.HybridSequential:
    """Dense and activation for each step of `sizes`; empty for a single size."""
    layers = nn.HybridSequential()

    for wide, narrow in zip(sizes, sizes[1:]):
        layers.add(nn.Dense(narrow, in_units=wide, weight_initializer=Xavier()))
        if activation_name != "identity":
            layers.add(activation(activation_name))

    return layers
