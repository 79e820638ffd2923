"""An inner pair of layers of a deep AutoRec, trained on the hidden units that it reads."""

from typing import Any

import numpy as onp
from mxnet import np
from mxnet.gluon import nn

from ..kernels.csr import CSRBatch
from .base import Model
from .deep_autorec import DeepAutoRec
from .sparse_autorec import SparseAutoRec


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
        layers = _inner_layers(net)

        with self.name_scope():
            self.encoder = layers[depth - 1]
            self.decoder = layers[len(layers) - depth]

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.decoder(self.encoder(x))


def codes(net: DeepAutoRec, batch: np.ndarray | CSRBatch, depth: int) -> onp.ndarray:
    """What a network's first `depth` hidden layers make of a batch, (batch_size, units)."""
    if isinstance(batch, CSRBatch):
        inputs: Any = SparseAutoRec(net).read(batch).inputs
    else:
        inputs, _ = net.read(batch)

    hidden = net.dropout(net.encoder(inputs))
    for layer in _inner_layers(net)[: depth - 1]:
        hidden = layer(hidden)
    return hidden.asnumpy()


def _inner_layers(net: DeepAutoRec) -> list[nn.HybridSequential]:
    """Each hidden layer but the first, with its activation; the network's own blocks."""
    layers: list[nn.HybridSequential] = []

    for block in net.inner:
        if isinstance(block, nn.Dense):
            layers.append(nn.HybridSequential())
        layers[-1].add(block)

    return layers
