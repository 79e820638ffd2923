"""What a trained model answers by, in NumPy; imports no MXNet."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse

from ..data.ratings import Ratings
from ..models.rating_scale import ScaledActivation
from ..models.vectors import Linear, Vectors
from ..runs.config import RunConfig

RowScorer = Callable[[sparse.csr_matrix], np.ndarray]


@dataclass(frozen=True, eq=False)
class Parts:
    """A trained model without its network.

    It has a table of users, or scores rows of users: by `score_rows`, or as a `linear` function.

    Parameters
    ----------
    items : Vectors or None
        Of the items; none where the model is `linear`.
    users : Vectors or None
        Of the users; none where the model reads a user's row.
    output : ScaledActivation or None
        Of the predictions.
    linear : Linear or None
    score_rows : callable or None
        A csr_matrix of users' rows, shape (rows, items), to outputs of that shape, float32.
    """

    items: Vectors | None = None
    users: Vectors | None = None
    output: ScaledActivation | None = None
    linear: Linear | None = None
    score_rows: RowScorer | None = None


class Answering(Hashable, Protocol):
    """A model that answers: with its network, `TrainedModel`, or without, `ServedModel`."""

    @property
    def config(self) -> RunConfig:
        """Which model it is, and what it was trained with."""

    @property
    def ratings(self) -> Ratings:
        """What each user is known to have rated or clicked."""

    @property
    def inputs(self) -> Ratings:
        """The part of it that the model is given."""

    def parts(self) -> Parts:
        """What it answers by."""
