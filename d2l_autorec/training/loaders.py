"""Loaders of batches, of rating vectors or of pairs; each epoch has an order of its own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import mxnet as mx
import numpy as onp
from mxnet import np
from scipy import sparse

from ..data.ratings import Ratings
from ..kernels.csr import ChosenRows, CSRBatch
from ..support.seeds import Purpose, generator


@dataclass(eq=False)
class Loader:
    """An iterable of batches of rows, in order, or in an order that (seed, epoch) determines.

    MXNet's random state cannot be read back. An order that depends only on seed and
    epoch gives a resumed run the rows that the stopped one would have had.

    Parameters
    ----------
    batchify : callable
        (row numbers, an ndarray of int64) to a batch.
    length : int
        Number of rows.
    batch_size : int
        Rows in a batch.
    seed : int, optional
        Seed of the orders; without one, rows come in the order of their numbers.
    last_batch : {'keep', 'rollover'}
        Whether rows left over at the end of an epoch are a short batch, or open the next epoch.

    Attributes
    ----------
    epoch : int
        The epoch that the next pass belongs to; it grows by one with each pass.
    rolled_over : ndarray of int64
        The rows that open that epoch.
    skipped : int
        How many batches the next pass leaves out, as a training that is resumed within an epoch
        has done them.
    """

    batchify: Callable
    length: int
    batch_size: int
    seed: int | None = None
    last_batch: str = "keep"
    epoch: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.rolled_over = onp.empty(0, dtype=onp.int64)

    def __iter__(self) -> Iterator[Any]:
        rows = onp.arange(self.length)
        if self.seed is not None:
            rows = generator(self.seed, Purpose.ROW_ORDER, self.epoch).permutation(self.length)
        rows = onp.concatenate([self.rolled_over, rows])

        size, first = self.batch_size, self.skipped
        end = len(rows) if self.last_batch == "keep" else len(rows) // size * size
        self.epoch, self.skipped, self.rolled_over = self.epoch + 1, 0, rows[end:]

        for start in range(first * size, end, size):
            yield self.batchify(rows[start : min(start + size, end)])


class SparseRows:
    """A function of row numbers to a CSRBatch, for `Loader.batchify`."""

    def __init__(self, matrix: sparse.csr_matrix) -> None:
        self._whole = CSRBatch.of(matrix)

    def __call__(self, rows: onp.ndarray) -> ChosenRows:
        """Return the rows with these numbers."""
        return ChosenRows(self._whole, rows)


class DenseRows(NamedTuple):
    """A function of row numbers to a dense batch, for `Loader.batchify`.

    Only one batch of the matrix is dense at a time.
    """

    matrix: sparse.csr_matrix

    def __call__(self, rows: onp.ndarray) -> np.ndarray:
        """Return the rows with these numbers, shape (batch_size, columns)."""
        return np.array(self.matrix[rows].toarray(), dtype="float32")  # (B, columns)


class Pairs(NamedTuple):
    """Ratings as rows of user, item and value: what a matrix factorization is trained on."""

    users: onp.ndarray
    items: onp.ndarray
    values: onp.ndarray

    @classmethod
    def of(cls, ratings: Ratings) -> "Pairs":
        """Return users, items and values plus `ratings.offset`, which leaves 0 free."""
        values = ratings.values + onp.float32(ratings.offset)
        return cls(ratings.users, ratings.items, values)

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns, (n, 3)."""
        return len(self.users), len(self)


class OnHost(onp.ndarray):
    """A NumPy array with the `as_in_ctx` of MXNet's."""

    def as_in_ctx(self, ctx: mx.Context) -> np.ndarray:
        """Return MXNet's array of the same numbers on `ctx`."""
        return np.array(self, dtype=self.dtype, ctx=ctx)


class PairRows(NamedTuple):
    """A function of row numbers to users, items and values, for `Loader.batchify`."""

    pairs: Pairs

    def __call__(self, rows: onp.ndarray) -> list[OnHost]:
        """Return users, items (int32) and values (float32), each of shape (batch_size,)."""
        return [part[rows].view(OnHost) for part in self.pairs]


BATCHES = {"dense": DenseRows, "sparse": SparseRows}


def train_loader(
    matrix: sparse.csr_matrix | Pairs,
    batch_size: int,
    seed: int,
    batchify: Callable = DenseRows,
    last_batch: str = "rollover",
) -> Loader:
    """Return a loader of shuffled batches of a matrix; see `Loader`."""
    return Loader(batchify(matrix), matrix.shape[0], batch_size, seed, last_batch)


def eval_loader(
    matrix: sparse.csr_matrix | Pairs, batch_size: int = 1024, batchify: Callable = DenseRows
) -> Loader:
    """Return a loader of batches that have every row once, in order."""
    return Loader(batchify(matrix), matrix.shape[0], batch_size)


def loader_state(loader: Any) -> dict[str, onp.ndarray]:
    """Return the state on which a loader's next pass depends: its epoch and the rows rolled over.

    It must be read before the pass begins, which changes both.
    """
    return {"loader/epoch": onp.array(loader.epoch), "loader/rolled_over": loader.rolled_over}


def restore_loader(loader: Any, state: dict[str, Any], skipped: int = 0) -> None:
    """Set a loader's state; the next pass leaves out its first `skipped` batches."""
    loader.epoch = int(state["loader/epoch"])
    loader.rolled_over = state["loader/rolled_over"]
    loader.skipped = skipped
