"""What the epochs of a training measured, and what that decides.

Decisions are functions of the epochs so far, so that a resumed run decides as
an uninterrupted one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Score(NamedTuple):
    """The validation metric that decides on the best epoch."""

    metric: str
    higher_is_better: bool


RMSE, NDCG = Score("rmse", False), Score("ndcg@100", True)
CUT_OFFS = (5, 10, 20, 50, 100)  # at which a test ranking is measured, by default


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


def costs(history: Sequence[EpochRecord], score: Score) -> list[tuple[int, float]]:
    """Epochs and validation scores, the lower the better; of evaluated epochs only."""
    evaluated = [record for record in history if record.validation]
    scores = [(record.epoch, record.validation[score.metric]) for record in evaluated]

    if score.higher_is_better:
        return [(epoch, -value) for epoch, value in scores]
    return scores


def best_epoch(history: Sequence[EpochRecord], score: Score = RMSE) -> int | None:
    """The first epoch with the best validation score, from 1; None without validation."""
    scores = costs(history, score)
    if not scores:
        return None

    epoch, _ = min(scores, key=lambda pair: pair[1])
    return epoch


def should_stop(history: Sequence[EpochRecord], patience: int, score: Score = RMSE) -> bool:
    """Whether the last `patience` epochs brought no better validation score.

    Only after an epoch that was evaluated: the others cannot bring one.
    """
    best = best_epoch(history, score)
    if best is None or not history[-1].validation:
        return False
    return len(history) - best >= patience
