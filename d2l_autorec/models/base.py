"""What a run asks of a network, beside its predictions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import mxnet as mx
import numpy as onp
from mxnet.gluon import Parameter
from scipy import sparse

from ..kernels.csr import CSRBatch
from ..kernels.dropout import mxnet_seed_of
from ..kernels.fused_step import Layers
from .layers import Affine, Dropout, RatingActivation
from .vectors import Linear, Vectors


class OneHiddenLayer(NamedTuple):
    """A network of one hidden layer, without activation of its predictions.

    Parameters
    ----------
    parameters : Layers of Parameter
    activation : str
        Of the hidden units.
    dropout : Dropout
        Between them and the decoder.
    read : callable
        A sparse batch to what the encoder reads of it, and the decoder is to predict.
    """

    parameters: Layers
    activation: str
    dropout: Dropout
    read: Callable[[CSRBatch], "Reading"]


class Reading(NamedTuple):
    """A sparse batch as a network reads it.

    Parameters
    ----------
    inputs : CSRBatch, (B, C)
        What the encoder reads.
    targets : ndarray of float32, shape (n,)
        What the decoder is to predict at the entries.
    unit : float
        What 1 stands for in the targets, in the ratings' unit.
    row_biases : ndarray of float32, shape (B,)
        What is added to a row's predictions.
    """

    inputs: CSRBatch
    targets: onp.ndarray
    unit: float
    row_biases: onp.ndarray


class Model:
    """A network as a run sees it. Here is what an autoencoder of rows answers by default.

    A new model is one file with a subclass, and one configuration.

    Attributes
    ----------
    reads_pairs : bool
        Whether its input is pairs of user and item, and not rows of the interaction matrix.
    is_closed_form : bool
        Whether `fit` computes it at once, and nothing is trained.
    has_parameters : bool
        Whether MXNet keeps its parameters; else it is fitted anew from a run's data.
    output : RatingActivation or None
        The activation of its predictions.
    centering : Centering or None
        What its layers' inputs and predictions are taken from and added to: row and column means.
    """

    reads_pairs = False
    is_closed_form = False
    has_parameters = True
    output: RatingActivation | None = None
    centering: Any = None

    def __call__(self, *inputs: Any) -> Any:
        """Predictions of a batch."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it predicts")

    def seed_step(self, key: onp.uint64, first_row: int) -> None:
        """Let what the next step draws depend on these two alone.

        Parameters
        ----------
        key : uint64
            Of the step: see `dropout_key`.
        first_row : int
            Position in the whole batch of the first row that this process trains on.
        """
        mx.random.seed(mxnet_seed_of(key, first_row))

    def fit(self, train: sparse.csr_matrix) -> Any:
        """Compute a model in closed form from an interaction matrix, users x items."""
        raise NotImplementedError(f"{type(self).__name__} is trained, not computed at once")

    def sparse_weights(self) -> list[Parameter]:
        """The weights that the sparse kernels read and write; none where they do not cover it."""
        return []

    def one_hidden(self) -> OneHiddenLayer | None:
        """The network as the fused step trains it; None where it is another."""
        return None

    def affine_layers(self) -> list[Affine]:
        """Every layer but `output`, for export; none where it is no chain of such layers."""
        return []

    def column_vectors(self) -> Vectors | None:
        """Of the columns of its rows, which its last layer has; None without such a layer."""
        return None

    def linear(self) -> Linear | None:
        """Scores as a linear function of rows; None of a network."""
        return None

    def hidden(self, x: Any) -> Any:
        """What the last layer reads of a batch of rows, shape (batch_size, H)."""
        raise NotImplementedError(f"{type(self).__name__} has no hidden units")

    def row_vectors(self, rows: CSRBatch) -> Vectors:
        """Of rows, made of what they hold; see `column_vectors`."""
        no_biases = onp.zeros(len(rows), dtype=onp.float32)
        return Vectors(self.hidden(rows).asnumpy(), no_biases)

    def tables(self) -> tuple[Vectors, Vectors]:
        """Of users and of items, where it reads pairs of them."""
        raise NotImplementedError(f"{type(self).__name__} has no table of users and items")


def vectors_of(layer: Any) -> Vectors:
    """The weight, shape (units, inputs), and bias of a last layer."""
    return Vectors(layer.weight.data().asnumpy(), layer.bias.data().asnumpy())
