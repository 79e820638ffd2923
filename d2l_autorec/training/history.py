"""What the epochs of a training measured, and what follows: its end, learning rates, beta.

Rates and decisions are functions of the epochs so far, and beta, the weight of a KL divergence, of
the number of updates, so that a resumed run has those of an uninterrupted one. No MXNet is loaded.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from ..support.errors import ConfigError

if TYPE_CHECKING:
    from ..models.kinds import RunConfig


class Score(NamedTuple):
    """The validation metric that decides on the best epoch."""

    metric: str
    higher_is_better: bool


RMSE, NDCG = Score("rmse", False), Score("ndcg@100", True)
CUT_OFFS = (5, 10, 20, 50, 100)  # at which a test ranking is measured, by default
SCHEDULES = ("original", "recotour", "constant")  # of beta
ORIGINAL_STEPS = 200_000
ANNEALED_SHARE = 0.85  # of a run's updates: 170 of RecoTour's 200 epochs


def label_of(metric: str) -> str:
    """Return a metric's name as people write it: RMSE, NDCG@100."""
    return metric.upper() if metric.startswith(("rmse", "mae", "ndcg")) else metric


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
    """Return evaluated epochs and their validation scores, negated where higher is better.

    A score with a 'margin', its standard error, counts with it: see `best_epoch`.
    """
    sign = -1 if score.higher_is_better else 1
    return [
        (record.epoch, sign * record.validation[score.metric] + record.validation.get("margin", 0))
        for record in history
        if record.validation
    ]


def best_epoch(history: Sequence[EpochRecord], score: Score = RMSE) -> int | None:
    """Return the first epoch with the best validation score, from 1; None without validation.

    Of a network that begins with user and item means the score is the upper end of its RMSE, one
    standard error of the difference to the means above it. The means themselves have no such
    error, so that chance among few validation ratings does not decide against them.
    """
    scores = costs(history, score)
    return min(scores, key=lambda pair: pair[1])[0] if scores else None


def should_stop(history: Sequence[EpochRecord], patience: int, score: Score = RMSE) -> bool:
    """Return whether the last `patience` epochs brought no better validation score.

    Only after an epoch that was evaluated: the others cannot bring one.
    """
    best = best_epoch(history, score)
    if best is None or not history[-1].validation:
        return False
    return len(history) - best >= patience


def learning_rate(config: "RunConfig", history: Sequence[EpochRecord], epochs: int) -> float:
    """Return the rate of the epoch that follows `history`, of `epochs` in all.

    'constant'; 'step': times `lr_factor` after every `lr_step` epochs (Gluon's
    FactorScheduler); 'cosine': from 0, in the first epoch, straight to the rate within a
    share `lr_warmup` of the epochs, then half a cosine to 0 at the last epoch (Gluon's
    CosineScheduler); 'plateau': times `lr_factor` whenever `lr_step` epochs
    brought no better validation score.
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


def _plateaus(history: Sequence[EpochRecord], patience: int, score: Score) -> int:
    """Return how many times `patience` epochs brought no better score."""
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
    """The weight of a KL divergence by update: min(cap, slope * update).

    Parameters
    ----------
    cap : float
        The highest beta.
    slope : float
        Growth of beta with each update; infinite where beta is `cap` throughout.
    """

    cap: float
    slope: float = math.inf

    def __call__(self, update: int) -> float:
        """Return the beta of the update that comes after `update` others."""
        return self.cap if self.slope == math.inf else min(self.cap, self.slope * update)


def anneal_schedule(
    schedule: str, cap: float, anneal_steps: int = ORIGINAL_STEPS, total_updates: int = 0
) -> Anneal:
    """Return the schedule that `anneal` names.

    Parameters
    ----------
    schedule : {'original', 'recotour', 'constant'}
        'original': beta would reach 1 after `anneal_steps` updates, whatever the cap
        (Liang et al.'s notebook). 'recotour': beta reaches the cap at 85 % of
        `total_updates` (RecoTour). 'constant': the cap throughout.
    cap : float
    anneal_steps : int
        For 'original'.
    total_updates : int
        For 'recotour': updates of the whole run.

    Raises
    ------
    ConfigError
        If there is no such schedule, or the cap is out of range.
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


def second_pass(schedule: Anneal, history: Iterable[tuple[float, float]]) -> Anneal:
    """Return the schedule of the second pass: up to the best beta of the first, with its slope.

    Parameters
    ----------
    schedule : Anneal
        Of the first pass.
    history : iterable of (float, float)
        Beta and validation NDCG@100 at each evaluation of the first pass; of equal ones the
        earliest counts.
    """
    beta, _ = max(history, key=lambda pair: pair[1])
    return replace(schedule, cap=beta)
