"""The kernels as functions of MXNet's autograd, for sparse batches in Gluon.

    CSRBatch -> encode -> (B, H) ndarray -> any Gluon layers -> masked_decode -> (n,) ndarray

`encode` and `masked_decode` call `autograd.Function`s, so everything between
and after them is ordinary Gluon. Gradients are always written, as by grad_req 'write'.
"""

from typing import Any

import numpy as onp
from mxnet import autograd, np

from .. import kernels
from .csr import CSRBatch, numpy_view, to_mxnet


def encode(batch: CSRBatch, weight: Any, bias: Any) -> np.ndarray:
    """Return x W + b for a sparse batch x.

    Parameters
    ----------
    batch : CSRBatch, (B, C)
        The batch x.
    weight : Parameter, shape (C, H)
    bias : Parameter, shape (H,)

    Returns
    -------
    ndarray, shape (B, H)
    """
    return _Encode(batch)(weight.data(batch.ctx), bias.data(batch.ctx))


def masked_decode(batch: CSRBatch, hidden: np.ndarray, weight: Any, bias: Any) -> np.ndarray:
    """Return hidden W' + b at the observed entries of `batch` only.

    Parameters
    ----------
    batch : CSRBatch, (B, C)
        The batch whose entries are predicted; its values are not read.
    hidden : ndarray, shape (B, H)
    weight : Parameter, shape (C, H)
    bias : Parameter, shape (C,)

    Returns
    -------
    ndarray, shape (n,)
        The predictions, in the order of `batch.values`.
    """
    return _MaskedDecode(batch)(hidden, weight.data(batch.ctx), bias.data(batch.ctx))


class _SparseFunction(autograd.Function):
    """The base of the functions: it holds the batch, and views of inputs for the backward pass."""

    def __init__(self, batch: CSRBatch) -> None:
        super().__init__()
        self._batch = batch

    def _keep(self, *inputs: Any) -> list[onp.ndarray]:
        """Return views of the inputs, and keep their memory until the backward pass."""
        self._inputs = inputs
        self._views = [numpy_view(array) for array in inputs]
        return self._views

    def _array(self, values: onp.ndarray) -> Any:
        return to_mxnet(values, self._batch.ctx).as_nd_ndarray()  # what autograd.Function takes

    def _weight_gradient(self, weight: Any, values: onp.ndarray, hidden: onp.ndarray) -> Any:
        """Return the sum over entries (b, c) of value * hidden[b] in row c."""
        out = onp.empty_like(weight)
        kernels.weight_gradient(*self._batch.groups, values, hidden, out)
        return self._array(out)


class _Encode(_SparseFunction):
    """The function (weight, bias) -> x weight + bias."""

    def forward(self, *inputs: Any) -> Any:
        batch = self._batch
        weight, bias = self._keep(*inputs)

        out = np.empty((len(batch), len(bias)), ctx=batch.ctx)
        kernels.weighted_columns(*batch.groups, batch.data, weight, bias, numpy_view(out))
        return out

    def backward(self, upstream: Any) -> tuple[Any, ...]:
        gradient = numpy_view(upstream).copy()
        to_weight = self._weight_gradient(self._views[0], self._batch.data, gradient)
        return to_weight, self._array(gradient.sum(axis=0))


class _MaskedDecode(_SparseFunction):
    """The function (hidden, weight, bias) -> hidden weight' + bias at the observed entries."""

    def forward(self, *inputs: Any) -> Any:
        batch = self._batch
        out = np.empty((len(batch.data),), ctx=batch.ctx)
        kernels.masked_products(*batch.groups, *self._keep(*inputs), numpy_view(out))
        return out

    def backward(self, upstream: Any) -> tuple[Any, ...]:
        batch = self._batch
        hidden, weight, _ = self._views
        values = numpy_view(upstream).copy()

        to_hidden = onp.empty(hidden.shape, dtype=onp.float32)
        zero = onp.zeros(hidden.shape[1], dtype=onp.float32)
        kernels.weighted_columns(*batch.groups, values, weight, zero, to_hidden)

        to_weight = self._weight_gradient(weight, values, hidden)
        to_bias = onp.zeros(len(weight), dtype=onp.float32)
        onp.add.at(to_bias, batch.indices, values)
        return self._array(to_hidden), to_weight, self._array(to_bias)


def multinomial_nll(batch: CSRBatch, logits: np.ndarray) -> np.ndarray:
    """Return -sum_i x_i log softmax(logits)_i for each row x of a sparse batch.

    It needs one pass over the logits and no dense x; MXNet's operators take three times as long.

    Shape: (B, C), (B, C) -> (B,).
    """
    return _MultinomialLikelihood(batch)(logits)


class _MultinomialLikelihood(_SparseFunction):
    """The function logits -> negative log likelihood of each row's clicks."""

    def forward(self, logits: Any) -> Any:
        batch = self._batch
        out = np.empty((len(batch),), ctx=batch.ctx)
        self._exponentials = np.empty(batch.shape, ctx=batch.ctx)
        self._sums = onp.empty(len(batch), dtype=onp.float32)

        kernels.multinomial_loss(
            *batch.arrays,
            numpy_view(logits),
            numpy_view(self._exponentials),
            self._sums,
            numpy_view(out),
        )
        return out

    def backward(self, upstream: Any) -> Any:
        batch = self._batch
        out = np.empty(batch.shape, ctx=batch.ctx)
        kernels.multinomial_gradient(
            *batch.arrays,
            numpy_view(self._exponentials),
            self._sums,
            numpy_view(upstream),
            numpy_view(out),
        )
        return out.as_nd_ndarray()
