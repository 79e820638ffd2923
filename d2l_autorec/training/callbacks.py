"""What happens around the steps and epochs of a training; see `loop.fit`."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..kernels.dropout import dropout_key
from ..models.sparse_autorec import row_model
from ..support.errors import NumericalError
from ..support.terminal import SignalWatch
from .checkpoint import are_finite
from .history import EpochRecord, Score, should_stop

if TYPE_CHECKING:
    from .loop import Training


class Callback:
    """Base class of what is told of a training's progress; each call may raise, and so end it.

    Examples
    --------
    Losses and metrics of every epoch for TensorBoard (`pip install tensorboardX`):

    >>> from tensorboardX import SummaryWriter
    >>> class TensorBoard(Callback):
    ...     def __init__(self, writer):
    ...         self.writer = writer
    ...
    ...     def on_epoch_end(self, training):
    ...         record = training.history[-1]
    ...         self.writer.add_scalar("train/loss", record.train_loss, record.epoch)
    ...         for part in ("validation", "test"):
    ...             for name, value in getattr(record, part).items():
    ...                 self.writer.add_scalar(f"{part}/{name}", value, record.epoch)

    The same for MLflow (`pip install mlflow-skinny`), which takes no `@` in a name:

    >>> import mlflow
    >>> class MLflow(Callback):
    ...     def on_epoch_end(self, training):
    ...         record = training.history[-1]
    ...         metrics = {"train_loss": record.train_loss}
    ...         for part in ("validation", "test"):
    ...             for name, value in getattr(record, part).items():
    ...                 metrics[f"{part}_{name}".replace("@", "_at_")] = value
    ...         mlflow.log_metrics(metrics, step=record.epoch)

    Both are given to a training, and the log is closed when it is over:

        with SummaryWriter("logs") as writer, mlflow.start_run():
            train_model(config, train, test, callbacks=[TensorBoard(writer), MLflow()])
    """

    def on_epoch_begin(self, training: "Training") -> None:
        """Do something before an epoch: `training.history` has those before it."""

    def on_step_begin(self, training: "Training", rows: int) -> None:
        """Do something before a step on so many rows; `training.steps` has those of its epoch."""

    def on_step_end(self, training: "Training") -> None:
        """Do something after an update."""

    def on_epoch_end(self, training: "Training") -> None:
        """Do something after an epoch, which is the last of `training.history`."""


class StepSeed(Callback):
    """Random numbers of each step (dropout), seeded from (seed, epoch, step, row).

    A step then depends on nothing before it but parameters and optimizer: a resumed training goes
    on from between any two steps.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_epoch_begin(self, training: "Training") -> None:
        """Tell the network which epoch begins."""
        row_model(training.net).begin_epoch(len(training.history) + 1)

    def on_step_begin(self, training: "Training", rows: int) -> None:
        """Seed the network."""
        epoch = len(training.history) + 1
        key = dropout_key(self._seed, epoch, len(training.steps))

        row_model(training.net).seed_step(key, training.workers.first_row(rows))


class LearningRate(Callback):
    """The learning rate of each epoch, a function of the epochs before it."""

    def __init__(self, rate: Callable[[Sequence[EpochRecord]], float]) -> None:
        self._rate = rate

    def on_epoch_begin(self, training: "Training") -> None:
        """Set the rate."""
        training.trainer.set_learning_rate(self._rate(training.history))


class Evaluation(Callback):
    """Metrics in the record of an epoch; of every epoch, or of every few and the last.

    Worker 0 measures, and the others hear of it, so that all decide alike.

    Parameters
    ----------
    metrics : mapping
        'test', and perhaps 'validation', to a function of the network to its
        metrics by name.
    every : int
        Epochs from one evaluation to the next.
    last : int
        The epoch that is evaluated in any case.
    beta : callable, optional
        The weight of a KL divergence after the epoch, where there is one.
    """

    def __init__(
        self,
        metrics: Mapping[str, Callable[[Any], dict[str, float]]],
        every: int = 1,
        last: int = 0,
        beta: Callable[[], float] | None = None,
    ) -> None:
        self._metrics = metrics
        self._every = every
        self._last = last
        self._beta = beta

    def on_epoch_end(self, training: "Training") -> None:
        """Measure, where it is time, and add what was found to the record."""
        record = training.history[-1]
        if self._beta is not None:
            record = replace(record, beta=self._beta())

        if record.epoch % self._every == 0 or record.epoch >= self._last:
            measures = {} if training.workers.rank else self._metrics
            found = {name: measure(training.net) for name, measure in measures.items()}
            record = replace(record, **training.workers.agree(found))

        training.history[-1] = record


class FiniteMetrics(Callback):
    """A NumericalError where parameters or a metric are not finite, or an error is too large."""

    def on_epoch_end(self, training: "Training") -> None:
        """Raise NumericalError unless all are finite and no error is too large."""
        record = training.history[-1]
        if not are_finite(training.net):  # clipped predictions may be
            raise NumericalError(
                f"the parameters are not finite after epoch {record.epoch}: try `lr` ten times "
                "lower"
            )

        for part, metrics in (("validation", record.validation), ("test", record.test)):
            for name, value in metrics.items():
                exploded = name == "rmse" and value > training.limit
                if exploded or not math.isfinite(value):
                    raise NumericalError(
                        f"the {part} {name.upper()} is {value:.3g} after epoch "
                        f"{record.epoch}: try `lr` ten times lower"
                    )


class EarlyStopping(Callback):
    """The end of a training once `patience` epochs have brought no better validation score."""

    def __init__(self, patience: int, score: Score) -> None:
        self._patience = patience
        self._score = score

    def on_epoch_end(self, training: "Training") -> None:
        """Stop where the last epochs were no better."""
        if should_stop(training.history, self._patience, self._score):
            training.stopping = True


class Signals(Callback):
    """The end of a training between two steps where a signal asks for it.

    Parameters
    ----------
    watch : SignalWatch
    keep : callable
        Called first, with the training: it may write where the training is.
    """

    def __init__(self, watch: SignalWatch, keep: Callable[["Training"], None]) -> None:
        self._watch = watch
        self._keep = keep

    def on_step_end(self, training: "Training") -> None:
        """Keep what was reached and raise where a signal has come."""
        if self._watch.received is not None:
            self._keep(training)
        self._watch.check()
