"""Matrix factorization with biases, and the baselines that are its biases alone."""

from typing import Any

import numpy as onp
from mxnet import autograd, init, np, npx
from mxnet.gluon import nn
from scipy import sparse

from ..data.means import Means, fit_means
from .base import Model
from .vectors import Vectors


class MF(nn.HybridBlock, Model):
    """A matrix factorization, which predicts a rating as P_u . Q_i * unit + b_u + b_i + mean.

    Parameters
    ----------
    num_factors : int
        Length of P_u and Q_i; 0 leaves the product out.
    num_users, num_items : int
        How many users and items there are.
    means : Means, optional
        User and item means, with which the biases begin. The product then begins with 0 and
        predicts what they leave; `unit` is its standard deviation. Without them mean is 0, unit 1.
    penalty : float
        Factor of unit^2 (|P_u|^2 + |Q_i|^2) / 2, a penalty for each rating. If it is not 0, the
        result in training is a pair of predictions and penalties, both of shape (batch_size,).

    Shape: users (batch_size,), items (batch_size,) -> (batch_size,).

    Notes
    -----
    Making one switches MXNet to NumPy semantics (`npx.set_np()`). On one CPU device, a run with
    Adam or RProp trains it by a compiled step, which does not call `forward`: see
    `kernels.fused_step`.

    Sources: d2l, section "Matrix Factorization", which has neither means nor this penalty; Koren,
    Bell, Volinsky, Matrix Factorization Techniques for Recommender Systems, IEEE Computer 42(8),
    2009.
    """

    reads_sparse = True

    def __init__(
        self,
        num_factors: int,
        num_users: int,
        num_items: int,
        means: Means | None = None,
        penalty: float = 0.0,
        **kwargs: Any,
    ) -> None:
        npx.set_np()  # every layer computes by NumPy operators
        super().__init__(**kwargs)
        self._num_factors = num_factors
        self._penalty = penalty

        with self.name_scope():
            if num_factors:
                self.P = nn.Embedding(num_users, num_factors)
                self.Q = nn.Embedding(num_items, num_factors)
            self.user_bias = nn.Embedding(num_users, 1)
            self.item_bias = nn.Embedding(num_items, 1)
            self.mean = self.params.get_constant("mean", np.zeros(1))
            self.unit = self.params.get_constant("unit", np.ones(1))

        if means is not None:
            self._begin_with(means)

    def _begin_with(self, means: Means) -> None:
        self.Q.weight.init = "zeros"
        self.mean.value[:] = means.mean
        self.unit.value[:] = means.unit
        for embedding, biases in ((self.user_bias, means.rows), (self.item_bias, means.columns)):
            embedding.weight.init = init.Constant(np.array(biases[:, None], dtype="float32"))

    def forward(self, users: np.ndarray, items: np.ndarray) -> Any:
        """Return predictions; in training with a penalty, the penalties, too."""
        ctx = users.ctx
        biases = (self.user_bias(users) + self.item_bias(items)).squeeze(1) + self.mean.data(ctx)
        if not self._num_factors:
            return biases

        P, Q = self.P(users), self.Q(items)
        unit = self.unit.data(ctx)
        predictions = (P * Q).sum(axis=1) * unit + biases
        if not self._penalty or not autograd.is_training():
            return predictions

        squares = np.square(P).sum(axis=1) + np.square(Q).sum(axis=1)
        return predictions, self._penalty / 2 * np.square(unit) * squares

    def constants(self) -> tuple[float, float, float]:
        """Return mean, unit and penalty."""
        return float(self.mean.data().item()), float(self.unit.data().item()), self._penalty

    def seed_step(self, key: onp.uint64, first_row: int) -> None:
        """Do nothing: a step draws no random numbers."""

    def tables(self) -> tuple[Vectors, Vectors]:
        """Return the vectors and biases of users and of items; users' biases include the mean."""
        user_biases = _values(self.user_bias)[:, 0]
        item_biases = _values(self.item_bias)[:, 0]

        users = onp.zeros((len(user_biases), 1), dtype=onp.float32)
        items = onp.zeros((len(item_biases), 1), dtype=onp.float32)
        if self._num_factors:
            users = _values(self.P) * self.unit.data().asnumpy()
            items = _values(self.Q)

        mean = self.mean.data().asnumpy()
        return Vectors(users, user_biases + mean), Vectors(items, item_biases)


def _values(embedding: nn.Embedding) -> onp.ndarray:
    return embedding.weight.data().asnumpy()


class ClosedForm(MF):
    """An `MF` without factors whose parameters are user and item means, computed at once.

    Parameters
    ----------
    num_users, num_items : int
        How many users and items there are.
    damping : float, optional
        How strongly the means are shrunk; see `fit_means`.
    """

    is_closed_form = True

    def __init__(self, num_users: int, num_items: int, damping: float | None = None) -> None:
        super().__init__(0, num_users, num_items)
        self._damping = damping

    def fit(self, train: sparse.csr_matrix, score: Any = None) -> None:
        """Set the parameters from an interaction matrix of shape (users, items)."""
        means = fit_means(train, self._damping)
        self.mean.set_data(np.array([means.mean]))
        self.item_bias.weight.set_data(np.array(means.columns[:, None]))
        self.user_bias.weight.set_data(np.array(means.rows[:, None]))
