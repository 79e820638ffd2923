"""The records of epochs, and what is decided by them: early stopping, learning rates and beta.

Rates and decisions depend only on the epochs so far, and beta, the weight of a KL divergence, on
the number of updates, so that they are the same in a resumed run. Importing this loads no MXNet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from ..support.errors import ConfigError


class Score(NamedTuple):
    """The validation metric that decides on the best epoch."""

    metric: str
    higher_is_better: bool


RMSE, NDCG = Score("rmse", False), Score("ndcg@100", True)
CUT_OFFS = (5, 10, 20, 50, 100)  # ranks at which a test ranking is measured by default
SCHEDULES = ("original", "recotour", "constant")  # values of `anneal`
ORIGINAL_STEPS = 200_000
ANNEALED_SHARE = 0.85  # share of a run's updates, as 170 of RecoTour's 200 epochs


def label_of(metric: str) -> str:
    """Return a metric's name as people write it, such as RMSE or NDCG@100."""
    return metric.upper() if metric.startswith(("rmse", "mae", "ndcg")) else metric


class StepSums(NamedTuple):
    """Sums over the rows of a step, or of several steps.

    Parameters
    ----------
    loss : float
        Sum of the rows' losses.
    squared_error : float
        Sum over observed ratings; 0 if the loss does not compare ratings.
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
    """The record of one epoch.

    Parameters
    ----------
    epoch : int
        Number of the epoch, from 1.
    train_loss : float or None
        Mean of the loss over the rows of the epoch; None without training.
    train_rmse : float or None
        RMSE over the observed ratings of the epoch, with dropout as in training; None if the loss
        does not compare ratings.
    ratings : int
        Number of observed ratings that were trained on.
    seconds : float
        Time of the training alone, without evaluation.
    test, validation : dict
        Metric name to value, after the epoch; `validation` may be empty.
    lr : float
        The learning rate of the epoch.
    beta : float or None
        The weight of a KL divergence after the epoch, if there is one.
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


History: TypeAlias = Sequence[EpochRecord]


def costs(history: History, score: Score) -> list[tuple[int, float]]:
    """Return the evaluated epochs with their costs: validation scores, negated if higher is better.

    A 'margin' in the metrics, a standard error, is added to the score: see `best_epoch`.
    """
    sign = -1 if score.higher_is_better else 1
    return [
        (record.epoch, sign * record.validation[score.metric] + record.validation.get("margin", 0))
        for record in history
        if record.validation
    ]


def best_epoch(history: History, score: Score = RMSE) -> int | None:
    """Return the first epoch with the best validation score, from 1; None without validation.

    For a network that begins with user and item means, the standard error of its difference to the
    means is added to the RMSE. The means themselves have no such error, so that chance among few
    validation ratings does not decide against them.
    """
    scores = costs(history, score)
    return min(scores, key=lambda pair: pair[1])[0] if scores else None


def should_stop(history: History, patience: float, score: Score = RMSE) -> bool:
    """Return whether the last `patience` epochs brought no better validation score.

    It is False after an epoch that was not evaluated.
    """
    best = best_epoch(history, score)
    if best is None or not history[-1].validation:
        return False
    return len(history) - best >= patience


def learning_rate(config: Any, history: History, epochs: int) -> float:
    """Return the learning rate of the epoch that follows `history`, of `epochs` in all.

    By `config.lr_schedule` the rate is constant ('constant'); it is multiplied by `lr_factor`
    after every `lr_step` epochs ('step', Gluon's FactorScheduler), or whenever `lr_step` epochs
    brought no better validation score ('plateau'); or it grows straight from 0 in the first epoch
    to its full value within a share `lr_warmup` of the epochs, and then follows half a cosine to
    0 ('cosine', Gluon's CosineScheduler).
    """
    from mxnet import lr_scheduler  # here, as configurations name the schedules without MXNet

    done = len(history)
    if config.lr_schedule == "step":
        step = lr_scheduler.FactorScheduler(config.lr_step, config.lr_factor, base_lr=config.lr)
        return step(done + 1)

    if config.lr_schedule == "cosine":
        warmup = math.ceil(config.lr_warmup * epochs)
        cosine = lr_scheduler.CosineScheduler(
            epochs, base_lr=config.lr, warmup_steps=warmup, warmup_begin_lr=0
        )
        return cosine(done)

    if config.lr_schedule == "plateau":
        return config.lr * config.lr_factor ** _plateaus(history, config.lr_step, config.score)
    return config.lr


def _plateaus(history: History, patience: int, score: Score) -> int:
    """Return how many times `patience` epochs in a row brought no better score."""
    best = math.inf
    last = 0  # epoch of the best score, or of the last plateau's end
    count = 0

    for epoch, cost in costs(history, score):
        if cost < best:
            best = cost
            last = epoch
        elif epoch - last >= patience:
            count += 1
            last = epoch

    return count


@dataclass(frozen=True)
class Anneal:
    """A schedule of beta, the weight of a KL divergence: min(cap, slope * update).

    Parameters
    ----------
    cap : float
        The highest beta.
    slope : float
        Growth of beta with each update; infinite if beta is always `cap`.
    """

    cap: float
    slope: float = math.inf

    def __call__(self, update: int) -> float:
        """Return beta for the update that comes after `update` others."""
        return self.cap if self.slope == math.inf else min(self.cap, self.slope * update)


def anneal_schedule(
    schedule: str, cap: float, anneal_steps: int = ORIGINAL_STEPS, total_updates: int = 0
) -> Anneal:
    """Return a schedule of beta, the weight of the KL divergence in Mult-VAE's loss.

    Parameters
    ----------
    schedule : {'original', 'recotour', 'constant'}
        How beta grows. 'original': it would reach 1 after `anneal_steps` updates, whatever the
        cap. 'recotour': it reaches the cap at 85 % of `total_updates`. 'constant': it is always
        the cap.
    cap : float
        The highest beta, at least 0.
    anneal_steps : int
        Number of updates for 'original'.
    total_updates : int
        Number of updates of the whole run, for 'recotour'.

    Returns
    -------
    callable
        (number of updates before this one) to beta.

    Raises
    ------
    ConfigError
        If there is no such schedule, or the cap is out of range.

    Notes
    -----
    Sources: Liang et al., Variational Autoencoders for Collaborative Filtering, WWW 2018, with
    the notebook that the authors published; for 'recotour', J. R. Zaurin's RecoTour on GitHub.
    """
    if schedule not in SCHEDULES:
        raise ConfigError(f"`anneal` is {schedule!r}: choose one of {', '.join(SCHEDULES)}")
    if not 0 <= cap < math.inf:
        raise ConfigError(f"`anneal_cap` is {cap:g}: it must be 0 or above")

    if schedule == "original":
        return Anneal(cap, 1 / anneal_steps)
    if schedule == "recotour":
        return Anneal(cap, cap / max(ANNEALED_SHARE * total_updates, 1))
    return Anneal(cap)
