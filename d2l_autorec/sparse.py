"""Sparse batches in Gluon: what takes the kernels to autograd and to the Trainer.

    CSRBatch -> encode -> (B, H) ndarray -> any Gluon layers -> masked_decode -> (n,) ndarray

`encode` and `masked_decode` are `autograd.Function`s, so everything between
and after them is ordinary Gluon.
"""

import ctypes
import math
import warnings
from concurrent.futures import Future
from contextlib import suppress
from functools import cached_property
from typing import Any, Callable, List, Optional, Sequence, Tuple

import mxnet as mx
import numpy as onp
from mxnet import autograd, np
from mxnet.base import _LIB, check_call

from . import kernels
from .errors import ConfigError, DataWarning


def choose_kernel(asked: str, network: Any, devices: Sequence[mx.Context]) -> Tuple[str, str]:
    """Dense or sparse arithmetic, and why.

    Parameters
    ----------
    asked : {'auto', 'dense', 'sparse'}
    network : Block
        One that takes sparse batches has a method `sparse_weights`; one whose
        input is pairs of user and item says `reads_pairs`.
    devices : sequence of Context

    Returns
    -------
    chosen : {'dense', 'sparse'}
    why : str

    Raises
    ------
    ConfigError
        If sparse was asked for on a GPU.
    """
    if asked == "dense":
        return "dense", "--kernel dense"
    if any(device.device_type != "cpu" for device in devices):
        if asked == "sparse":
            raise ConfigError("--kernel sparse runs on CPUs only: choose --kernel dense or --cpus")
        return "dense", "the sparse kernels run on CPUs only"
    if getattr(network, "reads_pairs", False) or not hasattr(network, "collect_params"):
        return "dense", "it has no layer over whole rows: there is nothing to skip"
    if not hasattr(network, "sparse_weights"):
        name = type(network).__name__
        warnings.warn(f"the sparse kernels do not cover {name}: it trains dense", DataWarning,
                      stacklevel=2)
        return "dense", f"the sparse kernels do not cover {name}"
    return "sparse", "CPU contexts, and the kernels cover the network"


class CSRBatch:
    """Rows of rating vectors with only their observed entries; stands in for a dense batch.

    Parameters
    ----------
    indptr, indices : ndarray of int32
        CSR structure of B rows.
    data : ndarray of float32, shape (n,)
        Observed entries.
    columns : int
        C, the length of a row.
    ctx : Context
        Where outputs are made: a CPU context.
    """

    def __init__(self, indptr: onp.ndarray, indices: onp.ndarray, data: onp.ndarray, columns: int,
                 ctx: Optional[mx.Context] = None) -> None:
        self.indptr, self.indices, self.data = indptr, indices, data
        self.shape = (len(indptr) - 1, columns)
        self.ctx = ctx or mx.cpu()
        self.awaited: List[Future] = []  # gradients that an optimizer takes in factors

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> "CSRBatch":
        if rows == slice(0, len(self)):
            return self
        indptr = self.indptr[rows.start:rows.stop + 1]
        part = slice(indptr[0], indptr[-1])
        return CSRBatch(indptr - indptr[0], self.indices[part], self.data[part], self.shape[1],
                        self.ctx)

    def as_in_ctx(self, ctx: mx.Context) -> "CSRBatch":
        """The same rows, with outputs on `ctx`."""
        if ctx == self.ctx:
            return self
        return CSRBatch(self.indptr, self.indices, self.data, self.shape[1], ctx)

    @cached_property
    def values(self) -> np.ndarray:
        """Observed entries, shape (n,)."""
        return to_mxnet(self.data, self.ctx)

    @cached_property
    def groups(self) -> Tuple[onp.ndarray, onp.ndarray, onp.ndarray, int]:
        """Entries by column, and the number of threads: what every kernel begins with."""
        return (*kernels.group_by_column(self.indptr, self.indices, self.shape[1]),
                kernels.threads())


def numpy_view(array: Any, write: bool = False) -> onp.ndarray:
    """The memory of a float32 CPU array as a NumPy array; no copy. It must not outlive `array`.

    Waits until MXNet has written the array; to `write`, also until it has read it, which takes a
    round trip through its engine.
    """
    wait = _LIB.MXNDArrayWaitToWrite if write else _LIB.MXNDArrayWaitToRead
    check_call(wait(array.handle))
    pointer = ctypes.c_void_p()
    check_call(_LIB.MXNDArrayGetData(array.handle, ctypes.byref(pointer)))
    if not array.size:
        return onp.empty(array.shape, dtype=onp.float32)
    memory = (ctypes.c_float * array.size).from_address(pointer.value)
    return onp.frombuffer(memory, dtype=onp.float32).reshape(array.shape)


def to_mxnet(values: onp.ndarray, ctx: mx.Context) -> np.ndarray:
    """A CPU array with these float32 numbers, copied here and now: `np.array` takes ten times as
    long for it, by way of MXNet's engine."""
    array = np.empty(values.shape, ctx=ctx)
    numpy_view(array)[...] = values
    return array


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
        self._batch, self._parameter, self._bias_parameter = batch, weight, bias
        self._weight = numpy_view(weight.data(batch.ctx))
        self._bias = numpy_view(bias.data(batch.ctx))
        self._factors = self._promise_factors()

    def _promise_factors(self) -> Optional[Future]:
        """Where the optimizer will find the weight's gradient, if it takes it in factors.

        The weight is then no input of the graph, and it is the bias that lets
        MXNet run the backward pass.
        """
        weight, batch = self._parameter, self._batch
        takes = getattr(weight, "takes_factors", False) and weight.grad_req == "write"
        if not takes or self._bias_parameter.grad_req == "null" or not autograd.is_recording():
            return None

        if weight.factors is not None:
            raise RuntimeError(f"{weight.name} is used a second time before trainer.step(), and "
                               "FusedAdam knows the gradient of one use only: give the Trainer "
                               "'adam'")
        weight.factors = Future()
        batch.awaited.append(weight.factors)
        weight.data(batch.ctx)._fresh_grad = True  # or the Trainer takes it for forgotten
        return weight.factors

    def trained(self) -> List[Any]:
        """The parameters that are inputs of the graph: bias, weight, or fewer."""
        ctx, inputs = self._batch.ctx, []
        if self._bias_parameter.grad_req != "null":
            inputs.append(_leaf(self._bias_parameter, ctx))
        if self._parameter.grad_req != "null" and self._factors is None:
            inputs.append(_leaf(self._parameter, ctx))
        return inputs

    def at(self, *inputs: Any) -> Any:
        """The function's value; a constant where nothing that it depends on is trained."""
        if inputs:
            return self(*inputs)
        with autograd.pause(train_mode=autograd.is_training()):
            return self(*inputs)

    def backward(self, output_gradient: Any) -> Tuple[Any, ...]:
        """Gradients of the inputs; runs in a thread of MXNet's, while the optimizer waits."""
        try:
            return self._gradients(numpy_view(output_gradient).copy())
        except BaseException as error:
            for factors in self._batch.awaited:  # those of functions that will never run, too
                if not factors.done():
                    factors.set_exception(error)
            raise

    def _array(self, values: onp.ndarray) -> Any:
        return to_mxnet(values, self._batch.ctx).as_nd_ndarray()  # what autograd.Function takes

    def _bias_gradient(self, compute: Callable[[], onp.ndarray]) -> List[Any]:
        """The bias's gradient, if it has one."""
        if self._bias_parameter.grad_req == "null":
            return []
        return [self._array(compute())]

    def _weight_gradient(self, values: onp.ndarray, hidden: Any) -> List[Any]:
        """Row c is the sum over entries (b, c) of value * hidden[b]: in factors, or written out."""
        if self._parameter.grad_req == "null":
            return []

        if self._factors is not None:
            self._factors.set_result((self._batch, values, hidden))
            return []
        batch, out = self._batch, onp.empty_like(self._weight)
        kernels.weight_gradient(*batch.groups, values, as_numpy(hidden), out)
        return [self._array(out)]


class _Encode(_SparseFunction):
    """([bias][, weight]) -> x weight + bias."""

    def forward(self, *_: Any) -> Any:
        batch = self._batch
        out = np.empty((len(batch), len(self._bias)), ctx=batch.ctx)
        kernels.weighted_columns(*batch.groups, batch.data, self._weight, self._bias,
                                 numpy_view(out))
        return out

    def _gradients(self, gradient: onp.ndarray) -> Tuple[Any, ...]:
        return (*self._bias_gradient(lambda: gradient.sum(axis=0)),
                *self._weight_gradient(self._batch.data, gradient))


class _MaskedDecode(_SparseFunction):
    """([bias, ][weight, ]hidden) -> hidden weight' + bias at the observed entries."""

    def forward(self, *inputs: Any) -> Any:
        batch, self._hidden = self._batch, inputs[-1]
        out = np.empty((len(batch.data),), ctx=batch.ctx)
        kernels.masked_products(*batch.groups, numpy_view(self._hidden), self._weight, self._bias,
                                numpy_view(out))
        return out

    def _gradients(self, values: onp.ndarray) -> Tuple[Any, ...]:
        batch = self._batch
        to_hidden = onp.empty(self._hidden.shape, dtype=onp.float32)
        zero = onp.zeros(to_hidden.shape[1], dtype=onp.float32)
        kernels.weighted_columns(*batch.groups, values, self._weight, zero, to_hidden)
        to_bias = self._bias_gradient(
            lambda: kernels.column_sums(batch.groups[0], batch.groups[2], values))
        return (*to_bias, *self._weight_gradient(values, self._hidden), self._array(to_hidden))


def _leaf(parameter: Any, ctx: mx.Context) -> Any:
    """A trained parameter's array, as `written` puts it."""
    array = parameter.data(ctx)
    return written(array) if parameter.grad_req == "add" else array


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
        kernels.multinomial_loss(batch.indptr, batch.indices, batch.data, numpy_view(logits),
                                 numpy_view(self._exponentials), self._sums, numpy_view(out))
        return out

    def backward(self, upstream: Any) -> Any:
        batch = self._batch
        out = np.empty(batch.shape, ctx=batch.ctx)
        kernels.multinomial_gradient(batch.indptr, batch.indices, batch.data,
                                     numpy_view(self._exponentials), self._sums,
                                     numpy_view(upstream), numpy_view(out))
        return out.as_nd_ndarray()


def as_numpy(values: Any) -> onp.ndarray:
    """A NumPy array, or a view of an MXNet one."""
    return values if isinstance(values, onp.ndarray) else numpy_view(values)


class FusedAdam(mx.optimizer.Adam):
    """MXNet's Adam; a sparse weight's gradient is made row by row while the row is updated.

    The gradient matrix is then never written or read: at 138,493 x 500
    weights that is a third of an update's memory traffic.

    Parameters
    ----------
    parameters : sequence of Parameter
        The weights of `encode` and `masked_decode`, on one CPU context.
    **kwargs
        As `mx.optimizer.Adam`.
    """

    def __init__(self, parameters: List[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for parameter in parameters:
            parameter.takes_factors, parameter.factors = True, None

    def update(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        """One update; called by the Trainer."""
        parameter = self.param_dict[index]
        if getattr(parameter, "factors", None) is None:  # its gradient is written out
            super().update(index, weight, grad, state)
            return
        self._update_count(index)
        t = self._index_update_count[index]
        lr = self._get_lr(index) * math.sqrt(1 - self.beta2 ** t) / (1 - self.beta1 ** t)
        batch, values, hidden = _computed(parameter)
        scalars = (self.rescale_grad, self._get_wd(index), lr, self.beta1, self.beta2,
                   self.epsilon)
        kernels.adam_step(*batch.groups, values, as_numpy(hidden),
                          numpy_view(weight, write=True), *map(numpy_view, state),
                          *map(onp.float32, scalars))
        parameter.factors = None


def _computed(parameter: Any) -> Tuple[CSRBatch, onp.ndarray, Any]:
    """The factors of a weight's gradient, once the backward pass is over."""
    factors = parameter.factors
    if not factors.done():
        with suppress(mx.MXNetError):  # of a backward pass that failed: `factors` hold why
            mx.npx.waitall()
    if not factors.done():
        parameter.factors = None
        raise RuntimeError(f"no gradient reached {parameter.name}: the loss that was "
                           "differentiated does not depend on the output it was used for")
    return factors.result()
