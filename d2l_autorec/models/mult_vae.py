"""Mult-VAE and Mult-DAE (Liang et al., 2018): autoencoders that rank items by clicks."""

import math
from collections.abc import Sequence
from typing import Any

import mxnet as mx
import numpy as onp
from mxnet import autograd, np, npx
from mxnet.gluon import nn

from ..kernels.csr import CSRBatch
from .base import Model, vectors_of
from .layers import InputDense
from .vectors import Vectors

BIAS_DEVIATION = 0.001
TINY = 1e-12  # the least norm that a row is divided by, so that an empty one stays zero


class TruncatedNormal(mx.init.Initializer):
    """An initializer with normal values around 0, none beyond two standard deviations.

    Parameters
    ----------
    sigma : float
        Standard deviation before the cut.
    """

    def __init__(self, sigma: float) -> None:
        super().__init__(sigma=sigma)
        self._sigma = sigma

    def _init_weight(self, name: str, array: Any) -> None:
        edge = math.erf(math.sqrt(2))  # the share within two standard deviations
        uniform = np.random.uniform(-edge, edge, size=array.shape, ctx=array.ctx)
        array[:] = npx.erfinv(uniform) * (self._sigma * math.sqrt(2))


class ClickEncoder(nn.HybridBlock):
    """The encoder of clicks: x / |x| -> dropout -> InputDense [-> dropout -> Dense]..., activated.

    Parameters
    ----------
    sizes : sequence of int
        Layer sizes, from the columns of x to the code.
    dropout : sequence of float
        For each layer the share of its inputs that training drops.
    last : str, optional
        Activation of the last layer; the others have tanh.

    Shape: (batch_size, sizes[0]), an ndarray or a CSRBatch -> (batch_size, sizes[-1]).
    """

    def __init__(
        self, sizes: Sequence[int], dropout: Sequence[float], last: str | None = None
    ) -> None:
        super().__init__()
        self._dropout = dropout[0]

        activation = "tanh" if len(sizes) > 2 else last or "identity"
        with self.name_scope():
            self.first = of_the_paper(InputDense(sizes[1], sizes[0], activation))
            self.rest = dense_layers(sizes[1:], dropout[1:], last)

    def forward(self, x: Any) -> np.ndarray:
        """Return the outputs for a batch; see the class for shapes."""
        if not isinstance(x, CSRBatch):
            return super().forward(x)
        return self._deeper(self.first(drop_out(normalised(x), self._dropout)))

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the outputs for a batch, traced; see the class for shapes."""
        norm = F.np.sqrt(F.np.square(x).sum(axis=1, keepdims=True))  # (B, 1)
        kept = F.npx.dropout(x / F.np.maximum(norm, TINY), p=self._dropout)
        return self._deeper(self.first(kept))

    def _deeper(self, code: Any) -> Any:
        """Return the code, by the layers after the first; without any, a trace needs no block."""
        return self.rest(code) if len(self.rest) else code


def normalised(batch: CSRBatch) -> CSRBatch:
    """Return a batch with rows scaled to Euclidean length 1; empty rows stay empty."""
    squares = onp.bincount(batch.rows, onp.square(batch.data), minlength=len(batch))
    norms = onp.maximum(onp.sqrt(squares), TINY)
    return batch.with_data(batch.data / norms[batch.rows].astype(onp.float32))


def drop_out(batch: CSRBatch, share: float) -> CSRBatch:
    """Return a batch; while training, `share` of the entries are 0 and the others scaled up."""
    if not share or not autograd.is_training():
        return batch
    return batch.with_data(npx.dropout(batch.values, p=share).asnumpy())


def of_the_paper(layer: Any) -> Any:
    """Return a layer with the initial values of the paper, and without weight decay of biases."""
    layer.weight.init = mx.init.Xavier()
    layer.bias.init = TruncatedNormal(BIAS_DEVIATION)
    layer.bias.wd_mult = 0.0
    return layer


def dense_layers(
    sizes: Sequence[int], dropout: Sequence[float], last: str | None = None
) -> nn.HybridSequential:
    """Return Dropout and Dense for each pair of neighbouring `sizes`.

    The activation is tanh, that of the last layer is `last`.
    """
    layers = nn.HybridSequential()
    activations = [*["tanh"] * (len(sizes) - 2), last][: len(sizes) - 1]  # one size has no layer

    each = zip(sizes[:-1], sizes[1:], dropout, activations, strict=True)
    for inputs, units, share, activation in each:
        if share:
            layers.add(nn.Dropout(share))
        layers.add(of_the_paper(nn.Dense(units, in_units=inputs, activation=activation)))

    return layers


class MultDAE(nn.HybridBlock, Model):
    """The denoising autoencoder Mult-DAE: x -> encoder -> code -> mirrored decoder -> logits.

    Every layer but the last has tanh, the code included. While training,
    entries of the normalised input are dropped.

    Parameters
    ----------
    hidden : sequence of int
        Layer sizes from the first hidden layer to the code; the decoder
        mirrors them: (600, 200) is columns -> 600 -> 200 -> 600 -> columns.
    columns : int
        Number of items.
    dropout : float or sequence of float
        Share of the input that training drops; or a share for the input of
        each of the 2 len(hidden) layers.

    Shape: (batch_size, columns), an ndarray or a CSRBatch -> (batch_size, columns).

    Notes
    -----
    Making one switches MXNet to NumPy semantics (`npx.set_np()`). Weights begin Glorot-uniform,
    biases normal (0.001) within two standard deviations and without weight decay.

    Source: Liang et al., Variational Autoencoders for Collaborative Filtering, WWW 2018, section 2.
    """

    def __init__(
        self,
        hidden: Sequence[int],
        columns: int,
        dropout: float | Sequence[float] = 0.5,
        **kwargs: Any,
    ) -> None:
        npx.set_np()  # every layer computes by NumPy operators
        super().__init__(**kwargs)
        depth = len(hidden)
        shares = dropout if isinstance(dropout, Sequence) else (dropout, *[0.0] * (2 * depth - 1))
        *inner, self._code_units = hidden
        encoder = columns, *inner, self._codes * self._code_units

        with self.name_scope():
            self.encoder = ClickEncoder(encoder, shares[:depth], self._code_activation)
            self.decoder = dense_layers([*hidden[::-1], columns], shares[depth:])

    reads_sparse = True
    _code_activation: str | None = "tanh"
    _codes = 1  # how many numbers the encoder returns for each of the code

    def column_vectors(self) -> Vectors:
        """Return the items' vectors and biases: those of the last layer."""
        return vectors_of(self.decoder[-1])

    def add_to(self, graph: Any, x: str) -> str:
        """Add the network at prediction to an ONNX graph, for rows of length 1; see `Model`."""
        encoder = [self.encoder.first, *self.encoder.rest]
        for layer in encoder[:-1]:
            x = graph.layer(layer, x)
        x = graph.layer(encoder[-1], x, self._code_units)  # the means come first
        return graph.layer(self.decoder, x)

    def row_vectors(self, rows: CSRBatch) -> Vectors:
        """Return the last layer's inputs at prediction, (rows, hidden[0]), and biases of 0."""
        hidden = self.code(rows)
        for layer in list(self.decoder)[:-1]:
            hidden = layer(hidden)
        return Vectors.unbiased(hidden.asnumpy())

    def code(self, x: np.ndarray | CSRBatch) -> np.ndarray:
        """Return the code at prediction, shape (batch_size, hidden[-1])."""
        return self.encoder(x)

    def forward(self, x: np.ndarray | CSRBatch) -> Any:
        """Return the logits; see the class for shapes."""
        return self.decoder(self.code(x))


class MultVAE(MultDAE):
    """The variational autoencoder Mult-VAE: x -> encoder -> mean, log variance -> z -> decoder.

    While `autograd.is_training()`, z = mean + noise * exp(log variance / 2);
    else z = mean. The code has no activation and z enters the decoder as it is.

    Parameters
    ----------
    hidden, columns, dropout
        As for `MultDAE`; the encoder ends in 2 * hidden[-1] units: the mean
        and the logarithm of the variance of the code.

    Shape: (batch_size, columns), an ndarray or a CSRBatch -> (batch_size, columns);
    in training also the KL divergence of each row: ((batch_size, columns), (batch_size,)).

    Notes
    -----
    Sampling stands outside what `hybridize` traces, encoder and decoder: a Python condition inside
    a trace would be frozen at the first call.

    Source: Liang et al., Variational Autoencoders for Collaborative Filtering, WWW 2018,
    sections 2.1-2.3.
    """

    _code_activation = None
    _codes = 2

    def code(self, x: np.ndarray | CSRBatch) -> np.ndarray:
        """Return the mean of the code, shape (batch_size, hidden[-1])."""
        return np.split(self.encoder(x), 2, axis=1)[0]

    def forward(self, x: np.ndarray | CSRBatch) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Return the logits; in training for a code that is drawn, with each row's divergence."""
        if not autograd.is_training():
            return super().forward(x)

        mean, log_variance = np.split(self.encoder(x), 2, axis=1)  # (B, K) each
        return self.decoder(sample(mean, log_variance)), kl_divergence(mean, log_variance)


def sample(mean: np.ndarray, log_variance: np.ndarray) -> np.ndarray:
    """Return a draw of N(mean, variance), of the same shape."""
    noise = np.random.normal(size=mean.shape, ctx=mean.ctx)
    return mean + noise * np.exp(log_variance / 2)


def kl_divergence(mean: np.ndarray, log_variance: np.ndarray) -> np.ndarray:
    """Return KL(N(mean, variance) || N(0, 1)) of each row: sum of (s^2 + m^2 - 1 - log s^2) / 2.

    Shape: (batch_size, K), (batch_size, K) -> (batch_size,).
    """
    return (np.exp(log_variance) + np.square(mean) - 1 - log_variance).sum(axis=1) / 2
