"""What a run asks of its data: one answer for ratings, one for clicks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import mxnet as mx
from mxnet import gluon
from scipy import sparse

from ..data.clicks import Clicks
from ..data.ratings import Ratings
from ..evaluation.ranking import RankingEvaluation
from ..evaluation.rating import RatingEvaluation
from ..models.base import Model
from ..support.numbers import significant
from ..training.history import EpochRecord
from ..training.loaders import BATCHES
from .config import RunConfig

Batchify: TypeAlias = Callable[[Any], Any]  # a matrix, or pairs, to what makes batches of its rows
Evaluations: TypeAlias = Mapping[str, RatingEvaluation | RankingEvaluation]
Block: TypeAlias = list[tuple[str, str]]  # lines that end a run: a label, and what it is of
EXPLODED = 1000.0

Data = TypeVar("Data", Ratings, Clicks)


def against_baseline(result: dict[str, Any], metric: str) -> str:
    """How a test metric compares, as in ', 4.6 % below popularity (0.2551)'; '' without one."""
    if "baseline" not in result:
        return ""

    value = result[f"test_{metric}"]
    other = result[f"baseline_test_{metric}"]
    name = f"{result['baseline']} ({other:.4f})"
    if other == 0 or value == other:
        return f", beside {name}"

    side = "below"
    if value > other:
        side = "above"
    share = 100 * abs(value - other) / other
    return f", {significant(share, 2)} % {side} {name}"


class Task(ABC, Generic[Data]):
    """Data, network, loss and metrics of a configuration.

    Parameters
    ----------
    config : RunConfig
    devices : sequence of Context

    Attributes
    ----------
    train : Ratings or Clicks
        What is trained on.
    batches : mapping
        Kernel to what makes batches of a matrix; for 'dense' perhaps what is on the devices.
    predicts_ratings : bool
        Whether there is a train RMSE.
    counted : str
        What the data are, in the plural.
    """

    train: Data
    predicts_ratings = True
    counted = "ratings"

    def __init__(self, config: RunConfig, devices: Sequence[mx.Context]) -> None:
        self.devices = devices
        self._epochs = config.epochs
        self.batches: Mapping[str, Batchify] = BATCHES

    @abstractmethod
    def about_data(self) -> dict[str, Any]:
        """What config.json says of the data."""

    @abstractmethod
    def dense_bytes(self) -> int:
        """Memory of all rows that are used, dense; 0 where none are."""

    @abstractmethod
    def num_ratings(self) -> int:
        """Of training and evaluation: what matrices are made of."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the data that are known when training is over."""

    @abstractmethod
    def served(self) -> tuple[Ratings, Ratings]:
        """The known interactions, and those of them that the trained network is given."""

    @abstractmethod
    def matrix(self, phase: str) -> sparse.csr_matrix:
        """The interaction matrix, users x items, that a model in closed form is fitted to."""

    @abstractmethod
    def network(self, phase: str) -> Model:
        """The uninitialised network of a phase."""

    @abstractmethod
    def weight_decay(self, phase: str) -> float:
        """What the optimizer of a phase is given."""

    def trained(self, phase: str, net: Any, kernel: str) -> tuple[Any, gluon.data.DataLoader]:
        """What a phase trains of a network, and on what."""
        return net, self.loader(phase, kernel)

    def epochs_of(self, phase: str) -> int:
        """How many a phase has at most."""
        return self.epochs

    @property
    def epochs(self) -> int:
        """How many the search has at most."""
        return self._epochs

    @abstractmethod
    def initializer(self) -> mx.init.Initializer:
        """For parameters that have none of their own."""

    @abstractmethod
    def loss(self, phase: str, trainer: Any, search: Sequence[EpochRecord]) -> Callable:
        """(prediction, label) to one loss a row; `search` is the history of an earlier phase."""

    @abstractmethod
    def largest_error(self, phase: str) -> float:
        """Return the error of a rating, or loss of a click, from which a training has diverged.

        It is `EXPLODED` times that of a network that knows nothing: 0 in place of the highest
        rating; one of so many items. What predicts worse says nothing of the data.
        """

    def beta(self, loss: Any) -> Callable[[], float] | None:
        """The weight of a KL divergence in a loss that `loss` made, where there is one."""
        return None

    @abstractmethod
    def loader(self, phase: str, kernel: str) -> gluon.data.DataLoader:
        """Batches of a phase, shuffled."""

    @abstractmethod
    def batch_shape(self, kernel: str) -> tuple[int, int]:
        """Rows of a step, and how many numbers are computed for each."""

    @abstractmethod
    def evaluations(self, phase: str, kernel: str) -> Evaluations:
        """'test', and perhaps 'validation', to what measures a network of a phase."""

    @abstractmethod
    def baseline(self, test: Any) -> dict[str, Any]:
        """What result.json says of the model that every other has to beat; `test` evaluates."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What result.json says beside the metrics."""

    @staticmethod
    @abstractmethod
    def summary(result: dict[str, Any]) -> Block:
        """What ends a run: the data and how well they are predicted."""

    @staticmethod
    def table(result: dict[str, Any]) -> str:
        """More of the test metrics, above these lines; '' where there are none."""
        return ""

    @staticmethod
    @abstractmethod
    def shortfall(result: dict[str, Any]) -> list[str]:
        """That the model is no better than the baseline, where that is so."""

    @classmethod
    @abstractmethod
    def remarks(cls, result: dict[str, Any]) -> list[str]:
        """What else a person should know of the result."""
