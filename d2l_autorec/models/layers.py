"""Layers that the models share."""

from typing import Any, Optional

from mxnet.gluon import nn

from ..sparse import CSRBatch, encode


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
    activation : str, optional
        A Gluon activation.

    Shape: (batch_size, in_units), an ndarray or a CSRBatch -> (batch_size, units).
    """

    def __init__(self, units: int, in_units: int, activation: Optional[str] = None,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.weight = self.params.get("weight", shape=(in_units, units))
            self.bias = self.params.get("bias", shape=(units,), init="zeros")
            self.act = nn.Activation(activation) if activation else None

    def forward(self, x: Any) -> Any:
        if not isinstance(x, CSRBatch):
            return super().forward(x)
        pre = encode(x, self.weight, self.bias)
        return pre if self.act is None else self.act(pre)

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any) -> Any:
        pre = F.np.dot(x, weight) + bias  # (B, units)
        return pre if self.act is None else self.act(pre)
