"""A Gluon network of someone else's, as a run sees one: dense rows in, dense rows out."""

import copy
from typing import Any

import numpy as onp
from mxnet import gluon, np, npx
from mxnet.gluon import nn

from ..kernels.csr import CSRBatch
from ..support.errors import ConfigError
from .base import Model, vectors_of
from .fitted import as_csr
from .layers import Affine
from .vectors import Vectors


class OwnNetwork(gluon.Block, Model):
    """Rows of the interaction matrix through any Gluon block.

    Parameters
    ----------
    net : Block
        Copied, so that each phase of a run begins with its initial values. Layers in a sequence
        that ends in a Dense layer give vectors of items, and an export.

    Raises
    ------
    ConfigError
        If a layer does not say what size its input has: parameters are kept before any row is read.

    Shape: (batch_size, columns) -> (batch_size, columns).
    """

    def __init__(self, net: gluon.Block) -> None:
        npx.set_np()  # every layer computes by NumPy operators
        super().__init__()
        self.net = copy.deepcopy(net)

        for name, parameter in self.net.collect_params().items():
            if not parameter.shape or min(parameter.shape) < 1:
                raise ConfigError(
                    f"the shape of {name} is not known: give its layer `in_units` or `in_channels`"
                )

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return what the network makes of rows."""
        return self.net(x)

    def column_vectors(self) -> Vectors | None:
        """Return the rows of the last layer, if that is Dense and no more follows it."""
        layers = layers_of(self.net)
        if len(layers) > 1 and isinstance(layers[-1], nn.Dense) and layers[-1].act is None:
            return vectors_of(layers[-1])
        return None

    def row_vectors(self, rows: CSRBatch) -> Vectors:
        """Return what the last layer reads of rows."""
        hidden = np.array(as_csr(rows).toarray(), ctx=rows.ctx)
        for layer in layers_of(self.net)[:-1]:
            hidden = layer(hidden)
        return Vectors(hidden.asnumpy(), onp.zeros(len(rows), dtype=onp.float32))

    def affine_layers(self) -> list[Affine]:
        """Return weight, bias and what follows of every Dense layer; raise ConfigError for others.

        Dropout, which does nothing at prediction, is left out.
        """
        found: list[tuple[Any, Any, nn.HybridSequential]] = []
        for layer in layers_of(self.net):
            if isinstance(layer, nn.Dense):
                found.append((layer.weight.data(), layer.bias.data(), nn.HybridSequential()))
                if layer.act is not None:
                    found[-1][2].add(layer.act)
            elif found and not isinstance(layer, nn.Dropout):
                found[-1][2].add(layer)
            elif not isinstance(layer, nn.Dropout):
                raise ConfigError(
                    f"{type(layer).__name__} cannot be exported: layers are to begin with Dense"
                )
        return [(weight, bias, after if len(after) else None) for weight, bias, after in found]


def layers_of(net: gluon.Block) -> list[gluon.Block]:
    """Return the layers of sequences within sequences, one after the other."""
    if not isinstance(net, (nn.HybridSequential, nn.Sequential)):
        return [net]
    return [layer for child in net for layer in layers_of(child)]


def as_model(net: Any) -> Any:
    """Return a network that answers what a run asks of it: itself, or `OwnNetwork` of it."""
    return net if isinstance(net, Model) else OwnNetwork(net)
