"""AutoRec (Sedhain et al., 2015), as in the d2l chapter."""

from typing import Any

from mxnet import autograd, np, npx
from mxnet.gluon import nn

from .base import Model
from .layers import Dropout, InputDense, OutputDense


class AutoRec(nn.HybridBlock, Model):
    """A network that reconstructs rating vectors: input -> encoder -> dropout -> decoder.

    h(r) = W g(V r + mu) + b (paper, equation 1), with the sigmoid as g. In the item-based
    model, a row of the input holds the ratings of one item by all users, 0 where there is none.

    Parameters
    ----------
    num_hidden : int
        Number of hidden units.
    num_users : int
        Length of a rating vector: users, or items for a user-based model.
    dropout : float
        Share of the hidden units that training drops.

    Shape: (batch_size, num_users) -> (batch_size, num_users).

    Notes
    -----
    Making one switches MXNet to NumPy semantics (`npx.set_np()`).

    The layers compute what the chapter's `nn.Dense` and `nn.Dropout` do; `InputDense` stores the
    weight transposed, `OutputDense` adds the bias in an operation of its own, and `Dropout` can be
    seeded for each step. `hybridize` traces the layers, but not `forward`: in a trace,
    `is_training()` would keep the value of the first call.

    Sources: Sedhain et al., AutoRec: Autoencoders Meet Collaborative Filtering, WWW 2015; d2l,
    section "AutoRec: Rating Prediction with Autoencoders".
    """

    def __init__(
        self, num_hidden: int, num_users: int, dropout: float = 0.05, **kwargs: Any
    ) -> None:
        npx.set_np()  # every layer computes by NumPy operators
        super().__init__(**kwargs)

        with self.name_scope():
            self.encoder = InputDense(num_hidden, num_users, activation="sigmoid")
            self.dropout = Dropout(dropout)
            self.decoder = OutputDense(num_users, num_hidden)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return the reconstructions of `x`, in training those of observed entries only."""
        hidden = self.dropout(self.encoder(x))
        pred = self.decoder(hidden)
        if autograd.is_training():  # mask the gradient during training
            return pred * np.sign(x)
        return pred
