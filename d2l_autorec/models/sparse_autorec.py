"""AutoRec outside its class: on sparse batches, and its inner layers one after the other."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as onp
from mxnet import np
from mxnet.gluon import nn

from ..kernels.csr import CSRBatch, to_mxnet
from ..kernels.dropout import input_key
from ..kernels.functions import masked_decode
from ..kernels.fused_step import ACTIVATIONS, Layers
from .autorec import AutoRec
from .base import Model, vectors_of
from .centered_autorec import Reading
from .deep_autorec import DeepAutoRec
from .layers import Affine, Dropout
from .vectors import Vectors


class OneHiddenLayer(NamedTuple):
    """A network of one hidden layer, without activation of its predictions.

    Parameters
    ----------
    parameters : Layers of Parameter
    activation : str
        Of the hidden units.
    dropout : Dropout
        Between them and the decoder.
    read : callable
        A sparse batch to what the encoder reads of it, and the decoder is to predict.
    """

    parameters: Layers
    activation: str
    dropout: Dropout
    read: Callable[[CSRBatch], Reading]


class SparseAutoRec(Model):
    """What a run asks of an AutoRec, deep and centred ones included, beside dense predictions.

    Parameters
    ----------
    net : AutoRec or DeepAutoRec

    Shape: CSRBatch of (batch_size, columns) -> (entries,).
    """

    reads_sparse = True

    def __init__(self, net: Any) -> None:
        self._net = net
        # what the chapter's class has not
        self._inner = getattr(net, "inner", ())
        self._input_scale = getattr(net, "input_scale", 1.0)
        self.output = getattr(net, "output", None)
        self.centering = getattr(net, "centering", None)

    def __call__(self, x: CSRBatch, at: CSRBatch | None = None) -> np.ndarray:
        """Return the reconstructions of `x` at the entries of `at`, by default its own."""
        reading = self.read(x)
        cells = at or x

        decoder = self._net.decoder
        z = masked_decode(cells, self._hidden(reading), decoder.weight, decoder.bias)
        if self.centering is not None:
            means = self.centering.at(cells, reading.row_biases)
            return z * reading.unit + to_mxnet(means, z.ctx)
        return z if self.output is None else self.output(z)

    def read(self, batch: CSRBatch) -> Reading:
        """Return a batch as encoder and decoder read it."""
        if self.centering is None:
            no_biases = onp.zeros(len(batch), dtype=onp.float32)
            return Reading(self._scaled(batch), batch.data, 1.0, no_biases)

        reading = self.centering.read(batch)
        return reading._replace(inputs=self._scaled(self._net.input_dropout(reading.inputs)))

    def _scaled(self, batch: CSRBatch) -> CSRBatch:
        if self._input_scale == 1:
            return batch
        return batch.with_data(batch.data * onp.float32(self._input_scale))

    def _hidden(self, reading: Reading) -> np.ndarray:
        hidden = self._net.dropout(self._net.encoder(reading.inputs))
        for layer in self._inner:
            hidden = layer(hidden)
        return hidden

    def row_vectors(self, rows: CSRBatch) -> Vectors:
        """Return the hidden units of rows, and what is added to a row's predictions."""
        reading = self.read(rows)
        return Vectors(self._hidden(reading).asnumpy(), reading.row_biases)

    def column_vectors(self) -> Vectors:
        """Return the decoder's rows; centred, scaled to ratings, and the biases hold the means."""
        vectors = vectors_of(self._net.decoder)
        return vectors if self.centering is None else self.centering.in_ratings(vectors)

    def seed_step(self, key: onp.uint64, first_row: int) -> None:
        """Let every dropout of the next step depend on these two alone."""
        self._net.dropout.seed(key, first_row)
        if self.centering is not None:
            self._net.input_dropout.seed(input_key(key), first_row)

    def one_hidden(self) -> OneHiddenLayer | None:
        """Return the network as the fused step trains it; None if deep, tied or bounded."""
        encoder, decoder = self._net.encoder, self._net.decoder
        if len(self._inner) or decoder.weight is encoder.weight or self.output is not None:
            return None
        if encoder.activation_name not in ACTIVATIONS:
            return None

        parameters = Layers(encoder.weight, encoder.bias, decoder.weight, decoder.bias)
        return OneHiddenLayer(parameters, encoder.activation_name, self._net.dropout, self.read)

    def affine_layers(self) -> list[Affine]:
        """Return weight (units, inputs), bias and activation of every layer but `output`."""
        encoder, decoder = self._net.encoder, self._net.decoder
        return [
            (encoder.weight.data().T * self._input_scale, encoder.bias.data(), encoder.act),
            *((one[0].weight.data(), one[0].bias.data(), encoder.act) for one in self._inner),
            (decoder.weight.data(), decoder.bias.data(), None),
        ]


def row_model(net: Any) -> Any:
    """Return what a run asks of a network: an AutoRec's `SparseAutoRec`, or the network itself."""
    return SparseAutoRec(net) if isinstance(net, (AutoRec, DeepAutoRec)) else net


def predict(net: Any, *inputs: Any) -> Any:
    """Return the predictions of a batch, dense or sparse."""
    return row_model(net)(*inputs) if isinstance(inputs[0], CSRBatch) else net(*inputs)


class CodeAutoencoder(nn.HybridBlock, Model):
    """Hidden units -> an encoding layer -> a decoding layer -> the same hidden units.

    The two layers are those of a network, and share its parameters: what trains this, trains
    them, and nothing else of it.

    Parameters
    ----------
    net : DeepAutoRec
        Whose hidden layers mirror each other, as in 500, 250, 500.
    depth : int
        How many hidden layers are before the encoding layer, and as many behind the decoding one.

    Shape: (batch_size, units of the layer before) -> the same.

    Source: Hinton and Salakhutdinov, Reducing the dimensionality of data with neural networks,
    2006: layers are trained one after the other, and then unrolled.
    """

    def __init__(self, net: DeepAutoRec, depth: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)

        with self.name_scope():
            self.encoder = net.inner[depth - 1]
            self.decoder = net.inner[len(net.inner) - depth]

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Compute a batch, traced; see the class for shapes."""
        return self.decoder(self.encoder(x))


def codes(net: DeepAutoRec, batch: np.ndarray | CSRBatch, depth: int) -> onp.ndarray:
    """Return what a network's first `depth` hidden layers make of a batch, (batch_size, units)."""
    is_sparse = isinstance(batch, CSRBatch)
    inputs = SparseAutoRec(net).read(batch).inputs if is_sparse else net.read(batch)[0]
    hidden = net.dropout(net.encoder(inputs))
    for layer in list(net.inner)[: depth - 1]:
        hidden = layer(hidden)
    return hidden.asnumpy()
