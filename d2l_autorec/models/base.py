"""What a run asks of a network, beside its predictions."""

from typing import Any

import mxnet as mx
import numpy as onp

from ..kernels.dropout import mxnet_seed_of
from .layers import RatingActivation
from .vectors import Linear, Vectors


class Model:
    """A network as a run sees it; here are the answers of most.

    A model has beside these what its kind is asked for: `fit` if it `is_closed_form`, `tables` if
    it `reads_pairs`, `linear` scores, or `row_vectors` and `column_vectors`.

    Attributes
    ----------
    reads_pairs : bool
        Whether its input is pairs of user and item, and not rows of the interaction matrix.
    is_closed_form : bool
        Whether `fit` computes it at once, and nothing is trained.
    reads_sparse : bool
        Whether the sparse kernels compute it.
    has_parameters : bool
        Whether MXNet keeps its parameters; else it is fitted anew from a run's data.
    output : RatingActivation or None
        The activation of its predictions.
    centering : Centering or None
        What its layers' inputs and predictions are taken from and added to: row and column means.
    """

    reads_pairs = False
    is_closed_form = False
    reads_sparse = False
    has_parameters = True
    output: RatingActivation | None = None
    centering: Any = None

    def seed_step(self, key: onp.uint64, first_row: int) -> None:
        """Make what the next step draws depend on these two alone.

        Parameters
        ----------
        key : uint64
            Of the step: see `dropout_key`.
        first_row : int
            Position in the whole batch of the first row that this process trains on.
        """
        mx.random.seed(mxnet_seed_of(key, first_row))

    def one_hidden(self) -> Any:
        """Return the network as the fused step trains it; None of one that it does not cover."""
        return None

    def linear(self) -> Linear | None:
        """Scores as a linear function of rows; None of a network."""
        return None


def vectors_of(layer: Any) -> Vectors:
    """The weight, shape (units, inputs), and bias of a last layer."""
    return Vectors(layer.weight.data().asnumpy(), layer.bias.data().asnumpy())
