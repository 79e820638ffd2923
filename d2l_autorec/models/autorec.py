"""AutoRec (Sedhain et al., 2015), as the d2l chapter has it, and deeper."""

from collections.abc import Sequence
from typing import Any

from mxnet import autograd, np
from mxnet.gluon import Parameter, nn
from mxnet.initializer import Xavier

from ..kernels.csr import CSRBatch
from ..kernels.functions import masked_decode
from .layers import Affine, InputDense, OutputDense, RatingActivation, activation


class AutoRec(nn.HybridBlock):
    """Reconstructs rating vectors: input -> encoder -> dropout [-> inner layers] -> decoder.

    h(r) = f(W g(V r + mu) + b) (paper, equation 1); the chapter's g is the
    sigmoid and its f the identity.

    Item-based, a row of the input holds the ratings of one item by all users,
    0 where there is none. While `autograd.is_training()`, the prediction is
    multiplied by sign(input): unobserved entries then have no error and send
    no gradient.

    Parameters
    ----------
    num_hidden : int or sequence of int
        Hidden units; of each hidden layer, if there are several. Inner layers
        begin with Glorot's values: the chapter's Normal(0.01) is too small to
        train through.
    num_users : int
        Length of a rating vector: users, or items for a user-based model.
    dropout : float
        Share of the first layer's hidden units dropped in training.
    encoder_activation : str
        g, of every hidden layer.
    decoder_activation : str
        f, of the predictions; see `RatingActivation`.
    tied : bool
        Let the decoder have the encoder's weights: W = V' of the paper.
    scale : (float, float)
        Ends of the rating scale, for a bounded f.

    Shape: (batch_size, num_users) -> (batch_size, num_users).

    Notes
    -----
    The mask stands outside the part that `hybridize` traces: a Python
    condition inside it would be frozen at the first call.

    Source: d2l, section "AutoRec: Rating Prediction with Autoencoders".
    """

    def __init__(
        self,
        num_hidden: int | Sequence[int],
        num_users: int,
        dropout: float = 0.05,
        encoder_activation: str = "sigmoid",
        decoder_activation: str = "identity",
        tied: bool = False,
        scale: tuple[float, float] = (1.0, 5.0),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        sizes = [num_hidden] if isinstance(num_hidden, int) else list(num_hidden)
        with self.name_scope():
            self.encoder = InputDense(sizes[0], num_users, encoder_activation)
            self.dropout = nn.Dropout(dropout)
            self.inner = nn.HybridSequential()
            for wide, narrow in zip(sizes, sizes[1:]):
                self.inner.add(nn.Dense(narrow, in_units=wide, weight_initializer=Xavier()))
                if encoder_activation != "identity":
                    self.inner.add(activation(encoder_activation))
            self.decoder = OutputDense(num_users, sizes[-1], self.encoder.weight if tied else None)
            self.output = (
                None
                if decoder_activation == "identity"
                else RatingActivation(decoder_activation, *scale)
            )

    def sparse_weights(self) -> list[Parameter]:
        """The weights that the sparse kernels read and write."""
        return [self.encoder.weight, self.decoder.weight]

    @property
    def last_layer(self) -> OutputDense:
        """The decoder."""
        return self.decoder

    def affine_layers(self) -> list[Affine]:
        """Every layer but `output`: weight (units, inputs), bias, activation."""
        dense = [layer for layer in self.inner if isinstance(layer, nn.Dense)]
        layers = [(self.encoder.weight.data().T, self.encoder.bias.data(), self.encoder.act)]
        layers += [(layer.weight.data(), layer.bias.data(), self.encoder.act) for layer in dense]
        return [*layers, (self.decoder.weight.data(), self.decoder.bias.data(), None)]

    def hidden(self, x: np.ndarray | CSRBatch) -> np.ndarray:
        """What the decoder reads, shape (batch_size, hidden units of the last layer)."""
        hidden = self.dropout(self.encoder(x))
        return self.inner(hidden) if len(self.inner) else hidden  # a traced identity has no graph

    def rated(self, z: Any) -> Any:
        """The decoder's activation."""
        return z if self.output is None else self.output(z)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.rated(self.decoder(self.hidden(x)))

    def forward(self, x: np.ndarray | CSRBatch, at: CSRBatch | None = None) -> np.ndarray:
        """Reconstructions of `x`; of a CSRBatch, only at the entries of `at` (default: its own).

        Shape: (batch_size, num_users) -> the same; for a CSRBatch -> (entries,).
        """
        if isinstance(x, CSRBatch):
            weight, bias = self.decoder.weight, self.decoder.bias
            return self.rated(masked_decode(at or x, self.hidden(x), weight, bias))
        prediction = super().forward(x)
        return prediction * np.sign(x) if autograd.is_training() else prediction
