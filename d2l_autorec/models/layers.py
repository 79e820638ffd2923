"""Layers that the models share."""

from typing import Any

import mxnet as mx
import numpy as onp
from mxnet import autograd, np
from mxnet.gluon import Parameter, nn

from ..kernels.csr import CSRBatch
from ..kernels.dropout import dropout_at, dropout_mask
from ..kernels.functions import encode
from .vectors import ScaledActivation


def activation_layer(name: str) -> Any:
    """Return a layer that applies an activation; None for 'identity'."""
    if name == "identity":
        return None
    others = {"elu": nn.ELU, "selu": nn.SELU}
    return others[name]() if name in others else nn.Activation(name)


class InputDense(nn.HybridBlock):
    """The first layer, x W + b, with W stored as (in_units, units).

    `nn.Dense` stores (units, in_units), where the weights that belong to one
    input are a strided column. Here they are one contiguous row, so that a
    sparse input touches only the rows of its non-zeros.

    Parameters
    ----------
    units : int
        Output size.
    in_units : int
        Input size.
    activation : str
        'identity', or another that `activation_layer` knows.

    Shape: (batch_size, in_units), an ndarray or a CSRBatch -> (batch_size, units).
    """

    def __init__(self, units: int, in_units: int, activation: str = "identity") -> None:
        super().__init__()

        with self.name_scope():
            self.weight = self.params.get("weight", shape=(in_units, units))
            self.bias = self.params.get("bias", shape=(units,), init="zeros")
            self.act = activation_layer(activation)

        self.activation_name = activation

    def forward(self, x: Any) -> Any:
        """Return the outputs for a batch; see the class for shapes."""
        if not isinstance(x, CSRBatch):
            return super().forward(x)
        return self._activated(encode(x, self.weight, self.bias))

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any) -> Any:
        """Return the outputs for a batch, traced; see the class for shapes."""
        return self._activated(F.np.dot(x, weight) + bias)  # (B, units)

    def _activated(self, pre: Any) -> Any:
        return pre if self.act is None else self.act(pre)


class OutputDense(nn.HybridBlock):
    """The last layer, h W' + b, which can have another layer's weights.

    Parameters
    ----------
    units : int
        Output size.
    in_units : int
        Input size.
    weight : Parameter, optional
        Shape (units, in_units), as `InputDense` stores the encoder's. By default it has its own.

    Shape: (batch_size, in_units) -> (batch_size, units).
    """

    def __init__(self, units: int, in_units: int, weight: Parameter | None = None) -> None:
        super().__init__()
        self._units = units

        with self.name_scope():
            self.weight = weight or self.params.get("weight", shape=(units, in_units))
            self.bias = self.params.get("bias", shape=(units,), init="zeros")

        if weight is not None:  # a trace knows the parameters of its own block only
            self.params.update({weight.name: weight})

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any) -> Any:
        # with the bias inside, MXNet leaves its gradient at zero where the weight is frozen
        """Return the outputs for a batch, traced; see the class for shapes."""
        product = F.npx.fully_connected(
            x, weight, num_hidden=self._units, flatten=False, no_bias=True
        )
        return product + bias


class Dropout(nn.Dropout):
    """`nn.Dropout` whose masks a key determines: see `kernels.dropout`.

    So sparse, dense and fused steps, on any number of devices and workers, drop the same units.
    Without a key each batch gets one from MXNet's generator, which `mx.random.seed` seeds.

    Parameters
    ----------
    rate : float
        Share of the units that training drops.

    Shape: (batch_size, units), an ndarray or a CSRBatch -> the same.
    """

    def __init__(self, rate: float) -> None:
        super().__init__(rate)
        self.rate = rate
        self._key: onp.uint64 | None = None
        self._row = 0

    def seed(self, key: onp.uint64, first_row: int = 0) -> None:
        """Set the key of a step, and the position in its batch of the row that is read next."""
        self._key = key
        self._row = first_row

    def forward(self, x: Any) -> Any:
        """Return the outputs for a batch; see the class for shapes."""
        if isinstance(x, mx.sym.Symbol):  # a user's own network is being traced
            return super().forward(x)
        if not self._rate or not autograd.is_training():
            return x

        key, first_row = self.take(len(x))
        if isinstance(x, CSRBatch):  # a dropped value stays an entry, and is 0
            mask = dropout_at(key, x.indptr, x.indices, self._rate, first_row)
            return x.with_data(x.data * mask)
        mask = dropout_mask(key, len(x), x.shape[1], self._rate, first_row)
        return x * np.array(mask, ctx=x.ctx)

    def take(self, rows: int) -> tuple[onp.uint64, int]:
        """Return the step's key and the position of the next `rows` rows, and move past them."""
        if self._key is None:
            return onp.uint64(np.random.randint(0, 2**31 - 1, size=(1,)).item()), 0

        first_row = self._row
        self._row += rows
        return self._key, first_row


class RatingActivation(nn.HybridBlock):
    """The activation of predictions: `ScaledActivation` as a layer.

    A bounded activation is stretched to the scale, so that 0 becomes the middle of it.

    Parameters
    ----------
    name : str
        A name that `activation_layer` knows, other than 'identity'.
    low, high : float
        Lowest and highest rating, in the network's units.

    Attributes
    ----------
    function : ScaledActivation
        The same function in NumPy.

    Shape: any -> the same.
    """

    def __init__(self, name: str, low: float, high: float) -> None:
        super().__init__()
        self.function = ScaledActivation(name, low, high)

        with self.name_scope():
            self.act = activation_layer(name)

    def hybrid_forward(self, F: Any, z: Any) -> Any:
        """Return the outputs for a batch, traced; see the class for shapes."""
        factor, summand = self.function.line()
        return self.act(z) * factor + summand
