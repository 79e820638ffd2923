"""Training: fit -> one epoch -> one step. It knows no model by name."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import mxnet as mx
import numpy as onp
from mxnet import autograd, np

from ..kernels.csr import CSRBatch, numpy_view
from ..support.errors import ConfigError, NumericalError
from ..support.streams import Purpose, mxnet_seed
from .devices import Shard, split_and_load, try_all_gpus
from .history import EpochRecord, StepSums
from .losses import observed_errors
from .parameter_server import Workers

ALONE = Workers()
Step: TypeAlias = (
    StepSums | np.ndarray
)  # an array (3,) of the same sums may still be being computed


def train_step(
    net: Any,
    batch: Sequence[Any],
    loss: Callable,
    trainer: Any,
    devices: Sequence[mx.Context],
    workers: Workers = ALONE,
) -> Step:
    """Forward, backward and update on one batch spread over the devices.

    Parameters
    ----------
    net : Block
    batch : sequence of ndarray
        Features and, last, the label; `[values]` is both.
    loss : callable
        (prediction, label) to one loss a row.
    trainer : gluon.Trainer
    devices : sequence of Context
    workers : Workers
        The processes that the batch is spread over first.

    Returns
    -------
    StepSums or ndarray, shape (3,)
        Of this worker's rows. An array is MXNet's, with the same sums, which
        may still be being computed.
    """
    share, weight = workers.share(batch)
    shards = split_and_load(share, devices, weight)

    outputs, losses = [], []
    with autograd.record():
        for shard in shards:
            inputs = shard.arrays[:-1] or shard.arrays
            outputs.append(net(*inputs))
        for output, shard in zip(outputs, shards):
            losses.append(loss(output, shard.arrays[-1]) * shard.weight)

    if workers.asynchronous:  # servers apply each gradient alone, and are not told its rows
        mean = 1 / len(share[0])
        autograd.backward(losses, [np.full_like(part, mean) for part in losses])
        trainer.step(1)
    else:
        autograd.backward(losses)
        trainer.step(len(batch[0]))

    if predicts_ratings(loss):
        return _added(_sums, outputs, shards, losses)
    return _added(_loss_and_count, outputs, shards, losses)


def predicts_ratings(loss: Callable) -> bool:
    """Whether what the loss compares are ratings, so that there is a train RMSE."""
    return getattr(loss, "predicts_ratings", True)


def _added(
    sums: Callable[[Any, Any, Any], onp.ndarray | np.ndarray],
    outputs: Sequence[Any],
    shards: Sequence[Shard],
    losses: Sequence[Any],
) -> Step:
    """The sums of all shards; of dense ones on a device, so that the host waits for one array."""
    parts: list[Any] = []
    for output, shard, row_losses in zip(outputs, shards, losses):
        parts.append(sums(output, shard.arrays[-1], row_losses) * shard.weight)

    if isinstance(parts[0], onp.ndarray):
        return StepSums(*sum(parts[1:], parts[0]).tolist())

    on_first = [part.as_in_ctx(parts[0].ctx) for part in parts]
    return sum(on_first[1:], on_first[0])


def _loss_and_count(_: Any, label: Any, losses: Any) -> onp.ndarray | np.ndarray:
    """As `_sums`, of a loss that is no error of ratings."""
    if isinstance(label, CSRBatch):
        return onp.array([numpy_view(losses).sum(), 0, len(label.data)])

    return np.stack([losses.sum(), np.zeros((), ctx=label.ctx), label.sum()])


def _sums(output: Any, label: Any, losses: Any) -> onp.ndarray | np.ndarray:
    """What `StepSums` holds, of one shard, shape (3,)."""
    if isinstance(label, CSRBatch):  # the CPU has it all at hand: no need to queue operators
        with onp.errstate(over="ignore", invalid="ignore"):  # a diverged loss is told by its step
            errors = numpy_view(output) - label.data
            return onp.array([numpy_view(losses).sum(), errors @ errors, len(errors)])

    errors, count = observed_errors(output, label)
    return np.stack([losses.sum(), np.square(errors).sum(), count])


def train_epoch(  # noqa: PLR0913
    net: Any,
    train_iter: Iterable,
    loss: Callable,
    trainer: Any,
    devices: Sequence[mx.Context],
    epoch: int,
    after_step: Callable[[], None] = lambda: None,
    workers: Workers = ALONE,
) -> EpochRecord:
    """One pass over `train_iter`; `after_step` may end it by raising.

    Raises
    ------
    NumericalError
        At the step whose loss is not finite; of dense batches one step later,
        and of several workers, which end together, after the epoch.

    Notes
    -----
    At most two steps are under way: MXNet's engine has no limit of its own,
    and would hold every batch of the epoch, densified, at once.
    """
    steps: list[Step] = []
    rows = 0
    start = time.perf_counter()

    for batch in train_iter:
        if not isinstance(batch, (list, tuple)):
            batch = [batch]

        steps.append(train_step(net, batch, loss, trainer, devices, workers))
        rows += len(batch[0])

        if len(steps) > 1:
            steps[-2] = _to_host(steps[-2])  # waits for the step before
        if workers.size == 1:
            _check_finite(steps, epoch, since=max(len(steps) - 1, 1))
        after_step()

    mx.npx.waitall()
    total = _total([_to_host(step) for step in steps], epoch, workers)
    seconds = time.perf_counter() - start

    train_rmse = None
    if predicts_ratings(loss):
        train_rmse = total.rmse
    return EpochRecord(epoch, total.loss / max(rows, 1), train_rmse, int(total.ratings), seconds)


def _total(own: Sequence[StepSums], epoch: int, workers: Workers) -> StepSums:
    """The sums of an epoch over all workers; NumericalError if a step's loss is not finite."""
    flat = workers.sum(onp.array(own).ravel())
    table = flat.reshape(-1, 3)  # (steps, sums)

    steps = [StepSums(*step) for step in table.tolist()]
    _check_finite(steps, epoch)

    return StepSums(*table.sum(axis=0).tolist())


def _check_finite(steps: Sequence[Step], epoch: int, since: int = 1) -> None:
    """Raise NumericalError for a step from number `since` on, as far as they are on the host."""
    for batch in range(since, len(steps) + 1):
        step = steps[batch - 1]
        if isinstance(step, StepSums) and not math.isfinite(step.loss):
            raise NumericalError(
                f"the loss is not finite in epoch {epoch} at batch {batch}: most "
                "likely the learning rate is too high; try --lr ten times lower"
            )


def _to_host(step: Step) -> StepSums:
    """One step's sums; waits for them."""
    if isinstance(step, StepSums):
        return step
    return StepSums(*step.asnumpy().tolist())


def fit(  # noqa: PLR0913
    net: Any,
    train_iter: Iterable,
    loss: Callable,
    trainer: Any,
    num_epochs: int,
    devices: Sequence[mx.Context],
    evaluate: Callable[[], Mapping[str, Any]],
    on_epoch: Callable[[list[EpochRecord]], bool],
    seed: int | None = None,
    history: Sequence[EpochRecord] = (),
    learning_rate: Callable[[list[EpochRecord]], float] | None = None,
    after_step: Callable[[], None] = lambda: None,
    workers: Workers = ALONE,
) -> list[EpochRecord]:
    """Train up to `num_epochs` epochs, evaluating after each.

    Parameters
    ----------
    evaluate : callable
        Returns {'test': metrics} and perhaps 'validation', metric name to
        value; also 'beta'.
    on_epoch : callable
        Gets the history after each epoch: the progress bar, the curve, the
        checkpoint. True ends the training.
    seed : int, optional
        Seeds MXNet's random numbers (dropout) anew for each epoch, from
        (seed, epoch, worker). By default the caller's random state is used.
    history : sequence of EpochRecord
        Epochs that are done already.
    learning_rate : callable, optional
        History to the rate of the next epoch. By default the trainer's stays.
    after_step, workers
        As in `train_epoch`.

    Returns
    -------
    list of EpochRecord
        `history` and the new epochs.
    """
    history = list(history)

    for epoch in range(len(history) + 1, num_epochs + 1):
        if seed is not None:
            mx.random.seed(mxnet_seed(seed, Purpose.DROPOUT, epoch, workers.rank))
        if learning_rate is not None:
            trainer.set_learning_rate(learning_rate(history))

        record = train_epoch(net, train_iter, loss, trainer, devices, epoch, after_step, workers)
        workers.collect(trainer)

        history.append(replace(record, lr=trainer.learning_rate, **evaluate()))
        if on_epoch(history):
            break

    return history


def train_recsys_rating(  # noqa: PLR0913  # the chapter's parameters
    net: Any,
    train_iter: Iterable,
    test_iter: Iterable,
    loss: Callable,
    trainer: Any,
    num_epochs: int,
    devices: Sequence[mx.Context] | None = None,
    evaluator: Callable | None = None,
    **kwargs: Any,
) -> None:
    """Train, draw train and test RMSE for each epoch, print the result (the chapter's function).

    Parameters
    ----------
    net : Block
    train_iter, test_iter : iterable
        Batches: an ndarray, or a list of features and, last, the label.
    loss : callable
        (prediction, label) to one loss a row.
    trainer : gluon.Trainer
    num_epochs : int
    devices : sequence of Context, optional
        By default `try_all_gpus()`, when called.
    evaluator : callable
        `evaluator(net, test_iter, devices)` to RMSE; with `inter_mat` it gets
        that as its third of four arguments.
    **kwargs
        `inter_mat`: test interaction matrix.

    Notes
    -----
    Where it differs from d2l 1.0.3, and why. The train loss is the mean of
    the loss over the rows of the last epoch; d2l adds up the last batch of each
    device, divides by the number of batches and then by the rows, and so
    prints 0.000. The curve shows the train RMSE over observed ratings, which
    has the unit of the test RMSE beside it. Rows need not divide over the
    devices. "ratings/sec" counts observed ratings; d2l counts every entry of
    the matrix and one epoch's entries for all. In a notebook the curve is
    d2l's Animator; elsewhere a progress bar takes its place, as nobody sees
    a figure there.
    """
    from .progress import open_progress

    if evaluator is None:
        raise ConfigError("train_recsys_rating needs an evaluator: it draws the test RMSE")
    test_rmse = evaluator  # of the chapter's signature

    if devices is None:
        devices = try_all_gpus()
    arguments = [devices]
    if kwargs:
        arguments = [kwargs["inter_mat"], devices]

    def evaluate() -> dict[str, dict[str, float]]:
        return {"test": {"rmse": test_rmse(net, test_iter, *arguments)}}

    def show(history: list[EpochRecord]) -> bool:
        progress.update(history)
        return False

    with open_progress(num_epochs) as progress:
        history = fit(net, train_iter, loss, trainer, num_epochs, devices, evaluate, show)

    last = history[-1]
    seconds = sum(record.seconds for record in history)
    rate = sum(record.ratings for record in history) / max(seconds, 1e-9)
    print(summary(last.train_loss, last.test["rmse"], rate, devices))


def summary(train_loss: float | None, test_rmse: float, rate: float, devices: Sequence[Any]) -> str:
    """The chapter's two closing lines."""
    if train_loss is None:
        raise ValueError("nothing was trained: there is no train loss")

    names = ", ".join(map(str, devices))
    return (
        f"train loss {train_loss:.3f}, test RMSE {test_rmse:.3f}\n"
        f"{rate:.1f} ratings/sec on [{names}]"
    )
