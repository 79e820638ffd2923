"""The workers of one run: their rows of a batch, and what the parameter servers do for them.

Every worker goes through the same global batches and takes its rows of each.
So every worker takes the same number of steps, and several workers
compute what one process does with the whole batches.
"""

import json
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn

import mxnet as mx
import numpy as onp
from mxnet.base import _LIB, check_call

from ..support.cli import leave
from ..support.machine import DISTRIBUTED, WORKER, check_parameter_server
from .devices import rows_of

FIRST_KEY = 1 << 20  # smaller keys are those of a trainer's parameters


_OPENED: list[Any] = []  # keeps stores alive: to free one would wait for all workers


class Workers(AbstractContextManager):
    """The processes of a run, of which this is one; by default it is the only one.

    Every worker must call the methods other than `share` and `first_row` in the same order. As a
    context manager it closes itself unless the block fails; a process
    that has failed must end by `leave`.

    Parameters
    ----------
    store : KVStore, optional
        MXNet's parameter server. Without one the run is this process alone.
    rank : int
        Number of this worker, from 0.

    Attributes
    ----------
    rank, size : int
        Number of this worker, and how many there are.
    store : KVStore or None
        The store, for `gluon.Trainer`; see `begin`.
    """

    def __init__(self, store: Any = None, rank: int = 0) -> None:
        self.store = store
        self.size = 1 if store is None else store.num_workers
        self.rank = rank
        self._keys: dict[int, int] = {}
        self._begun = False

    def share(self, arrays: Sequence[Any]) -> tuple[list[Any], float]:
        """Return this worker's rows of a global batch, and their weight.

        Rows are divided as evenly as possible. A worker that is left without one
        gets row 0 with weight 0: it takes the step like all others, and its
        gradient is a true zero.

        Parameters
        ----------
        arrays : sequence of ndarray or CSRBatch
            The batch; all have the same number of rows.

        Returns
        -------
        arrays : list
            This worker's rows of each.
        weight : float
            1, or 0 for a stand-in row.
        """
        if self.size == 1:
            return list(arrays), 1.0

        part, has_rows = rows_of(self.rank, self.size, len(arrays[0]))
        return [array[part] for array in arrays], float(has_rows)

    def first_row(self, rows: int) -> int:
        """Return the position of this worker's first row in a global batch of `rows` rows."""
        return rows_of(self.rank, self.size, rows)[0].start

    def begin(self, trainer: Any) -> None:
        """Give the store a trainer's parameters, before the first step.

        Otherwise MXNet 1.9.1 does it in the first step: it reads the initial parameters back
        while gradients are sent already, and at times gets a gradient instead.
        """
        if self.store is None:
            return

        trainer._init_kvstore()
        if self._begun:  # the keys exist already, and only gradients are summed under them
            trainer._params_to_init = []
        trainer._init_params()

        mx.npx.waitall()
        self._begun = True

    def sum(self, values: onp.ndarray) -> onp.ndarray:
        """Return the sum of all workers' `values`, in float64, the same to the bit on every worker.

        The store itself adds in float32, in the order in which workers arrive.
        So here it only carries the values, and each worker adds them by rank.

        Parameters
        ----------
        values : ndarray, shape (n,)
            This worker's values.

        Returns
        -------
        ndarray of float64, shape (n,)
        """
        own = onp.asarray(values, dtype=onp.float64)
        if self.store is None or not own.size:
            return own

        table = onp.zeros((self.size, own.nbytes), dtype=onp.uint8)
        table[self.rank] = own.view(onp.uint8)

        return self._added(table.ravel()).view(onp.float64).reshape(self.size, -1).sum(axis=0)

    def broadcast(self, content: bytes) -> bytes:
        """Return worker 0's `content` on every worker; that of the others is ignored."""
        if self.store is None:
            return content

        own = b"" if self.rank else content
        length = int(self.sum(onp.array([len(own)]))[0])
        padded = own.ljust(length, b"\0")  # others send zeros, as the store adds
        return self._added(onp.frombuffer(padded, dtype=onp.uint8)).tobytes()

    def agree(self, value: Any) -> Any:
        """Return worker 0's `value`, which JSON must be able to hold, on every worker."""
        if self.store is None:
            return value

        text = self.broadcast(json.dumps(value).encode())
        return json.loads(text)

    def _added(self, values: onp.ndarray) -> onp.ndarray:
        """Return the store's sum of bytes, each of which is 0 in all workers but one."""
        if not values.size:
            return values

        own = mx.np.array(values, dtype="float32")
        total = mx.np.zeros(values.shape, dtype="float32")
        if values.size not in self._keys:  # a key cannot change its shape
            self._keys[values.size] = FIRST_KEY + len(self._keys)
            self.store.init(self._keys[values.size], total)
        key = self._keys[values.size]

        self.store.pushpull(key, own, out=total)
        return total.asnumpy().astype(onp.uint8)

    def __exit__(self, kind: Any, *_: Any) -> None:
        """Wait until every worker is done; the servers then end by themselves.

        Python alone would not free the store in time, as trainers are in reference cycles: it
        may outlive the interpreter, and its threads then abort the process.
        """
        if self.store is None or kind is not None:  # after a failure, others wait for this one
            return

        mx.npx.waitall()
        handle = self.store.handle
        self.store.handle = None  # so that nobody frees it twice
        self.store = None
        check_call(_LIB.MXKVStoreFree(handle))


def connect(kvstore: str | None = None) -> Workers:
    """Join the parameter server that the environment names, if `kvstore` asks for one.

    After that, an uncaught exception ends this process at once: see `leave`.

    Parameters
    ----------
    kvstore : str, optional
        'dist_sync'; any other value stands for a single process.

    Raises
    ------
    ConfigError
        If the environment names no parameter server.
    """
    if kvstore not in DISTRIBUTED:
        return Workers()

    check_parameter_server(kvstore)
    rank = os.environ.get(WORKER)

    sys.excepthook = _leave_with_traceback
    store = mx.kv.create(kvstore)
    _OPENED.append(store)
    return Workers(store, int(store.rank if rank is None else rank))  # the store's differs by run


def _leave_with_traceback(*error: Any) -> NoReturn:
    traceback.print_exception(*error)
    leave(1)
