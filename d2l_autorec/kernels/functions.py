"""Sparse batches in Gluon: what takes the kernels to autograd.

    CSRBatch -> encode -> (B, H) ndarray -> any Gluon layers -> masked_decode -> (n,) ndarray

`encode` and `masked_decode` are `autograd.Function`s, so everything between
and after them is ordinary Gluon.
"""

from collections.abc import Callable
from typing import Any

import mxnet as mx
import numpy as onp
from mxnet import autograd, np

from .. import kernels
from .csr import CSRBatch, as_numpy, numpy_view, to_mxnet


def encode(batch: CSRBatch, weight: Any, bias: Any) -> np.ndarray:
    """x W + b of a sparse batch x.

    Parameters
    ----------
    batch : CSRBatch, (B, C)
    weight : Parameter, shape (C, H)
    bias : Parameter, shape (H,)

    Returns
    -------
    ndarray, shape (B, H)
    """
    function = _Encode(batch, weight, bias)
    return function.at(*function.trained())


def masked_decode(batch: CSRBatch, hidden: np.ndarray, weight: Any, bias: Any) -> np.ndarray:
    """hidden W' + b at the observed entries of `batch` only.

    Parameters
    ----------
    batch : CSRBatch, (B, C)
        Which entries.
    hidden : ndarray, shape (B, H)
    weight : Parameter, shape (C, H)
    bias : Parameter, shape (C,)

    Returns
    -------
    ndarray, shape (n,)
        In the order of `batch.values`.
    """
    function = _MaskedDecode(batch, weight, bias)
    return function.at(*function.trained(), written(hidden))


def written(array: Any) -> Any:
    """`array`, or a view of it in the graph where it is a leaf with a gradient of its own.

    An autograd.Function writes gradients, and drops one that is to be added
    to what is there (grad_req 'add'). Behind a view it is written, and the
    view's own backward pass adds it.
    """
    if autograd.is_recording() and array.grad is not None:
        return array.reshape(array.shape)
    return array


class _SparseFunction(autograd.Function):
    """What the two functions share: the batch, the parameters and their gradients.

    MXNet's Function stops at the first input that needs no gradient, and
    leaves those after it at zero. So its inputs are the parameters that are
    trained and then, last, an input that may not be.
    """

    def __init__(self, batch: CSRBatch, weight: Any, bias: Any) -> None:
        super().__init__()
        self._batch = batch
        self._parameter = weight
        self._bias_parameter = bias
        self._weight = numpy_view(weight.data(batch.ctx))
        self._bias = numpy_view(bias.data(batch.ctx))

    def trained(self) -> list[Any]:
        """The parameters that are inputs of the graph: bias, weight, or fewer."""
        ctx = self._batch.ctx
        inputs = []

        if self._bias_parameter.grad_req != "null":
            inputs.append(_leaf(self._bias_parameter, ctx))
        if self._parameter.grad_req != "null":
            inputs.append(_leaf(self._parameter, ctx))

        return inputs

    def at(self, *inputs: Any) -> Any:
        """The function's value; a constant where nothing that it depends on is trained."""
        if inputs:
            return self(*inputs)

        with autograd.pause(train_mode=autograd.is_training()):
            return self(*inputs)

    def backward(self, output_gradient: Any) -> tuple[Any, ...]:
        """Gradients of the inputs."""
        return self._gradients(numpy_view(output_gradient).copy())

    def _array(self, values: onp.ndarray) -> Any:
        return to_mxnet(values, self._batch.ctx).as_nd_ndarray()  # what autograd.Function takes

    def _bias_gradient(self, compute: Callable[[], onp.ndarray]) -> list[Any]:
        """The bias's gradient, if it has one."""
        if self._bias_parameter.grad_req == "null":
            return []

        return [self._array(compute())]

    def _weight_gradient(self, values: onp.ndarray, hidden: Any) -> list[Any]:
        """Row c is the sum over entries (b, c) of value * hidden[b]; none of a frozen weight."""
        if self._parameter.grad_req == "null":
            return []

        batch = self._batch
        out = onp.empty_like(self._weight)
        kernels.weight_gradient(*batch.groups, values, as_numpy(hidden), out)
        return [self._array(out)]


class _Encode(_SparseFunction):
    """([bias][, weight]) -> x weight + bias."""

    def forward(self, *_: Any) -> Any:
        batch = self._batch
        out = np.empty((len(batch), len(self._bias)), ctx=batch.ctx)
        kernels.weighted_columns(
            *batch.groups, batch.data, self._weight, self._bias, numpy_view(out)
        )
        return out

    def _gradients(self, gradient: onp.ndarray) -> tuple[Any, ...]:
        to_bias = self._bias_gradient(lambda: gradient.sum(axis=0))
        to_weight = self._weight_gradient(self._batch.data, gradient)

        return (*to_bias, *to_weight)


class _MaskedDecode(_SparseFunction):
    """([bias, ][weight, ]hidden) -> hidden weight' + bias at the observed entries."""

    def forward(self, *inputs: Any) -> Any:
        batch = self._batch
        self._hidden = inputs[-1]

        out = np.empty((len(batch.data),), ctx=batch.ctx)
        kernels.masked_products(
            *batch.groups, numpy_view(self._hidden), self._weight, self._bias, numpy_view(out)
        )
        return out

    def _gradients(self, values: onp.ndarray) -> tuple[Any, ...]:
        batch = self._batch
        to_hidden = onp.empty(self._hidden.shape, dtype=onp.float32)
        zero = onp.zeros(to_hidden.shape[1], dtype=onp.float32)
        kernels.weighted_columns(*batch.groups, values, self._weight, zero, to_hidden)

        to_bias = self._bias_gradient(
            lambda: kernels.column_sums(batch.groups[0], batch.groups[2], values)
        )
        to_weight = self._weight_gradient(values, self._hidden)

        return (*to_bias, *to_weight, self._array(to_hidden))


def _leaf(parameter: Any, ctx: mx.Context) -> Any:
    """A trained parameter's array, as `written` puts it."""
    array = parameter.data(ctx)
    if parameter.grad_req == "add":
        return written(array)
    return array


def multinomial_nll(batch: CSRBatch, logits: np.ndarray) -> np.ndarray:
    """-sum_i x_i log softmax(logits)_i of each row x of a sparse batch.

    In one pass over the logits, without a dense x; MXNet's operators take three times as long.

    Shape: (B, C), (B, C) -> (B,).
    """
    return _MultinomialLikelihood(batch)(written(logits))


class _MultinomialLikelihood(autograd.Function):
    """logits -> negative log likelihood of each row's clicks."""

    def __init__(self, batch: CSRBatch) -> None:
        super().__init__()
        self._batch = batch

    def forward(self, logits: Any) -> Any:
        batch = self._batch
        out = np.empty((len(batch),), ctx=batch.ctx)
        self._exponentials = np.empty(batch.shape, ctx=batch.ctx)
        self._sums = onp.empty(len(batch), dtype=onp.float32)

        kernels.multinomial_loss(
            batch.indptr,
            batch.indices,
            batch.data,
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
            batch.indptr,
            batch.indices,
            batch.data,
            numpy_view(self._exponentials),
            self._sums,
            numpy_view(upstream),
            numpy_view(out),
        )
        return out.as_nd_ndarray()
