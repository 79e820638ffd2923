"""AutoRec (Sedhain et al., 2015), as the d2l chapter has it."""

from typing import Any, List, Optional, Union

from mxnet import autograd, np
from mxnet.gluon import Parameter, nn

from ..sparse import CSRBatch, masked_decode
from .layers import InputDense


class AutoRec(nn.HybridBlock):
    """Reconstructs rating vectors: input -> encoder -> sigmoid -> dropout -> decoder.

    h(r) = W sigmoid(V r + mu) + b (paper, equation 1 with identity f).

    Item-based, a row of the input holds the ratings of one item by all users,
    0 where there is none. While `autograd.is_training()`, the prediction is
    multiplied by sign(input): unobserved entries then have no error and send
    no gradient.

    Parameters
    ----------
    num_hidden : int
        Hidden units.
    num_users : int
        Length of a rating vector: users, or items for a user-based model.
    dropout : float
        Share of hidden units dropped in training.

    Shape: (batch_size, num_users) -> (batch_size, num_users).

    Notes
    -----
    The mask stands outside the part that `hybridize` traces: a Python
    condition inside it would be frozen at the first call.

    Source: d2l, section "AutoRec: Rating Prediction with Autoencoders".
    """

    def __init__(self, num_hidden: int, num_users: int, dropout: float = 0.05,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.encoder = InputDense(num_hidden, num_users, activation="sigmoid")
            self.decoder = nn.Dense(num_users, in_units=num_hidden)
            self.dropout = nn.Dropout(dropout)

    def sparse_weights(self) -> List[Parameter]:
        """The weights that the sparse kernels read and write."""
        return [self.encoder.weight, self.decoder.weight]

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.decoder(self.dropout(self.encoder(x)))

    def forward(self, x: Union[np.ndarray, CSRBatch], at: Optional[CSRBatch] = None
                ) -> np.ndarray:
        """Reconstructions of `x`; of a CSRBatch, only at the entries of `at` (default: its own).

        Shape: (batch_size, num_users) -> the same; for a CSRBatch -> (entries,).
        """
        if isinstance(x, CSRBatch):
            hidden = self.dropout(self.encoder(x))
            return masked_decode(at or x, hidden, self.decoder.weight, self.decoder.bias)
        prediction = super().forward(x)
        return prediction * np.sign(x) if autograd.is_training() else prediction
