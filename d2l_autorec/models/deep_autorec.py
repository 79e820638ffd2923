"""AutoRec with several hidden layers, tied weights or bounded predictions."""

from collections.abc import Sequence
from typing import Any

from mxnet import autograd, np, npx
from mxnet.gluon import nn
from mxnet.initializer import Xavier

from .base import Model
from .layers import Dropout, InputDense, OutputDense, RatingActivation, activation_layer


class DeepAutoRec(nn.HybridBlock, Model):
    """AutoRec with any activations: input -> encoder -> dropout [-> inner layers] -> decoder.

    h(r) = f(W g(V r + mu) + b) (paper, equation 1), with g after every hidden layer.

    Parameters
    ----------
    num_hidden : sequence of int
        Hidden units of each layer. Inner layers begin with Glorot's values: the chapter's
        Normal(0.01) is too small to train through.
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

    Attributes
    ----------
    input_scale : float
        What the encoder's inputs are multiplied by, 1 unless it is set.

    Shape: (batch_size, num_users) -> (batch_size, num_users).

    Notes
    -----
    As in `AutoRec`, `hybridize` traces the layers, one by one.
    """

    def __init__(
        self,
        num_hidden: Sequence[int],
        num_users: int,
        dropout: float = 0.05,
        encoder_activation: str = "sigmoid",
        decoder_activation: str = "identity",
        tied: bool = False,
        scale: tuple[float, float] = (1.0, 5.0),
        **kwargs: Any,
    ) -> None:
        npx.set_np()  # every layer computes by NumPy operators
        super().__init__(**kwargs)
        first, last = num_hidden[0], num_hidden[-1]
        self.input_scale = 1.0

        with self.name_scope():
            self.encoder = InputDense(first, num_users, encoder_activation)
            self.dropout = Dropout(dropout)
            self.inner = inner_layers(num_hidden, encoder_activation)
            self.decoder = OutputDense(num_users, last, self.encoder.weight if tied else None)
            self.output: RatingActivation | None = None
            if decoder_activation != "identity":
                self.output = RatingActivation(decoder_activation, *scale)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return the reconstructions of `x`, in training those of observed entries only."""
        inputs, row_biases = self.read(x)
        hidden = self.dropout(self.encoder(inputs))
        for layer in self.inner:
            hidden = layer(hidden)

        pred = self.rated(self.decoder(hidden), row_biases)
        if autograd.is_training():
            return pred * np.sign(x)
        return pred

    def read(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        """Return the encoder's inputs, and what else `rated` is to know of the rows."""
        return x * self.input_scale, None

    def rated(self, z: np.ndarray, row_biases: Any) -> np.ndarray:
        """Return the ratings that the decoder's outputs stand for."""
        return z if self.output is None else self.output(z)


def inner_layers(sizes: Sequence[int], activation_name: str) -> nn.HybridSequential:
    """Return Dense and activation, together, for each step of `sizes`; empty for a single size."""
    layers = nn.HybridSequential()

    for wide, narrow in zip(sizes, sizes[1:]):
        layer = nn.HybridSequential()
        layer.add(nn.Dense(narrow, in_units=wide, weight_initializer=Xavier()))
        if activation_name != "identity":
            layer.add(activation_layer(activation_name))
        layers.add(layer)

    return layers
