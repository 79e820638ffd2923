"""The workers of one run, which part of a batch is whose, and what the servers do for them.

Every worker walks through the same global batches and takes its rows of each.
So every worker takes the same number of steps, and a run of several workers
computes what one process does with the whole batches.
"""

import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import mxnet as mx
import numpy as onp
from mxnet.base import _LIB, check_call

from ..support.cli import leave
from ..support.machine import DISTRIBUTED, check_parameter_server

# A server unpickles `ServerOptimizer`, and so loads this module, while MXNet is still being
# imported: mx.np is not there yet.
if TYPE_CHECKING:
    from mxnet import np

WORKER = "D2L_AUTOREC_WORKER"  # set by d2l_autorec.launch
FIRST_KEY = 1 << 20  # below it are a trainer's parameters


_OPENED: list[Any] = []  # a store that is freed waits for all workers, so no failure frees one


class ServerOptimizer(mx.optimizer.Optimizer):
    """What the servers of dist_async do with what they are sent; they unpickle it.

    A trainer's optimizer for its parameters; a plain sum for the workers' own keys.

    Parameters
    ----------
    inner : Optimizer, optional
        None until there is a trainer: its parameters come after it.
    """

    def __init__(self, inner: Any = None) -> None:
        super().__init__()
        self._inner = inner

    def create_state_multi_precision(self, index: int, weight: Any) -> Any:
        """Return the inner optimizer's state, and none for a worker's own key."""
        if index >= FIRST_KEY:
            return None
        return self._inner.create_state_multi_precision(index, weight)

    def update_multi_precision(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        """Add, or update by the inner optimizer."""
        if index >= FIRST_KEY:
            weight[:] = weight + grad
        else:
            self._inner.update_multi_precision(index, weight, grad, state)


class Workers:
    """A run's processes, of which this is one; by default the only one.

    All methods but `share` are for every worker to call, in the same order. A
    context manager, which closes itself unless the block fails; a process
    that failed is to be left by `leave`.

    Parameters
    ----------
    store : KVStore, optional
        MXNet's parameter server. Without one the run is this process alone.
    rank : int, optional
        From 0. By default the number that the store gave, which differs from
        run to run.

    Attributes
    ----------
    rank, size : int
    asynchronous : bool
        Whether the servers update parameters, with each worker's gradient by
        itself, as soon as it comes.
    store : KVStore or None
        For `gluon.Trainer`; see `begin`.
    """

    def __init__(self, store: Any = None, rank: int | None = None) -> None:
        self.store = store
        self.size = 1
        self.rank = rank or 0
        self.asynchronous = False
        self._keys: dict[int, int] = {}
        self._begun = False

        if store is not None:
            self.size = store.num_workers
            self.rank = store.rank if rank is None else rank
            self.asynchronous = "async" in store.type
            if self.asynchronous:
                store.set_optimizer(ServerOptimizer())

    def share(self, arrays: Sequence[Any]) -> tuple[list[Any], float]:
        """Return this worker's rows of a global batch, and their weight.

        Rows go out as evenly as they divide. A worker that is left without one
        gets row 0 with weight 0: it makes the step like all others, and its
        gradient is a true zero.

        Parameters
        ----------
        arrays : sequence of ndarray or CSRBatch
            Same number of rows.

        Returns
        -------
        arrays : list
        weight : float
            1, or 0 for a stand-in row.
        """
        if self.size == 1:
            return list(arrays), 1.0

        rows = len(arrays[0])
        part = slice(self.first_row(rows), (self.rank + 1) * rows // self.size)
        if part.start == part.stop:
            return [array[:1] for array in arrays], 0.0
        return [array[part] for array in arrays], 1.0

    def first_row(self, rows: int) -> int:
        """Return the position in a global batch of so many rows of this worker's first."""
        return self.rank * rows // self.size

    def begin(self, trainer: Any) -> None:
        """Give the store a trainer's parameters, once, before the first step.

        Left to the first step, MXNet 1.9.1 reads the initial parameters back
        while gradients are sent already, and at times gets a gradient instead.
        """
        if self.store is None:
            return

        trainer._init_kvstore()
        if self.asynchronous:
            self.store.set_optimizer(ServerOptimizer(trainer.optimizer))

        if self._begun:  # only gradients are summed under the keys, which are there already
            trainer._params_to_init = []
        trainer._init_params()

        mx.npx.waitall()
        self._begun = True

    def collect(self, trainer: Any) -> None:
        """Read the servers' parameters, where they are what trains, once all have come so far."""
        if not self.asynchronous:
            return

        mx.npx.waitall()
        self.barrier()

        for key, parameter in enumerate(trainer._params):
            self.store.pull(key, out=parameter.list_data())

        mx.npx.waitall()
        self.barrier()  # nobody trains on before all have read

    def sum(self, values: onp.ndarray) -> onp.ndarray:
        """Return the sum of all workers' `values`, in float64, the same to the bit on every worker.

        The store itself adds in float32, in the order in which workers arrive;
        so it only carries the values here, and each worker adds them by rank.

        Parameters
        ----------
        values : ndarray, shape (n,)
        """
        own = onp.asarray(values, dtype=onp.float64)
        if self.store is None or not own.size:
            return own

        packed = _pack(own.tobytes())
        table = onp.zeros((self.size, len(packed)), dtype=onp.float32)
        table[self.rank] = packed

        whole = self._add(table.ravel()).reshape(table.shape)
        rows = [onp.frombuffer(_unpack(row, own.nbytes)) for row in whole]
        return onp.sum(rows, axis=0)

    def broadcast(self, content: bytes) -> bytes:
        """Return what worker 0 gives, on every worker; that of the others is ignored."""
        if self.store is None:
            return content

        own = b"" if self.rank else content
        length = int(self.sum(onp.array([len(own)]))[0])
        packed = _pack(own.ljust(length, b"\0"))  # zeros, where the store only adds
        return _unpack(self._add(packed), length)

    def agree(self, value: Any) -> Any:
        """Return worker 0's value, which JSON can hold, on every worker."""
        if self.store is None:
            return value

        text = self.broadcast(json.dumps(value).encode())
        return json.loads(text)

    def _add(self, values: onp.ndarray) -> onp.ndarray:
        """Return the store's sum, in float32."""
        if not values.size:
            return values

        own = mx.np.array(values, dtype="float32")
        total = mx.np.zeros(values.shape, dtype="float32")
        if self.asynchronous:
            return self._add_once(own, total)

        if values.size not in self._keys:  # a key has one shape for ever
            self._keys[values.size] = FIRST_KEY + len(self._keys)
            self.store.init(self._keys[values.size], total)
        key = self._keys[values.size]

        self.store.pushpull(key, own, out=total)
        return total.asnumpy()

    def _add_once(self, values: "np.ndarray", total: "np.ndarray") -> onp.ndarray:
        """Return the sum where servers never wait for all: by a new key, after a barrier."""
        key = FIRST_KEY + len(self._keys)
        self._keys[len(self._keys)] = key

        self.store.init(key, total)
        self.store.push(key, values)
        mx.npx.waitall()
        self.barrier()

        self.store.pull(key, out=total)
        return total.asnumpy()

    def barrier(self) -> None:
        """Wait until every worker is here."""
        if self.store is not None:
            self.store._barrier()

    def close(self) -> None:
        """Wait until every worker is done; the servers then end by themselves.

        Left to Python, the store may outlive the interpreter (a trainer is in
        reference cycles), and its threads then abort the process.
        """
        if self.store is None:
            return

        mx.npx.waitall()
        handle = self.store.handle
        self.store.handle = None  # so that nobody frees it twice
        self.store = None
        check_call(_LIB.MXKVStoreFree(handle))

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:  # after a failure it would wait for workers that wait for this one
            self.close()


def connect(kvstore: str | None = None) -> Workers:
    """Join the parameter server that the environment tells of; does nothing for one process.

    An uncaught exception then ends this process at once, see `leave`.

    Parameters
    ----------
    kvstore : str, optional
        'dist_sync' or 'dist_async'; anything else is a single process.

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
    return Workers(store, None if rank is None else int(rank))


def _leave_with_traceback(*error: Any) -> NoReturn:
    traceback.print_exception(*error)
    leave(1)


def _pack(content: bytes) -> onp.ndarray:
    """Return three bytes a number, which float32 holds exactly: the store adds nothing else."""
    count = -(-len(content) // 3)
    whole = content.ljust(count * 3, b"\0")

    wide = onp.zeros((count, 4), dtype=onp.uint8)
    wide[:, :3] = onp.frombuffer(whole, dtype=onp.uint8).reshape(-1, 3)
    return wide.view("<u4").ravel().astype(onp.float32)


def _unpack(packed: onp.ndarray, length: int) -> bytes:
    """Return the bytes that `_pack` was given."""
    wide = packed.astype("<u4").view(onp.uint8).reshape(-1, 4)
    return wide[:, :3].tobytes()[:length]
