"""What the epochs of a training measured."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple


class Score(NamedTuple):
    """The validation metric that decides on the best epoch."""

    metric: str
    higher_is_better: bool


RMSE, NDCG = Score("rmse", False), Score("ndcg@100", True)


class StepSums(NamedTuple):
    """Sums over the rows of a step, or of several.

    Parameters
    ----------
    loss : float
        Of the rows' losses.
    squared_error : float
        Over observed ratings; 0 where the loss compares no ratings.
    ratings : float
        Number of observed ratings.
    """

    loss: float
    squared_error: float
    ratings: float

    @property
    def rmse(self) -> float:
        """Root of the mean squared error; 0 without a rating."""
        return math.sqrt(self.squared_error / max(self.ratings, 1))


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch measured.

    Parameters
    ----------
    epoch : int
        From 1.
    train_loss : float or None
        Mean of the loss over the rows of the epoch; None without training.
    train_rmse : float or None
        Over the observed ratings of the epoch, while training (dropout on).
    ratings : int
        Observed ratings that were trained on.
    seconds : float
        Training alone, without evaluation.
    test, validation : dict
        Metric name to value, after the epoch; `validation` may be empty.
    lr : float
        The learning rate of the epoch.
    beta : float or None
        The weight of a KL divergence after the epoch, where there is one.
    """

    epoch: int
    train_loss: float | None
    train_rmse: float | None
    ratings: int
    seconds: float
    test: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    lr: float = 0.0
    beta: float | None = None
