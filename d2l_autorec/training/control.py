"""What the history of a run decides: the learning rate, the best epoch, when to stop.

All are functions of the epochs so far, so that a resumed run decides as the
run that was never stopped.
"""

import math
from collections.abc import Sequence
from typing import Protocol

from mxnet import lr_scheduler

from .history import RMSE, EpochRecord, Score


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
        step = lr_scheduler.FactorScheduler(config.lr_step, config.lr_factor, base_lr=config.lr)
        return step(done + 1)

    if config.lr_schedule == "cosine":
        cosine = lr_scheduler.CosineScheduler(config.epochs, base_lr=config.lr)
        return cosine(done)

    if config.lr_schedule == "plateau":
        plateaus = _plateaus(history, config.lr_step, config.score)
        return config.lr * config.lr_factor**plateaus

    return config.lr


def _plateaus(history: Sequence[EpochRecord], patience: int, score: Score) -> int:
    """How many times `patience` epochs brought no better score."""
    best = math.inf
    last = 0  # epoch of the best score, or of the last plateau's end
    count = 0

    for epoch, cost in _costs(history, score):
        if cost < best:
            best = cost
            last = epoch
        elif epoch - last >= patience:
            count += 1
            last = epoch

    return count


def _costs(history: Sequence[EpochRecord], score: Score) -> list[tuple[int, float]]:
    """Epochs and validation scores, the lower the better; of evaluated epochs only."""
    evaluated = [record for record in history if record.validation]
    scores = [(record.epoch, record.validation[score.metric]) for record in evaluated]

    if score.higher_is_better:
        return [(epoch, -value) for epoch, value in scores]
    return scores


def best_epoch(history: Sequence[EpochRecord], score: Score = RMSE) -> int | None:
    """The first epoch with the best validation score, from 1; None without validation."""
    costs = _costs(history, score)
    if not costs:
        return None

    epoch, _ = min(costs, key=lambda pair: pair[1])
    return epoch


def should_stop(history: Sequence[EpochRecord], patience: int, score: Score = RMSE) -> bool:
    """Whether the last `patience` epochs brought no better validation score.

    Only after an epoch that was evaluated: the others cannot bring one.
    """
    best = best_epoch(history, score)
    if best is None or not history[-1].validation:
        return False
    return len(history) - best >= patience
