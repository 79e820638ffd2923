"""Matrix factorization with biases, and the baselines that are its biases alone."""

from typing import Any

import numpy as onp
from mxnet import init, np, npx
from mxnet.gluon import nn
from scipy import sparse

from .base import Model
from .vectors import Vectors

DAMPING = 5.0  # ratings without deviation that each user and item is given beside its own


class MF(nn.HybridBlock, Model):
    """Predicts a rating as P_u . Q_i + b_u + b_i + mean.

    Parameters
    ----------
    num_factors : int
        Length of P_u and Q_i; 0 leaves the product out.
    num_users, num_items : int
    mean : float
        A constant, not trained.

    Shape: users (batch_size,), items (batch_size,) -> (batch_size,).

    Notes
    -----
    Switches MXNet to NumPy semantics (`npx.set_np()`).

    Source: d2l, section "Matrix Factorization", which has no mean.
    """

    reads_pairs = True

    def __init__(
        self, num_factors: int, num_users: int, num_items: int, mean: float = 0.0, **kwargs: Any
    ) -> None:
        npx.set_np()  # every layer computes by NumPy operators
        super().__init__(**kwargs)
        self._num_factors = num_factors

        with self.name_scope():
            if num_factors:
                self.P = nn.Embedding(num_users, num_factors)
                self.Q = nn.Embedding(num_items, num_factors)
            self.user_bias = nn.Embedding(num_users, 1)
            self.item_bias = nn.Embedding(num_items, 1)
            self.mean = self.params.get(
                "mean", shape=(1,), init=init.Constant(mean), grad_req="null"
            )

    def hybrid_forward(self, F: Any, users: Any, items: Any, mean: Any) -> Any:
        """Compute a batch, traced; see the class for shapes."""
        biases = F.np.squeeze(self.user_bias(users) + self.item_bias(items), axis=1) + mean
        if not self._num_factors:
            return biases

        products = (self.P(users) * self.Q(items)).sum(axis=1)
        return products + biases

    def seed_step(self, key: onp.uint64, first_row: int) -> None:
        """Do nothing: a step draws nothing."""

    def tables(self) -> tuple[Vectors, Vectors]:
        """Return those of users, whose biases have the mean added, and of items."""
        user_biases = _values(self.user_bias)[:, 0]
        item_biases = _values(self.item_bias)[:, 0]

        users = onp.zeros((len(user_biases), 1), dtype=onp.float32)
        items = onp.zeros((len(item_biases), 1), dtype=onp.float32)
        if self._num_factors:
            users = _values(self.P)
            items = _values(self.Q)

        mean = self.mean.data().asnumpy()
        return Vectors(users, user_biases + mean), Vectors(items, item_biases)


def _values(embedding: nn.Embedding) -> onp.ndarray:
    return embedding.weight.data().asnumpy()


class ClosedForm(MF):
    """An `MF` without factors whose parameters are computed, not trained.

    Parameters
    ----------
    num_users, num_items : int
    damping : float or None
        None for the global mean alone. Else the number of ratings without
        deviation that every item, and then every user, is given beside its
        own: b_i = sum(r - mean) / (n_i + damping), and b_u = sum(r - mean -
        b_i) / (n_u + damping) (Koren, 2010, equations 3 and 4).
    """

    is_closed_form = True

    def __init__(
        self, num_users: int, num_items: int, damping: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(0, num_users, num_items, **kwargs)
        self._damping = damping

    def fit(self, train: sparse.csr_matrix) -> None:
        """Set the parameters from an interaction matrix of shape (users, items)."""
        mean = train.data.mean(dtype=onp.float64)
        num_users, num_items = train.shape
        user_bias, item_bias = onp.zeros(num_users), onp.zeros(num_items)

        if self._damping is not None:
            user_bias, item_bias = user_and_item_biases(train, mean, self._damping)

        self.mean.set_data(np.array([mean]))
        self.item_bias.weight.set_data(np.array(item_bias[:, None]))
        self.user_bias.weight.set_data(np.array(user_bias[:, None]))


def user_and_item_biases(
    train: sparse.csr_matrix, mean: float, damping: float = DAMPING
) -> tuple[onp.ndarray, onp.ndarray]:
    """Return b_u, shape (users,), and b_i, shape (items,): see `ClosedForm`."""
    cells = train.tocoo()
    num_users, num_items = train.shape

    deviation = cells.data - mean
    item_bias = shrunk_means(cells.col, deviation, num_items, damping)

    left = deviation - item_bias[cells.col]
    user_bias = shrunk_means(cells.row, left, num_users, damping)
    return user_bias, item_bias


def shrunk_means(
    index: onp.ndarray, residual: onp.ndarray, size: int, damping: float
) -> onp.ndarray:
    """Return means of `residual` by `index`, shape (size,), as if of `damping` more zeros each."""
    counts = onp.bincount(index, minlength=size) + damping
    sums = onp.bincount(index, residual, minlength=size)
    return sums / onp.maximum(counts, 1e-12)
