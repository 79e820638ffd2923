"""RecVAE (Shenbin et al., 2020): a Mult-VAE with a prior that remembers its own encoder."""

import math
from collections.abc import Sequence
from typing import Any

import mxnet as mx
import numpy as onp
from mxnet import autograd, gluon, np, npx
from mxnet.gluon import nn

from ..kernels.csr import CSRBatch, to_mxnet
from .base import Model, vectors_of
from .mult_vae import ClickEncoder, sample
from .vectors import Vectors

LAYERS = 5  # layers of the encoder, before its code
EPSILON = 0.1  # what a layer normalisation adds to the variance
STANDARD, FORMER, WIDE = 0.15, 0.75, 0.1  # weights of the prior's components
WIDE_LOG_VARIANCE = 10.0


class Tower(nn.HybridBlock):
    """Layers that each add the outputs of all layers before, and then the layer of the code.

    h_1 = norm(swish(x)), h_k = norm(swish(W_k h_(k-1) + b_k + h_1 + ... + h_(k-1))), with layer
    normalisation.

    Parameters
    ----------
    units : int
        Units of each layer.
    code : int
        Size of the code.

    Shape: (batch_size, units) -> (batch_size, 2 * code).
    """

    def __init__(self, units: int, code: int) -> None:
        super().__init__()
        with self.name_scope():
            self.layers = nn.HybridSequential()
            self.norms = nn.HybridSequential()
            self.code = nn.Dense(2 * code, in_units=units)

            for _ in range(LAYERS - 1):
                self.layers.add(nn.Dense(units, in_units=units))
            for _ in range(LAYERS):
                self.norms.add(nn.LayerNorm(in_channels=units, epsilon=EPSILON))

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the outputs for a batch, traced; see the class for shapes."""
        first, *norms = self.norms
        hidden = total = first(x * F.npx.sigmoid(x))

        for layer, norm in zip(self.layers, norms):
            x = layer(hidden) + total
            hidden = norm(x * F.npx.sigmoid(x))
            total = total + hidden

        return self.code(hidden)

    def add_to(self, graph: Any, x: str) -> str:
        """Add the layers to an ONNX graph, without the log variance; return the mean's name.

        See `Model` for the parameters.
        """
        first, *norms = self.norms
        hidden = total = graph.layer(first, graph("Mul", x, graph("Sigmoid", x)))

        for layer, norm in zip(self.layers, norms):
            x = graph("Add", graph.layer(layer, hidden), total)
            hidden = graph.layer(norm, graph("Mul", x, graph("Sigmoid", x)))
            total = graph("Add", total, hidden)

        return graph.layer(self.code, hidden, units=self.code.weight.shape[0] // 2)


class Encoder(gluon.Block):
    """The encoder: x / |x| -> dropout -> a dense layer -> `Tower` -> mean and log variance.

    Parameters
    ----------
    columns : int
        Number of items.
    units, code : int
        As for `Tower`.
    dropout : float
        Share of the clicks that training drops.

    Shape: (batch_size, columns), an ndarray or a CSRBatch -> two of (batch_size, code).
    """

    def __init__(self, columns: int, units: int, code: int, dropout: float) -> None:
        super().__init__()
        with self.name_scope():
            self.first = ClickEncoder((columns, units), (dropout,))
            self.tower = Tower(units, code)

    def forward(self, x: np.ndarray | CSRBatch) -> tuple[np.ndarray, np.ndarray]:
        """Return the outputs for a batch; see the class for shapes."""
        return tuple(np.split(self.tower(self.first(x)), 2, axis=1))


class RecVAE(gluon.Block, Model):
    """The variational autoencoder RecVAE: x -> encoder -> z -> one linear layer -> logits.

    Encoder and decoder are trained in turn, each for a number of epochs. The encoder's epochs
    drop clicks, and add a KL divergence to `log_prior` to the loss. The decoder's have neither,
    and before each of them the encoder is copied into the prior.

    Parameters
    ----------
    hidden : (int, int)
        Units of each of the encoder's five layers, and of the code.
    columns : int
        Number of items.
    dropout : float
        Share of the clicks that an encoder's epoch drops.
    turns : (int, int)
        Epochs of the encoder, and those of the decoder that follow.

    Shape: (batch_size, columns), an ndarray or a CSRBatch -> (batch_size, columns); while the
    encoder is trained, also the KL divergence of each row times its clicks: (batch_size,).

    Notes
    -----
    Making one switches MXNet to NumPy semantics (`npx.set_np()`).

    Source: Shenbin et al., RecVAE: a New Variational Autoencoder for Top-N Recommendations with
    Implicit Feedback, WSDM 2020, section 3.
    """

    reads_sparse = True

    def __init__(
        self,
        hidden: Sequence[int],
        columns: int,
        dropout: float = 0.5,
        turns: Sequence[int] = (3, 1),
        **kwargs: Any,
    ) -> None:
        npx.set_np()  # every layer computes by NumPy operators
        super().__init__(**kwargs)
        units, code = hidden
        self._turns = turns
        self._trains_encoder = True

        with self.name_scope():
            self.encoder = Encoder(columns, units, code, dropout)
            self.former = Encoder(columns, units, code, dropout)
            self.decoder = nn.Dense(columns, in_units=code, weight_initializer=mx.init.Xavier())
        self.former.collect_params().setattr("grad_req", "null")

    def begin_epoch(self, epoch: int) -> None:
        """Freeze what the epoch does not train; for a decoder's epoch, copy the encoder first.

        A resumed epoch may begin twice: the copy is the same.
        """
        encoder_epochs, decoder_epochs = self._turns
        self._trains_encoder = (epoch - 1) % (encoder_epochs + decoder_epochs) < encoder_epochs

        trained, frozen = self.encoder, self.decoder
        if not self._trains_encoder:
            trained, frozen = frozen, trained
            _copy(self.encoder, self.former)
        trained.collect_params().setattr("grad_req", "write")
        frozen.collect_params().setattr("grad_req", "null")

    def forward(self, x: np.ndarray | CSRBatch) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Return the logits; while the encoder is trained, also a divergence: see the class."""
        if not autograd.is_training():
            return self.decoder(self.encoder(x)[0])
        if self._trains_encoder:
            return self._encoder_step(x)

        with autograd.pause():  # this also turns dropout off
            z = sample(*self.encoder(x))
        return self.decoder(z)

    def _encoder_step(self, x: np.ndarray | CSRBatch) -> tuple[np.ndarray, np.ndarray]:
        with autograd.pause():
            former = self.former(x)
        mean, log_variance = self.encoder(x)
        z = sample(mean, log_variance)

        difference = log_normal(z, mean, log_variance) - log_prior(z, *former)
        return self.decoder(z), clicks_of(x) * difference.sum(axis=1)

    def column_vectors(self) -> Vectors:
        """Return the items' vectors and biases: those of the decoder."""
        return vectors_of(self.decoder)

    def row_vectors(self, rows: CSRBatch) -> Vectors:
        """Return the means of the code, shape (rows, code), and biases of 0."""
        return Vectors.unbiased(self.encoder(rows)[0].asnumpy())

    def add_to(self, graph: Any, x: str) -> str:
        """Add the network at prediction to an ONNX graph, for rows of length 1; see `Model`."""
        x = graph.layer(self.encoder.first.first, x)
        return graph.layer(self.decoder, self.encoder.tower.add_to(graph, x))


def log_normal(z: np.ndarray, mean: Any, log_variance: Any) -> np.ndarray:
    """Return the log density of N(mean, variance) at each number of z, in the shape of z."""
    squared = np.square(z - mean) * np.exp(-log_variance)
    return -(log_variance + math.log(2 * math.pi) + squared) / 2


def log_prior(z: np.ndarray, mean: np.ndarray, log_variance: np.ndarray) -> np.ndarray:
    """Return the log density of the composite prior at each number of z.

    The prior is a mixture of N(0, 1), of N(mean, variance), which is the former encoder's answer
    to the same row, and of a wide N(0, exp(10)), with exp(10) the variance.

    Shape: three of (batch_size, K) -> (batch_size, K).
    """
    zero = np.zeros_like(mean)
    components = (
        log_normal(z, zero, zero) + math.log(STANDARD),
        log_normal(z, mean, log_variance) + math.log(FORMER),
        log_normal(z, zero, zero + WIDE_LOG_VARIANCE) + math.log(WIDE),
    )

    densities = np.stack(components)  # (3, B, K)
    highest = densities.detach().max(axis=0)
    return np.log(np.exp(densities - highest).sum(axis=0)) + highest


def clicks_of(x: np.ndarray | CSRBatch) -> np.ndarray:
    """Return the sum of each row, shape (batch_size,)."""
    if not isinstance(x, CSRBatch):
        return x.sum(axis=1)

    sums = onp.bincount(x.rows, x.data, minlength=len(x))
    return to_mxnet(sums.astype(onp.float32), x.ctx)


def _copy(source: gluon.Block, target: gluon.Block) -> None:
    """Copy the values of a block's parameters into another of the same layers, on every device."""
    for one, other in zip(source.collect_params().values(), target.collect_params().values()):
        other.set_data(one.list_data()[0])
