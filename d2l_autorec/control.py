"""What the history of a run decides: the learning rate, the best epoch, when to stop.

All are functions of the epochs so far, so that a resumed run decides as the
run that was never stopped.
"""

import math
from typing import Optional, Sequence

from mxnet import lr_scheduler

from .config import RunConfig
from .train import EpochRecord


def learning_rate(config: RunConfig, history: Sequence[EpochRecord]) -> float:
    """The rate of the epoch that follows `history`.

    'constant'; 'step': times `lr_factor` after every `lr_step` epochs (Gluon's
    FactorScheduler); 'cosine': half a cosine to 0 at the last epoch (Gluon's
    CosineScheduler); 'plateau': times `lr_factor` whenever `lr_step` epochs
    brought no better validation RMSE.
    """
    done = len(history)
    if config.lr_schedule == "step":
        schedule = lr_scheduler.FactorScheduler(config.lr_step, config.lr_factor,
                                                base_lr=config.lr)
        return schedule(done + 1)
    if config.lr_schedule == "cosine":
        return lr_scheduler.CosineScheduler(config.epochs, base_lr=config.lr)(done)
    if config.lr_schedule == "plateau":
        return config.lr * config.lr_factor ** _plateaus(history, config.lr_step)
    return config.lr


def _plateaus(history: Sequence[EpochRecord], patience: int) -> int:
    best, since, count = math.inf, 0, 0
    for record in history:
        score = record.validation["rmse"]
        best, since = (score, 0) if score < best else (best, since + 1)
        if since == patience:
            count, since = count + 1, 0
    return count


def best_epoch(history: Sequence[EpochRecord]) -> Optional[int]:
    """The first epoch with the lowest validation RMSE, from 1; None without validation."""
    scores = [record.validation.get("rmse") for record in history]
    if not scores or None in scores:
        return None
    return 1 + min(range(len(scores)), key=scores.__getitem__)


def should_stop(history: Sequence[EpochRecord], patience: int) -> bool:
    """Whether the last `patience` epochs brought no better validation RMSE."""
    best = best_epoch(history)
    return best is not None and len(history) - best >= patience
