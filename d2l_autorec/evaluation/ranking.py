"""The evaluation of rankings: how high held-out users' clicks, which it did not see, are ranked."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import mxnet as mx
import numpy as np
from mxnet.ndarray import NDArray as MXNetArray  # of which mxnet.np's arrays are a subclass
from scipy import sparse

from ..models.vectors import top_items
from ..support.errors import DataError
from ..training.devices import parts_on
from ..training.history import CUT_OFFS
from ..training.loaders import DenseRows, eval_loader
from .metrics import (
    METRICS,
    coverage_at,
    diversity_at,
    gini_at,
    hits_at,
    likeness_to_better,
    mean_and_error,
    novelty_at,
)

OF_AN_EPOCH = (("ndcg", 100), ("recall", 20), ("recall", 50))
DEEPEST = max(k for _, k in OF_AN_EPOCH)


class Ranked(NamedTuple):
    """The best items for each user who has held-out ones.

    Parameters
    ----------
    items : ndarray of int, shape (users, k)
        The items, best first; -1 is none.
    hits : ndarray of bool, shape (users, k)
        Which of them are held-out ones.
    losses : ndarray of float64, shape (users,) or (0,)
        The users' losses, if they are measured: see `RankingEvaluation`.
    """

    items: np.ndarray
    hits: np.ndarray
    losses: np.ndarray


@dataclass(eq=False)
class RankingEvaluation:
    """A function of a network to the metrics of its ranking of items for held-out users.

    fold-in clicks -> network -> scores, -inf at the fold-in clicks -> best items -> hits -> metrics

    After an epoch it measures NDCG@100, Recall@20 and Recall@50. A report has all of `METRICS` at
    chosen cut-offs, and metrics beyond accuracy: novelty, diversity, coverage and Gini index.

    Users come in blocks, so that only one block of scores is ever in memory.
    Users without held-out items are left out and counted.

    Parameters
    ----------
    fold_in, held_out : csr_matrix, shape (users, items)
        The clicks that the network is given, and those that it should rank first.
    devices : sequence of Context
        The devices that compute.
    batchify : callable
        `DenseRows` or `SparseRows`.
    batch_size : int
        Users in a block.
    with_loss : bool
        Whether the metrics have 'loss', too: the mean over users of the negative
        log likelihood of their held-out clicks under softmax(scores).
    cut_offs : sequence of int
        The ranks at which a report measures.
    train : csr_matrix, shape (training users, items), optional
        The clicks by which a report measures novelty and diversity; by default `fold_in`.

    Attributes
    ----------
    by_user : dict
        After a report, the columns of users.csv: 'user', a row of the matrices, and each metric.

    Raises
    ------
    DataError
        If no user has a held-out item.
    """

    fold_in: sparse.csr_matrix
    held_out: sparse.csr_matrix
    devices: Sequence[mx.Context]
    batchify: Callable = DenseRows
    batch_size: int = 500
    with_loss: bool = False
    cut_offs: Sequence[int] = CUT_OFFS
    train: sparse.csr_matrix | None = None
    by_user: dict[str, np.ndarray] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        users = self.held_out.shape[0]
        self._users = np.flatnonzero(np.diff(self.held_out.indptr))
        if not len(self._users):
            raise DataError(
                f"none of the {users} held-out users has a held-out item, which takes 5 clicks: "
                "hold out clicks by `split=leave-last-out` or time, or more `heldout_users`"
            )

        self.users_without_held_out = users - len(self._users)
        self._train = self.fold_in if self.train is None else self.train
        self._fold_in = self.fold_in[self._users]
        self._held_out = self.held_out[self._users]
        self._cut_offs = sorted(set(self.cut_offs))
        self._depth = max(DEEPEST, *self._cut_offs)
        self._loader = eval_loader(self._fold_in, self.batch_size, self.batchify)

    def __call__(self, network: Callable) -> dict[str, float]:
        """Return the mean of each metric over users.

        Parameters
        ----------
        network : callable
            Maps a batch of fold-in rows, (B, items), to scores of the same
            shape: an MXNet or a NumPy array.
        """
        per_user = self.per_user(self.measured(network))
        return {name: mean_and_error(values)[0] for name, values in per_user.items()}

    def per_user(
        self, ranked: Ranked, metrics: Sequence[tuple[str, int]] = OF_AN_EPOCH
    ) -> dict[str, np.ndarray]:
        """Return the value of each metric for each user that has held-out items, in row order.

        Parameters
        ----------
        ranked : Ranked
            The result of `measured`.
        metrics : sequence of (str, int)
            Names of `METRICS` and cut-offs; by default those of an epoch.
        """
        relevant = np.diff(self._held_out.indptr)
        values = {f"{name}@{k}": METRICS[name](ranked.hits, relevant, k) for name, k in metrics}
        return values | ({"loss": ranked.losses} if self.with_loss else {})

    def report(self, network: Callable) -> dict[str, Any]:
        """Return all metrics for result.json, with standard errors over users (`..._se`)."""
        ranked = self.measured(network)
        at_cut_offs = [(name, k) for k in self._cut_offs for name in METRICS]
        items, num_items = ranked.items, self._train.shape[1]
        likeness = likeness_to_better(items, self._train)
        per_user = self.per_user(ranked, [*OF_AN_EPOCH, *at_cut_offs])
        flat: dict[str, Any] = {"cut_offs": self._cut_offs}
        for k in self._cut_offs:
            per_user[f"novelty@{k}"] = novelty_at(items, self._train, k)
            per_user[f"diversity@{k}"] = diversity_at(likeness, items, k)
            flat[f"test_coverage@{k}"] = coverage_at(items, num_items, k)
            flat[f"test_gini@{k}"] = gini_at(items, num_items, k)
        self.by_user = {"user": self._users, **per_user}
        for name, values in per_user.items():
            flat[f"test_{name}"], flat[f"test_{name}_se"] = mean_and_error(values)

        flat["test_users"] = self._fold_in.shape[0]
        flat["test_users_without_held_out"] = self.users_without_held_out
        return flat

    def measured(self, network: Callable) -> Ranked:
        """Return the best items for each user, by which the metrics are computed."""
        return Ranked(*map(np.concatenate, zip(*self._blocks(network))))

    def _blocks(self, network: Callable) -> Iterator[Ranked]:
        """Yield the best items for each block of users."""
        row = 0
        for batch in self._loader:
            parts = parts_on([batch], self.devices)
            outputs = [network(rows) for (rows,) in parts]  # all devices start before one is read

            for output in outputs:
                block = slice(row, row + len(output))
                scores = output.asnumpy() if isinstance(output, MXNetArray) else output.copy()
                held_out = self._held_out[block]

                # before `rank` overwrites scores
                losses = likelihood_loss(scores, held_out) if self.with_loss else np.empty(0)
                items = rank(scores, self._fold_in[block], self._depth)
                yield Ranked(items.astype(np.int32), hits_at(items, held_out), losses)
                row = block.stop


def likelihood_loss(scores: np.ndarray, held_out: sparse.csr_matrix) -> np.ndarray:
    """Return -sum_i x_i log softmax(scores)_i for each row x of `held_out`, shape (users,)."""
    highest = scores.max(axis=1, keepdims=True)
    normaliser = np.log(np.exp(scores - highest).sum(axis=1)) + highest[:, 0]

    cells = held_out.tocoo()
    terms = (normaliser[cells.row] - scores[cells.row, cells.col]) * cells.data
    return np.bincount(cells.row, terms, minlength=len(scores))


def rank(scores: np.ndarray, fold_in: sparse.csr_matrix, k: int) -> np.ndarray:
    """Return the k best items for each user that are not in `fold_in`, best first.

    Parameters
    ----------
    scores : ndarray, shape (users, items)
        The scores, which are set to -inf where `fold_in` has a click.
    fold_in : csr_matrix, shape (users, items)
        The clicks that are not to be ranked.
    k : int

    Returns
    -------
    ndarray of int, shape (users, min(k, items))
        The items; -1 where fewer than k are left (or their scores are NaN).
    """
    cells = fold_in.tocoo()
    scores[cells.row, cells.col] = -np.inf

    ranked = top_items(scores, k)
    is_item = np.take_along_axis(scores, ranked, axis=1) > -np.inf  # not so for NaN, either
    ranked[~is_item] = -1
    return ranked
