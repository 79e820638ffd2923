"""What changes as a training goes on: the learning rate, and beta, the weight of a KL divergence.

Rates are functions of the epochs so far, and beta of the number of updates, so
that a resumed run has those of an uninterrupted one.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ..support.errors import ConfigError
from .history import EpochRecord, Score, costs

SCHEDULES = ("original", "recotour", "constant")
ORIGINAL_STEPS = 200_000
ANNEALED_SHARE = 0.85  # of a run's updates: 170 of RecoTour's 200 epochs


class RateOptions(Protocol):
    """What a configuration says of the learning rate over epochs."""

    @property
    def lr(self) -> float:
        """The first rate."""

    @property
    def lr_schedule(self) -> str:
        """'constant', 'step', 'cosine' or 'plateau'."""

    @property
    def lr_step(self) -> int:
        """Epochs between two changes."""

    @property
    def lr_factor(self) -> float:
        """What a change multiplies the rate by."""

    @property
    def lr_warmup(self) -> float:
        """Share of the epochs before a cosine in which the rate grows from 0."""

    @property
    def score(self) -> Score:
        """The validation metric that 'plateau' watches."""


def learning_rate(config: RateOptions, history: Sequence[EpochRecord], epochs: int) -> float:
    """The rate of the epoch that follows `history`, of `epochs` in all.

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
        plateaus = _plateaus(history, config.lr_step, config.score)
        return config.lr * config.lr_factor**plateaus

    return config.lr


def _plateaus(history: Sequence[EpochRecord], patience: int, score: Score) -> int:
    """How many times `patience` epochs brought no better score."""
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
    """beta = min(cap, slope * update).

    Parameters
    ----------
    cap : float
        The highest beta.
    slope : float, optional
        Growth of beta with each update; without one, beta is `cap` throughout.
    """

    cap: float
    slope: float | None = None

    def __call__(self, update: int) -> float:
        """Beta of the update that comes after `update` others."""
        if self.slope is None:
            return self.cap
        return min(self.cap, self.slope * update)

    def up_to(self, cap: float) -> "Anneal":
        """The same slope up to another cap: beta is what it was until it gets there."""
        return replace(self, cap=cap)


def anneal_schedule(
    schedule: str, cap: float, anneal_steps: int = ORIGINAL_STEPS, total_updates: int = 0
) -> Anneal:
    """The schedule that `anneal` names.

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
        If a value is out of range.
    """
    if schedule not in SCHEDULES:
        raise ConfigError(f"`anneal` is {schedule!r}: choose one of {', '.join(SCHEDULES)}")
    if not 0 <= cap < float("inf"):
        raise ConfigError(f"`anneal_cap` is {cap:g}: it must be 0 or above")

    if schedule == "original":
        if anneal_steps < 1:
            raise ConfigError(f"`anneal_steps` is {anneal_steps}: it must be 1 or above")
        return Anneal(cap, 1 / anneal_steps)

    if schedule == "recotour":
        annealed = max(ANNEALED_SHARE * total_updates, 1)
        return Anneal(cap, cap / annealed)

    return Anneal(cap)


def second_pass(schedule: Anneal, history: Iterable[tuple[float, float]]) -> Anneal:
    """The schedule of the second pass: up to the best beta of the first, with its slope.

    Parameters
    ----------
    schedule : Anneal
        Of the first pass.
    history : iterable of (float, float)
        Beta and validation NDCG@100 at each evaluation of the first pass.

    Raises
    ------
    ConfigError
        If the first pass had one constant beta.
    """
    if schedule.slope is None:
        raise ConfigError(
            "`search_beta` needs a beta that grows: choose `anneal=original` or recotour"
        )
    return schedule.up_to(best_beta(history))


def best_beta(history: Iterable[tuple[float, float]]) -> float:
    """The beta with the highest NDCG@100; of equal ones the earliest."""
    return max(history, key=lambda pair: pair[1])[0]
