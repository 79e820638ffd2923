"""Batches of sparse rows, and the memory that NumPy and MXNet share."""

import ctypes
from functools import cached_property
from typing import Any

import mxnet as mx
import numpy as onp
from mxnet import np
from mxnet.base import _LIB, check_call

from .. import kernels


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

    def __init__(
        self,
        indptr: onp.ndarray,
        indices: onp.ndarray,
        data: onp.ndarray,
        columns: int,
        ctx: mx.Context | None = None,
    ) -> None:
        self.indptr = indptr
        self.indices = indices
        self.data = data
        self.shape = (len(indptr) - 1, columns)
        self.ctx = ctx or mx.cpu()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> "CSRBatch":
        if rows == slice(0, len(self)):
            return self

        indptr = self.indptr[rows.start : rows.stop + 1]
        part = slice(indptr[0], indptr[-1])
        return CSRBatch(
            indptr - indptr[0], self.indices[part], self.data[part], self.shape[1], self.ctx
        )

    def as_in_ctx(self, ctx: mx.Context) -> "CSRBatch":
        """Return the same rows, with outputs on `ctx`."""
        if ctx == self.ctx:
            return self

        return CSRBatch(self.indptr, self.indices, self.data, self.shape[1], ctx)

    def with_data(self, data: onp.ndarray) -> "CSRBatch":
        """Return a batch of the same entries with other values."""
        return CSRBatch(self.indptr, self.indices, data, self.shape[1], self.ctx)

    @cached_property
    def rows(self) -> onp.ndarray:
        """Row of each entry, shape (n,)."""
        return onp.repeat(onp.arange(len(self)), onp.diff(self.indptr))

    @cached_property
    def values(self) -> np.ndarray:
        """Observed entries, shape (n,)."""
        return to_mxnet(self.data, self.ctx)

    @cached_property
    def groups(self) -> tuple[onp.ndarray, onp.ndarray, onp.ndarray, int]:
        """The entries by column, and the number of threads: what every kernel begins with."""
        by_column = kernels.group_by_column(self.indptr, self.indices, self.shape[1])
        return (*by_column, kernels.threads())


def numpy_view(array: Any, write: bool = False) -> onp.ndarray:
    """Return a float32 CPU array's memory as a NumPy array; it must not outlive `array`.

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
    """Return a CPU array with these float32 numbers, copied here and now.

    `np.array` takes ten times as long for it, by way of MXNet's engine.
    """
    array = np.empty(values.shape, ctx=ctx)
    numpy_view(array)[...] = values
    return array
