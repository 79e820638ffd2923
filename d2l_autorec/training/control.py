"""What the history of a run decides: the learning rate, the best epoch, when to stop.

All are functions of the epochs so far, so that a resumed run decides as the
run that was never stopped.
"""

import math
from collections.abc import Sequence
from typing import Protocol

from mxnet import lr_scheduler

from ..training.history import RMSE, Score
from .history import EpochRecord


class RateOptions(Protocol):
    """What a configuration says of the learning rate over epochs."""

    lr: float
    lr_schedule: str
    lr_step: int
    lr_factor: float
    epochs: int

    @property
    def score(self) -> Score:
        """The validation metric that 'plateau' watches."""


def learning_rate(config: RateOptions, history: Sequence[EpochRecord]) -> float:
    """The rate of the epoch that follows `history`.

    'constant'; 'step': times `lr_factor` after every `lr_step` epochs (Gluon's
    FactorScheduler); 'cosine': half a cosine to 0 at the last epoch (Gluon's
    CosineScheduler); 'plateau': times `lr_factor` whenever `lr_step` epochs
    brought no better validation score.
    """
    done = len(history)
    if config.lr_schedule == "step":
        schedule = lr_scheduler.FactorScheduler(config.lr_step, config.lr_factor, base_lr=config.lr)
        return schedule(done + 1)
    if config.lr_schedule == "cosine":
        return lr_scheduler.CosineScheduler(config.epochs, base_lr=config.lr)(done)
    if config.lr_schedule == "plateau":
        return config.lr * config.lr_factor ** _plateaus(history, config.lr_step, config.score)
    return config.lr


def _plateaus(history: Sequence[EpochRecord], patience: int, score: Score) -> int:
    best, last, count = math.inf, 0, 0
    for epoch, cost in _costs(history, score):
        if cost < best:
            best, last = cost, epoch
        elif epoch - last >= patience:
            count, last = count + 1, epoch
    return count


def _costs(history: Sequence[EpochRecord], score: Score) -> list[tuple[int, float]]:
    """Epochs and validation scores, the lower the better; of evaluated epochs only."""
    sign = -1 if score.higher_is_better else 1
    return [
        (record.epoch, sign * record.validation[score.metric])
        for record in history
        if record.validation
    ]


def best_epoch(history: Sequence[EpochRecord], score: Score = RMSE) -> int | None:
    """The first epoch with the best validation score, from 1; None without validation."""
    costs = _costs(history, score)
    return min(costs, key=lambda pair: pair[1])[0] if costs else None


def should_stop(history: Sequence[EpochRecord], patience: int, score: Score = RMSE) -> bool:
    """Whether the last `patience` epochs brought no better validation score.

    Only after an epoch that was evaluated: the others cannot bring one.
    """
    best = best_epoch(history, score)
    return best is not None and bool(history[-1].validation) and len(history) - best >= patience
