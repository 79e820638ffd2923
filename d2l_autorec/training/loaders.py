"""Gluon DataLoaders of rating vectors: roll-over batches, shuffling seeded for each epoch."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as onp
from mxnet import gluon, np
from scipy import sparse

from .. import kernels
from ..data.ratings import Ratings
from ..kernels.csr import CSRBatch
from ..support.seeds import Purpose, generator


class EpochShuffle(gluon.data.Sampler):
    """Row numbers 0..length-1 in an order that (seed, epoch) determines.

    MXNet's random state cannot be read back; an order that depends on the
    epoch alone makes a resumed run see the rows that the stopped one would have.

    Parameters
    ----------
    length : int
    seed : int

    Attributes
    ----------
    epoch : int
        The epoch that the next pass belongs to; grows by one with each pass.
    """

    def __init__(self, length: int, seed: int) -> None:
        self._length = length
        self._seed = seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        random = generator(self._seed, Purpose.ROW_ORDER, self.epoch)
        self.epoch += 1
        return iter(random.permutation(self._length).tolist())

    def __len__(self) -> int:
        return self._length


class Batches(gluon.data.BatchSampler):
    """Row numbers of each batch; a training that goes on in mid-epoch skips those it has done.

    Attributes
    ----------
    skipped : int
        How many batches the next pass leaves out.
    """

    skipped = 0

    def __iter__(self) -> Iterator[list[int]]:
        done = self.skipped
        self.skipped = 0
        return islice(super().__iter__(), done, None)


class SparseRows:
    """Batchify function: row numbers to a CSRBatch."""

    def __init__(self, matrix: sparse.csr_matrix) -> None:
        self._matrix = matrix

    def __call__(self, rows: list[int]) -> CSRBatch:
        """Return the rows of these numbers."""
        matrix, chosen = self._matrix, onp.array(rows, dtype=onp.int64)
        indptr, indices, data = kernels.take_rows(
            matrix.indptr, matrix.indices, matrix.data, chosen
        )
        return CSRBatch(indptr, indices, data, matrix.shape[1])


class DenseRows:
    """Batchify function: row numbers to a dense batch, so that only one batch is ever dense."""

    def __init__(self, matrix: sparse.csr_matrix) -> None:
        self._matrix = matrix

    def __call__(self, rows: list[int]) -> np.ndarray:
        """Return the rows of these numbers, (batch_size, columns)."""
        return np.array(self._matrix[rows].toarray(), dtype="float32")  # (B, columns)


class Pairs(NamedTuple):
    """Ratings as rows (user, item, value): the input of matrix factorization."""

    users: onp.ndarray
    items: onp.ndarray
    values: onp.ndarray

    @classmethod
    def of(cls, ratings: Ratings) -> "Pairs":
        """Return indices and values, with the offset that keeps 0 free."""
        values = ratings.values + onp.float32(ratings.offset)
        return cls(ratings.users, ratings.items, values)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return len(self.users), len(self)


class PairRows:
    """Batchify function: row numbers to users, items and values, each of shape (batch_size,)."""

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs

    def __call__(self, rows: list[int]) -> list[np.ndarray]:
        """Return users, items and values of the rows of these numbers."""
        pairs = self._pairs
        return [
            np.array(pairs.users[rows], dtype="int32"),
            np.array(pairs.items[rows], dtype="int32"),
            np.array(pairs.values[rows], dtype="float32"),
        ]


BATCHES = {"dense": DenseRows, "sparse": SparseRows}


def train_loader(
    matrix: sparse.csr_matrix | Pairs,
    batch_size: int,
    seed: int,
    batchify: Callable = DenseRows,
    last_batch: str = "rollover",
) -> gluon.data.DataLoader:
    """Return shuffled batches; rows left over at the end of an epoch open the next one.

    With `last_batch` 'keep' they are a short batch of their own.
    """
    rows = gluon.data.SimpleDataset(range(matrix.shape[0]))
    shuffle = EpochShuffle(matrix.shape[0], seed)
    batches = Batches(shuffle, batch_size, last_batch)

    return gluon.data.DataLoader(rows, batch_sampler=batches, batchify_fn=batchify(matrix))


def eval_loader(
    matrix: sparse.csr_matrix | Pairs, batch_size: int = 1024, batchify: Callable = DenseRows
) -> gluon.data.DataLoader:
    """Return batches of every row once, in order."""
    rows = gluon.data.SimpleDataset(range(matrix.shape[0]))

    return gluon.data.DataLoader(
        rows, batch_size=batch_size, shuffle=False, last_batch="keep", batchify_fn=batchify(matrix)
    )


def loader_state(loader: gluon.data.DataLoader) -> dict[str, onp.ndarray]:
    """Return what a loader's next pass depends on: its epoch and the rows rolled over.

    Read it before the pass begins, which changes both.
    """
    batches = loader._batch_sampler
    return {
        "loader/epoch": onp.array(batches._sampler.epoch),
        "loader/rolled_over": onp.array(batches._prev, dtype=onp.int64),
    }


def restore_loader(loader: gluon.data.DataLoader, state: dict[str, Any], skipped: int = 0) -> None:
    """Set a loader's state; the next pass leaves out its first `skipped` batches."""
    batches = loader._batch_sampler
    batches.skipped = skipped
    batches._sampler.epoch = int(state["loader/epoch"])
    batches._prev = state["loader/rolled_over"].tolist()
