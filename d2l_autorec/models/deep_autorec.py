"""AutoRec with several hidden layers, tied weights or bounded predictions."""

from collections.abc import Sequence
from typing import Any

from mxnet import autograd, np, npx
from mxnet.gluon import nn
from mxnet.initializer import Xavier

from .base import Model
from .layers import Dropout, InputDense, OutputDense, RatingActivation, activation_layer


class DeepAutoRec(nn.HybridBlock, Model):
    """An AutoRec of any depth and activation: input -> encoder -> dropout [-> layers] -> decoder.

    h(r) = f(W g(V r + mu) + b) (paper, equation 1), with g after every hidden layer.

    Parameters
    ----------
    num_hidden : sequence of int
        Hidden units of each layer. Inner layers begin with Glorot's values: through several
        layers of the chapter's Normal(0.01), nothing is learned.
    num_users : int
        Length of a rating vector: users, or items for a user-based model.
    dropout : float
        Share of the first layer's hidden units that training drops.
    encoder_activation : str
        The activation g of every hidden layer; see `activation_layer`.
    decoder_activation : str
        The activation f of the predictions; see `RatingActivation`.
    tied : bool
        Whether the decoder has the encoder's weights: W = V' in the paper's notation.
    scale : (float, float)
        Lowest and highest rating, in the network's units, for a bounded f.

    Attributes
    ----------
    input_scale : float
        Factor of the encoder's inputs, 1 unless it is set.

    Shape: (batch_size, num_users) -> (batch_size, num_users).

    Notes
    -----
    As in `AutoRec`, `hybridize` traces the layers, one by one.

    Source: Sedhain et al., AutoRec: Autoencoders Meet Collaborative Filtering, WWW 2015.
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
    ) -> None:
        npx.set_np()  # every layer computes by NumPy operators
        super().__init__()
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
        """Return the reconstructions of `x`; in training, 0 at entries that are not observed."""
        inputs, row_biases = self.read(x)
        hidden = self.dropout(self.encoder(inputs))
        for layer in self.inner:
            hidden = layer(hidden)

        pred = self.rated(self.decoder(hidden), row_biases)
        return pred * np.sign(x) if autograd.is_training() else pred

    def read(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        """Return the encoder's inputs, and what `rated` needs to know of the rows: here, None."""
        return x * self.input_scale, None

    def rated(self, z: np.ndarray, row_biases: Any) -> np.ndarray:
        """Return the ratings that the decoder's outputs stand for."""
        return z if self.output is None else self.output(z)


def inner_layers(sizes: Sequence[int], activation_name: str) -> nn.HybridSequential:
    """Return a Dense layer with its activation for each pair of neighbouring `sizes`."""
    layers = nn.HybridSequential()

    for wide, narrow in zip(sizes, sizes[1:]):
        layer = nn.HybridSequential()
        layer.add(nn.Dense(narrow, in_units=wide, weight_initializer=Xavier()))
        if activation_name != "identity":
            layer.add(activation_layer(activation_name))
        layers.add(layer)

    return layers
