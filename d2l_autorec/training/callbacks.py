"""Callbacks, which `loop.fit` calls before and after the steps and epochs of a training.

How to write your own, as for TensorBoard or MLflow: `python -m pydoc d2l_autorec.Callback`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as onp

from ..kernels.dropout import dropout_key
from ..models.sparse_autorec import row_model
from ..support.errors import NumericalError
from ..support.terminal import SignalWatch
from .checkpoint import Arrays, are_finite, lent_parameters, live_parameters
from .history import EpochRecord, Score, should_stop
from .loop import Callback, Training

DECAY = 7  # an epoch's weight in an average grows with the seventh power of its number


class StepSeed(Callback):
    """A callback that seeds the random numbers of each step, by (seed, epoch, step, row).

    A step then depends only on parameters and optimizer, not on the random numbers before it, so
    that a training can be resumed between any two steps.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_epoch_begin(self, training: Training) -> None:
        """Tell the network which epoch begins."""
        row_model(training.net).begin_epoch(len(training.history) + 1)

    def on_step_begin(self, training: Training, rows: int) -> None:
        """Seed the network's random numbers, as those of dropout."""
        epoch = len(training.history) + 1
        key = dropout_key(self._seed, epoch, len(training.steps))

        row_model(training.net).seed_step(key, training.workers.first_row(rows))


class LearningRate(Callback):
    """A callback that sets the learning rate of each epoch, by the epochs before it."""

    def __init__(self, rate: Callable[[Sequence[EpochRecord]], float]) -> None:
        self._rate = rate

    def on_epoch_begin(self, training: Training) -> None:
        """Set the learning rate of the epoch."""
        training.trainer.set_learning_rate(self._rate(training.history))


class Averaging(Callback):
    """A callback that averages parameters over about the last eighth of the epochs.

    While the learning rate is high, the averages are less noisy than the last parameters.

    Parameters
    ----------
    averages : dict
        Name of a parameter to its average so far, which is updated in place; empty at first.

    References
    ----------
    Shamir and Zhang, Stochastic Gradient Descent for Non-smooth Optimization, ICML 2013,
    polynomial-decay averaging.
    """

    def __init__(self, averages: Arrays) -> None:
        self._averages = averages

    def on_epoch_end(self, training: Training) -> None:
        """Add the epoch's parameters to the averages."""
        weight = onp.float32((DECAY + 1) / (len(training.history) + DECAY))
        for name, value in live_parameters(training.net).items():
            average = self._averages.get(name, value)
            change = value - average
            change *= weight
            change += average
            self._averages[name] = change


@dataclass(eq=False)
class Evaluation(Callback):
    """A callback that adds metrics to the records of epochs.

    Worker 0 measures and tells the others, so that all decide alike.

    Parameters
    ----------
    metrics : callable
        (network) to a dict of 'test', and perhaps 'validation', to a dict of metrics by name.
    every : int
        Number of epochs from one evaluation to the next.
    last : int
        The epoch from which on each is evaluated.
    beta : callable, optional
        Returns the weight of a KL divergence after the epoch, if there is one.
    averages : dict
        Parameters that are measured in place of the network's own, unless it is empty.
    """

    metrics: Callable[[Any], dict[str, dict[str, float]]]
    every: int = 1
    last: int = 0
    beta: Callable[[], float] | None = None
    averages: Arrays = field(default_factory=dict)

    def on_epoch_end(self, training: Training) -> None:
        """Measure the network if this epoch is evaluated, and add the metrics to its record."""
        record = training.history[-1]
        if self.beta is not None:
            record = replace(record, beta=self.beta())

        if record.epoch % self.every == 0 or record.epoch >= self.last:
            with lent_parameters(training.net, self.averages):
                found = {} if training.workers.rank else self.metrics(training.net)
            record = replace(record, **training.workers.agree(found))

        training.history[-1] = record


class FiniteMetrics(Callback):
    """A callback that ends a training whose parameters or metrics have diverged."""

    def on_epoch_end(self, training: Training) -> None:
        """Raise NumericalError if parameters or metrics are not finite, or an RMSE is too large."""
        record = training.history[-1]
        if not are_finite(training.net):  # clipped predictions may be finite all the same
            raise NumericalError(
                f"the parameters are not finite after epoch {record.epoch}: try `lr` ten times "
                "lower"
            )

        for part in ("validation", "test"):
            for name, value in getattr(record, part).items():
                exploded = name == "rmse" and value > training.limit
                if exploded or not math.isfinite(value):
                    raise NumericalError(
                        f"the {part} {name.upper()} is {value:.3g} after epoch "
                        f"{record.epoch}: try `lr` ten times lower"
                    )


class EarlyStopping(Callback):
    """A callback that ends a training once `patience` epochs have brought no better score."""

    def __init__(self, patience: float, score: Score) -> None:
        self._patience = patience
        self._score = score

    def on_epoch_end(self, training: Training) -> None:
        """Tell the training to stop if the last epochs were no better."""
        if should_stop(training.history, self._patience, self._score):
            training.stopping = True


class Signals(Callback):
    """A callback that ends a training between two steps if a signal asks for it.

    Parameters
    ----------
    watch : SignalWatch
        The watch that notes signals.
    keep : callable
        (training) to None; it is called before the end, to write a checkpoint.
    """

    def __init__(self, watch: SignalWatch, keep: Callable[[Training], None]) -> None:
        self._watch = watch
        self._keep = keep

    def on_step_end(self, training: Training) -> None:
        """Keep what was reached and raise Interrupted if a signal has come."""
        if self._watch.received is not None:
            self._keep(training)
        self._watch.check()
