"""Training: fit -> one epoch -> one step. It knows no model by name."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import mxnet as mx
import numpy as onp
from mxnet import autograd, np

from ..kernels.csr import CSRBatch, numpy_view
from ..models.sparse_autorec import predict
from ..support.errors import NumericalError
from .callbacks import Callback
from .devices import Shard, split_and_load
from .history import EpochRecord, StepSums
from .losses import observed_errors
from .parameter_server import Workers

ALONE = Workers()
Step: TypeAlias = StepSums | np.ndarray  # of shape (3,), which may still be being computed


def train_step(training: "Training", batch: Sequence[Any]) -> Step:
    """Compute predictions, gradients and the update of one batch, spread over the devices.

    Parameters
    ----------
    training : Training
    batch : sequence of ndarray
        Features and, last, the label; `[values]` is both.

    Returns
    -------
    StepSums or ndarray, shape (3,)
        Of this worker's rows. An array is MXNet's, with the same sums, which
        may still be being computed.
    """
    workers = training.workers
    share, weight = workers.share(batch)
    shards = split_and_load(share, training.devices, weight)

    outputs, losses = [], []
    with autograd.record():
        for shard in shards:
            inputs = shard.arrays[:-1] or shard.arrays
            outputs.append(predict(training.net, *inputs))
        for output, shard in zip(outputs, shards):
            losses.append(training.loss(output, shard.arrays[-1]) * shard.weight)

    if workers.asynchronous:  # servers apply each gradient alone, and are not told its rows
        mean = 1 / len(share[0])
        autograd.backward(losses, [np.full_like(part, mean) for part in losses])
        training.trainer.step(1)
    else:
        autograd.backward(losses)
        training.trainer.step(len(batch[0]))

    return _added(training, outputs, shards, losses)


def _added(
    training: "Training", outputs: Sequence[Any], shards: Sequence[Shard], losses: Sequence[Any]
) -> Step:
    """Add up all shards; dense ones on a device, so that the host waits for one array."""
    parts: list[Any] = []
    for output, shard, row_losses in zip(outputs, shards, losses):
        sums = _sums(training.predicts_ratings, output, shard.arrays[-1], row_losses)
        parts.append(sums * shard.weight)

    if isinstance(parts[0], onp.ndarray):
        return StepSums(*sum(parts[1:], parts[0]).tolist())

    on_first = [part.as_in_ctx(parts[0].ctx) for part in parts]
    return sum(on_first[1:], on_first[0])


def _sums(predicts_ratings: bool, output: Any, label: Any, losses: Any) -> onp.ndarray | np.ndarray:
    """Return what `StepSums` holds, of one shard, shape (3,)."""
    if isinstance(label, CSRBatch):  # the CPU has it all at hand: no need to queue operators
        with onp.errstate(over="ignore", invalid="ignore"):  # a diverged loss is told by its step
            errors = numpy_view(output) - label.data if predicts_ratings else onp.zeros(1)
            return onp.array([numpy_view(losses).sum(), errors @ errors, len(label.data)])

    squared, count = np.zeros((), ctx=label.ctx), label.sum()
    if predicts_ratings:
        prediction = output[0] if isinstance(output, tuple) else output  # beside a penalty
        errors, count = observed_errors(prediction, label)
        squared = np.square(errors).sum()
    return np.stack([losses.sum(), squared, count])


@dataclass
class Training:
    """A training under way: what its steps need, and what its epochs measured.

    Parameters
    ----------
    net : Block
    loader : iterable
        The batches of an epoch: an ndarray, or a list of features and, last, the label.
    loss : callable
        (prediction, label) to one loss a row.
    trainer : gluon.Trainer
    devices : sequence of Context
    workers : Workers
        The processes that each batch is spread over first.
    predicts_ratings : bool
        Whether what the loss compares are ratings, so that there is a train RMSE.
    limit : float
        The largest error of a rating (root mean square; else loss of a click) in a step of a
        training that has not diverged.
    history : list of EpochRecord
        Epochs that are done.
    step : callable
        What makes a step, of the training and a batch: `train_step`, or one that computes the same.
    steps : list of Step
        Sums of the steps that are done of the epoch under way.
    rows : int
        That those steps trained on.
    seconds : float
        That they took, without callbacks.
    stopping : bool
        Set by a callback: the epoch that is over was the last.
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
        """Return the sums of each step of the epoch under way, once they are computed."""
        return [_to_host(step) for step in self.steps]

    def error_of(self, step: StepSums) -> float:
        """Return the error of a rating in a step, or the loss of a click."""
        return step.rmse if self.predicts_ratings else step.loss / max(step.ratings, 1)

    def has_diverged(self, step: StepSums) -> bool:
        """Return whether the loss of a step is not finite, or has exploded."""
        return not (math.isfinite(step.loss) and self.error_of(step) <= self.limit)


def train_epoch(training: Training, callbacks: Sequence[Callback] = ()) -> EpochRecord:
    """Pass over the batches once, from the step that is next; a callback may end it by raising.

    Raises
    ------
    NumericalError
        At the step whose loss is not finite or has exploded; of dense batches one step later,
        and of several workers, which end together, after the epoch.

    Notes
    -----
    At most two steps are under way: MXNet's engine has no limit of its own,
    and would hold every batch of the epoch, densified, at once.
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
    """Return the sums of an epoch over all workers; raise NumericalError if a step diverged."""
    flat = training.workers.sum(onp.array(training.sums()).ravel())
    table = flat.reshape(-1, 3)  # (steps, sums)
    _check_steps(training, [StepSums(*step) for step in table.tolist()])

    return StepSums(*table.sum(axis=0).tolist())


def _check_steps(training: Training, steps: Sequence[Step], since: int = 1) -> None:
    """Raise NumericalError for a step from number `since` on, as far as they are on the host."""
    for batch in range(since, len(steps) + 1):
        step = steps[batch - 1]
        if not isinstance(step, StepSums) or not training.has_diverged(step):
            continue

        what = "is not finite"
        if math.isfinite(step.loss):
            error = training.error_of(step)
            what = f"has exploded (the error is {error:.3g}, above {training.limit:.3g})"
        raise NumericalError(
            f"the loss {what} in epoch {len(training.history) + 1} at batch {batch}: most "
            "likely the learning rate is too high; try `lr` ten times lower"
        )


def _to_host(step: Step) -> StepSums:
    """Return the sums of a step, once they are computed."""
    if isinstance(step, StepSums):
        return step
    return StepSums(*step.asnumpy().tolist())


def fit(
    training: Training, num_epochs: int, callbacks: Sequence[Callback] = ()
) -> list[EpochRecord]:
    """Train up to `num_epochs` epochs; those of `training.history` are done already.

    Parameters
    ----------
    training : Training
    num_epochs : int
    callbacks : sequence of Callback
        Evaluation, checkpoints, learning rate, signals, progress: called in this order.

    Returns
    -------
    list of EpochRecord
        All epochs: `training.history`.
    """
    while len(training.history) < num_epochs and not training.stopping:
        for callback in callbacks:
            callback.on_epoch_begin(training)

        record = train_epoch(training, callbacks)
        training.workers.collect(training.trainer)
        training.history.append(replace(record, lr=training.trainer.learning_rate))

        for callback in callbacks:
            callback.on_epoch_end(training)

    return training.history
