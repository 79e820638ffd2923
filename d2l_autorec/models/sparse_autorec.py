"""AutoRec on sparse batches, and the pretraining of its inner layers."""

from typing import Any

import numpy as onp
from mxnet import np
from mxnet.gluon import nn

from ..kernels import ACTIVATIONS
from ..kernels.csr import CSRBatch, numpy_view, to_mxnet
from ..kernels.dropout import input_key
from ..kernels.functions import masked_decode
from ..kernels.fused_step import Layers, predict_entries
from .autorec import AutoRec
from .base import Model, vectors_of
from .centered_autorec import Reading
from .deep_autorec import DeepAutoRec
from .vectors import Vectors


class SparseAutoRec(Model):
    """An AutoRec, perhaps deep or centred, for sparse batches: all that a run asks of it.

    Parameters
    ----------
    net : AutoRec or DeepAutoRec
        The network, whose parameters are shared.

    Shape: CSRBatch of (batch_size, columns) -> (entries,).
    """

    reads_sparse = True

    def __init__(self, net: Any) -> None:
        self._net = net
        self.dropout = net.dropout
        self.activation: str = net.encoder.activation_name
        self.output = net.output
        self.centering = net.centering
        # the chapter's class has none of these
        self._inner = getattr(net, "inner", ())
        self._input_scale = getattr(net, "input_scale", 1.0)
        self.input_dropout: Any = getattr(net, "input_dropout", None)

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
        """Return a batch as the encoder reads it, with what the decoder is to predict."""
        if self.centering is None:
            no_biases = onp.zeros(len(batch), dtype=onp.float32)
            return Reading(self._scaled(batch), batch.data, 1.0, no_biases)

        reading = self.centering.read(batch)
        return reading._replace(inputs=self._scaled(self.input_dropout(reading.inputs)))

    def _scaled(self, batch: CSRBatch) -> CSRBatch:
        if self._input_scale == 1:
            return batch
        return batch.with_data(batch.data * onp.float32(self._input_scale))

    def _hidden(self, reading: Reading) -> np.ndarray:
        hidden = self.dropout(self._net.encoder(reading.inputs))
        for layer in self._inner:
            hidden = layer(hidden)
        return hidden

    def row_vectors(self, rows: CSRBatch) -> Vectors:
        """Return the hidden units of rows, and as biases what is added to a row's predictions."""
        reading = self.read(rows)
        return Vectors(self._hidden(reading).asnumpy(), reading.row_biases)

    def column_vectors(self) -> Vectors:
        """Return the decoder's weights and biases; a centred network's are scaled to ratings.

        Its biases then include the column means.
        """
        vectors = vectors_of(self._net.decoder)
        return vectors if self.centering is None else self.centering.in_ratings(vectors)

    def seed_step(self, key: onp.uint64, first_row: int) -> None:
        """Seed every dropout of the next step; see `Model.seed_step`."""
        self.dropout.seed(key, first_row)
        if self.input_dropout is not None:
            self.input_dropout.seed(input_key(key), first_row)

    def one_hidden(self) -> "SparseAutoRec | None":
        """Return this network if the fused step can train it, else None.

        It cannot if the network is deep, its weights are tied, its predictions have an
        activation, or the kernels lack the encoder's.
        """
        tied = self._net.decoder.weight is self._net.encoder.weight
        if len(self._inner) or tied or self.output is not None:
            return None
        return self if self.activation in ACTIVATIONS else None

    @property
    def layers(self) -> Layers:
        """The parameters of a network of one hidden layer."""
        encoder, decoder = self._net.encoder, self._net.decoder
        return Layers(encoder.weight, encoder.bias, decoder.weight, decoder.bias)

    def predict(self, reading: Reading, wanted: CSRBatch) -> onp.ndarray:
        """Return predictions at the `wanted` entries, outside training, by one hidden layer."""
        weights = Layers(*(numpy_view(parameter.list_data()[0]) for parameter in self.layers))
        z = predict_entries(reading.inputs, wanted, weights, self.activation)
        if self.centering is None:
            return z
        return z * reading.unit + self.centering.at(wanted, reading.row_biases)

    def add_to(self, graph: Any, x: str) -> str:
        """Add the layers to an ONNX graph, without centring and `output`; see `Model`."""
        if self._input_scale != 1:
            x = graph("Mul", x, self._input_scale)
        for layer in (self._net.encoder, *self._inner, self._net.decoder):
            x = graph.layer(layer, x)
        return x


def row_model(net: Any) -> Any:
    """Return the `SparseAutoRec` of an AutoRec; any other network is returned as it is."""
    return SparseAutoRec(net) if isinstance(net, (AutoRec, DeepAutoRec)) else net


def predict(net: Any, *inputs: Any) -> Any:
    """Return the predictions for a batch, dense or sparse."""
    return row_model(net)(*inputs) if isinstance(inputs[0], CSRBatch) else net(*inputs)


class CodeAutoencoder(nn.HybridBlock, Model):
    """An autoencoder of hidden units: they pass an encoding and a decoding layer of a network.

    Both layers share the network's parameters: to train this trains those two, and nothing else
    in the network.

    Parameters
    ----------
    net : DeepAutoRec
        A network whose hidden layers mirror each other, as in 500, 250, 500.
    depth : int
        Number of hidden layers before the encoding layer, and after the decoding one.

    Shape: (batch_size, units of the layer before) -> the same.

    Source: Hinton and Salakhutdinov, Reducing the dimensionality of data with neural networks,
    2006: layers are trained one after the other, and then unrolled.
    """

    def __init__(self, net: DeepAutoRec, depth: int) -> None:
        super().__init__()

        with self.name_scope():
            self.encoder = net.inner[depth - 1]
            self.decoder = net.inner[len(net.inner) - depth]

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the outputs for a batch, traced; see the class for shapes."""
        return self.decoder(self.encoder(x))


def codes(net: DeepAutoRec, batch: np.ndarray | CSRBatch, depth: int) -> onp.ndarray:
    """Return the outputs of a network's hidden layer `depth` for a batch, (batch_size, units)."""
    is_sparse = isinstance(batch, CSRBatch)
    inputs = SparseAutoRec(net).read(batch).inputs if is_sparse else net.read(batch)[0]
    hidden = net.dropout(net.encoder(inputs))
    for layer in list(net.inner)[: depth - 1]:
        hidden = layer(hidden)
    return hidden.asnumpy()
