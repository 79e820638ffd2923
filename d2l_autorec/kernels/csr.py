"""Batches of sparse rows, and the memory that NumPy and MXNet share."""

import ctypes
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import mxnet as mx
import numpy as onp
from mxnet import np
from mxnet.base import _LIB, check_call
from scipy import sparse

from .. import kernels


@dataclass(eq=False)
class CSRBatch:
    """A batch of rating vectors with only their observed entries, in place of a dense batch.

    Parameters
    ----------
    indptr, indices : ndarray of int32, shapes (B + 1,) and (n,)
        CSR structure of B rows.
    data : ndarray of float32, shape (n,)
        The observed entries.
    columns : int
        C, the length of a row.
    ctx : Context
        The CPU context on which outputs are made.
    """

    indptr: onp.ndarray
    indices: onp.ndarray
    data: onp.ndarray
    columns: int
    ctx: mx.Context = field(default_factory=mx.cpu)

    def __post_init__(self) -> None:
        self.shape = (len(self.indptr) - 1, self.columns)

    @classmethod
    def of(cls, matrix: sparse.csr_matrix) -> "CSRBatch":
        """Return the rows of a matrix, without a copy if it has int32 and float32 arrays."""
        indptr, indices = (a.astype(onp.int32, copy=False) for a in (matrix.indptr, matrix.indices))
        data = matrix.data.astype(onp.float32, copy=False)
        return cls(indptr, indices, data, matrix.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> "CSRBatch":
        if rows == slice(0, len(self)):
            return self

        indptr = self.indptr[rows.start : rows.stop + 1]
        part = slice(indptr[0], indptr[-1])
        own = indptr - indptr[0], self.indices[part], self.data[part]
        return CSRBatch(*own, self.shape[1], self.ctx)

    def as_in_ctx(self, ctx: mx.Context) -> "CSRBatch":
        """Return the same rows, with outputs on `ctx`."""
        if ctx == self.ctx:
            return self

        return CSRBatch(self.indptr, self.indices, self.data, self.shape[1], ctx)

    def with_data(self, data: onp.ndarray) -> "CSRBatch":
        """Return a batch of the same entries with other values."""
        return CSRBatch(self.indptr, self.indices, data, self.shape[1], self.ctx)

    @property
    def arrays(self) -> tuple[onp.ndarray, onp.ndarray, onp.ndarray]:
        """The three arrays, in the order of the parameters."""
        return self.indptr, self.indices, self.data

    def to_scipy(self) -> sparse.csr_matrix:
        """Return the same rows as a SciPy matrix."""
        return sparse.csr_matrix((self.data, self.indices, self.indptr), self.shape)

    @cached_property
    def rows(self) -> onp.ndarray:
        """The row of each entry, shape (n,)."""
        return onp.repeat(onp.arange(len(self)), onp.diff(self.indptr))

    @cached_property
    def values(self) -> np.ndarray:
        """The observed entries as an MXNet array, shape (n,)."""
        return to_mxnet(self.data, self.ctx)

    @cached_property
    def groups(self) -> tuple[onp.ndarray, onp.ndarray, onp.ndarray, int]:
        """The first four arguments of every kernel: the entries by column, and the threads."""
        by_column = kernels.group_by_column(self.indptr, self.indices, self.shape[1])
        return (*by_column, kernels.threads())


class ChosenRows(CSRBatch):
    """Rows of a larger batch, which are copied when their entries are first asked for.

    Parameters
    ----------
    whole : CSRBatch
        The larger batch.
    numbers : ndarray of int64, shape (B,)
        The numbers of the rows.
    """

    def __init__(self, whole: CSRBatch, numbers: onp.ndarray) -> None:
        self.whole = whole
        self.numbers = numbers
        self.shape = (len(numbers), whole.shape[1])
        self.ctx = whole.ctx

    def __getattr__(self, name: str) -> Any:
        if name not in ("indptr", "indices", "data"):
            raise AttributeError(name)

        rows = self.whole.to_scipy()[self.numbers]
        self.indptr, self.indices, self.data = rows.indptr, rows.indices, rows.data
        return vars(self)[name]


def numpy_view(array: Any, write: bool = False) -> onp.ndarray:
    """Return a float32 CPU array's memory as a NumPy array; it must not outlive `array`.

    This waits until MXNet has written the array and, if `write`, also until it has read it, which
    takes a round trip through its engine.
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
    """Return a CPU array of MXNet's with a copy of these float32 numbers.

    `np.array` goes through MXNet's engine, and takes ten times as long.
    """
    array = np.empty(values.shape, ctx=ctx)
    numpy_view(array)[...] = values
    return array
