"""The training loop: fit -> one epoch -> one step. It knows no model by name."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import mxnet as mx
import numpy as onp
from mxnet import autograd, np
from mxnet.ndarray import NDArray as MXNetArray  # of which mxnet.np's arrays are a subclass

from ..kernels.csr import CSRBatch, numpy_view
from ..models.sparse_autorec import predict
from ..support.errors import ConfigError, NumericalError
from .devices import Shard, split_and_load
from .history import EpochRecord, StepSums
from .losses import observed_errors
from .parameter_server import Workers

ALONE = Workers()
Step: TypeAlias = StepSums | np.ndarray  # an array of shape (3,) may not be computed yet


def train_step(training: "Training", batch: Sequence[Any]) -> Step:
    """Take a step on a batch that is spread over the devices: predict, differentiate, update.

    Parameters
    ----------
    training : Training
        The training, whose parameters are updated.
    batch : sequence of ndarray
        Features and, last, the label; a single array is both.

    Returns
    -------
    StepSums or ndarray, shape (3,)
        The sums over this worker's rows. An array is MXNet's, and may not be
        computed yet.
    """
    share, weight = training.workers.share(batch)
    shards = split_and_load(share, training.devices, weight)

    outputs, losses = [], []
    with autograd.record():
        for shard in shards:
            inputs = shard.arrays[:-1] or shard.arrays
            outputs.append(predict(training.net, *inputs))
        for output, shard in zip(outputs, shards):
            found = training.loss(output, shard.arrays[-1])
            _check_losses(found, shard.arrays[-1])
            losses.append(found * shard.weight)

    autograd.backward(losses)
    training.trainer.step(len(batch[0]))
    return _added(training, outputs, shards, losses)


def _check_losses(found: Any, label: Any) -> None:
    """Raise ConfigError unless a loss function returned a number for each row."""
    is_array, rows = isinstance(found, MXNetArray), len(label)
    if isinstance(label, CSRBatch):  # the package's own losses read it, and may return the sum
        return
    if not is_array or found.shape not in ((rows,), (rows, 1)):
        shown = f"shape {found.shape}" if is_array else f"{found!r:.40}"
        raise ConfigError(
            f"the loss returned {shown}: it must be an array of MXNet, of shape ({rows},), with a "
            "number for each row"
        )


def _added(
    training: "Training", outputs: Sequence[Any], shards: Sequence[Shard], losses: Sequence[Any]
) -> Step:
    """Add up the sums of all shards; those of dense ones on a device, as a single array."""
    parts: list[Any] = []
    for output, shard, row_losses in zip(outputs, shards, losses):
        sums = _sums(training.predicts_ratings, output, shard.arrays[-1], row_losses)
        parts.append(sums * shard.weight)

    if isinstance(parts[0], onp.ndarray):
        return StepSums(*sum(parts[1:], parts[0]).tolist())

    on_first = [part.as_in_ctx(parts[0].ctx) for part in parts]
    return sum(on_first[1:], on_first[0])


def _sums(predicts_ratings: bool, output: Any, label: Any, losses: Any) -> onp.ndarray | np.ndarray:
    """Return the sums over one shard, in the order of `StepSums`, shape (3,)."""
    if isinstance(label, CSRBatch):  # all is in the CPU's memory, and NumPy is quicker
        with onp.errstate(over="ignore", invalid="ignore"):  # divergence is reported by the step
            errors = numpy_view(output) - label.data if predicts_ratings else onp.zeros(1)
            return onp.array([numpy_view(losses).sum(), errors @ errors, len(label.data)])

    label, losses = (array.astype("float32", copy=False) for array in (label, losses))
    squared, count = np.zeros((), ctx=label.ctx), label.sum()
    if predicts_ratings:
        prediction = output[0] if isinstance(output, tuple) else output  # the rest is a penalty
        errors, count = observed_errors(prediction, label)
        squared = np.square(errors).sum()
    return np.stack([losses.sum(), squared, count])


@dataclass
class Training:
    """A training under way: what its steps need, and the records of its epochs.

    Parameters
    ----------
    net : Block
        The network.
    loader : iterable
        The batches of an epoch: an ndarray, or a list of features and, last, the label.
    loss : callable
        (prediction, label) to one number for each row.
    trainer : gluon.Trainer
        The optimizer of the network's parameters.
    devices : sequence of Context
        The devices that each worker spreads its rows over.
    workers : Workers
        The processes that each batch is spread over first.
    predicts_ratings : bool
        Whether the loss compares ratings, so that there is a train RMSE.
    limit : float
        The error of a step (the RMSE of ratings, or the loss of a click) above which the training
        has diverged.
    history : list of EpochRecord
        The epochs that are done.
    step : callable
        (training, batch) to the step's sums: `train_step`, or a function that computes the same.
    steps : list of Step
        The sums of the steps that are done in the epoch under way.
    rows : int
        Number of rows that those steps trained on.
    seconds : float
        Time that those steps took, without callbacks.
    stopping : bool
        Whether a callback has said that the epoch which is over was the last.
    """

    net: Any
    loader: Iterable
    loss: Callable
    trainer: Any
    devices: Sequence[mx.Context]
    workers: Workers = ALONE
    predicts_ratings: bool = True
    limit: float = math.inf
    history: list[EpochRecord] = field(default_factory=list)
    step: Callable[["Training", Sequence[Any]], Step] = train_step
    steps: list[Step] = field(default_factory=list)
    rows: int = 0
    seconds: float = 0.0
    stopping: bool = False

    def sums(self) -> list[StepSums]:
        """Wait for the steps in the epoch under way, and return their sums."""
        return [_to_host(step) for step in self.steps]

    def error_of(self, step: StepSums) -> float:
        """Return a step's error: the RMSE of its ratings, or the mean loss of a click."""
        return step.rmse if self.predicts_ratings else step.loss / max(step.ratings, 1)

    def has_diverged(self, step: StepSums) -> bool:
        """Return whether the loss of a step is not finite, or has exploded."""
        return not (math.isfinite(step.loss) and self.error_of(step) <= self.limit)


class Callback:
    """The base of callbacks, which are called as a training goes on; any call may raise to end it.

    Examples
    --------
    This one writes losses and metrics of every epoch for TensorBoard (`pip install tensorboardX`):

    >>> from d2l_autorec import Callback, train_model
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

    This one does the same for MLflow (`pip install mlflow-skinny`), which takes no `@` in a name:

    >>> import mlflow
    >>> class MLflow(Callback):
    ...     def on_epoch_end(self, training):
    ...         record = training.history[-1]
    ...         metrics = {"train_loss": record.train_loss}
    ...         for part in ("validation", "test"):
    ...             for name, value in getattr(record, part).items():
    ...                 metrics[f"{part}_{name}".replace("@", "_at_")] = value
    ...         mlflow.log_metrics(metrics, step=record.epoch)

    Here both are given to a training, and the log is closed when it is over:

        with SummaryWriter("logs") as writer, mlflow.start_run():
            train_model(config, train, test, callbacks=[TensorBoard(writer), MLflow()])
    """

    def on_epoch_begin(self, training: Training) -> None:
        """Do something before an epoch; `training.history` has the epochs before it."""

    def on_step_begin(self, training: Training, rows: int) -> None:
        """Do something before a step on `rows` rows; `training.steps` has the epoch's others."""

    def on_step_end(self, training: Training) -> None:
        """Do something after a step, which has updated the parameters."""

    def on_epoch_end(self, training: Training) -> None:
        """Do something after an epoch, whose record is the last in `training.history`."""


def train_epoch(training: Training, callbacks: Sequence[Callback] = ()) -> EpochRecord:
    """Pass over the batches once, beginning with the next step; a callback may raise to end it.

    Raises
    ------
    NumericalError
        If the loss of a step is not finite or has exploded. With dense batches it is raised one
        step later; with several workers, which end together, after the epoch.

    Notes
    -----
    At most two steps are under way at a time: MXNet's engine has no limit of its own,
    and would hold all dense batches of the epoch at once.
    """
    steps = training.steps
    begin = time.perf_counter()

    for batch in training.loader:
        if not isinstance(batch, (list, tuple)):
            batch = [batch]

        for callback in callbacks:
            callback.on_step_begin(training, len(batch[0]))

        steps.append(training.step(training, batch))
        training.rows += len(batch[0])

        if len(steps) > 1:
            steps[-2] = _to_host(steps[-2])  # waits for the step before
        if training.workers.size == 1:
            _check_steps(training, steps, since=max(len(steps) - 1, 1))

        training.seconds += time.perf_counter() - begin
        for callback in callbacks:
            callback.on_step_end(training)
        begin = time.perf_counter()

    mx.npx.waitall()
    total = _total(training)
    seconds = training.seconds + time.perf_counter() - begin
    train_loss = total.loss / max(training.rows, 1)
    train_rmse = total.rmse if training.predicts_ratings else None

    training.steps, training.rows, training.seconds = [], 0, 0.0
    epoch = len(training.history) + 1
    return EpochRecord(epoch, train_loss, train_rmse, int(total.ratings), seconds)


def _total(training: Training) -> StepSums:
    """Return an epoch's sums over all workers; raise NumericalError if a step has diverged."""
    flat = training.workers.sum(onp.array(training.sums()).ravel())
    table = flat.reshape(-1, 3)  # (steps, sums)
    _check_steps(training, [StepSums(*step) for step in table.tolist()])

    return StepSums(*table.sum(axis=0).tolist())


def _check_steps(training: Training, steps: Sequence[Step], since: int = 1) -> None:
    """Raise NumericalError if a step from number `since` on has diverged, as far as known."""
    for batch, step in enumerate(steps[since - 1 :], since):
        if not isinstance(step, StepSums) or not training.has_diverged(step):
            continue

        what = "is not finite"
        advice = "most likely the learning rate is too high; try `lr` ten times lower"
        if math.isfinite(step.loss):
            error = training.error_of(step)
            what = f"has exploded (the error is {error:.3g}, above {training.limit:.3g})"
            if batch == 1 and not training.history:  # it is of the network before its first step
                advice = "the ratings are too small for the initial network; rescale them"
        raise NumericalError(
            f"the loss {what} in epoch {len(training.history) + 1} at batch {batch}: {advice}"
        )


def _to_host(step: Step) -> StepSums:
    """Wait for a step, and return its sums."""
    if isinstance(step, StepSums):
        return step
    return StepSums(*step.asnumpy().tolist())


def fit(
    training: Training, num_epochs: int, callbacks: Sequence[Callback] = ()
) -> list[EpochRecord]:
    """Train until there are `num_epochs` epochs, with those in `training.history`.

    Parameters
    ----------
    training : Training
        The training.
    num_epochs : int
        Number of epochs in all.
    callbacks : sequence of Callback
        Evaluation, learning rate, checkpoints and so on, which are called in this order.

    Returns
    -------
    list of EpochRecord
        The records of all epochs, `training.history`.
    """
    while len(training.history) < num_epochs and not training.stopping:
        for callback in callbacks:
            callback.on_epoch_begin(training)

        record = train_epoch(training, callbacks)
        training.history.append(replace(record, lr=training.trainer.learning_rate))

        for callback in callbacks:
            callback.on_epoch_end(training)

    return training.history
