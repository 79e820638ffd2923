"""Training: fit -> one epoch -> one step. It knows no model by name."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import mxnet as mx
import numpy as onp
from mxnet import autograd, np

from ..kernels.csr import CSRBatch, numpy_view
from ..support.errors import NumericalError
from ..support.streams import Purpose, mxnet_seed
from .devices import split_and_load, try_all_gpus
from .history import EpochRecord
from .losses import observed_errors
from .workers import Workers

ALONE = Workers()


def train_step(
    net: Any,
    batch: Sequence[Any],
    loss: Callable,
    trainer: Any,
    devices: Sequence[mx.Context],
    workers: Workers = ALONE,
) -> Any:
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
    ndarray, shape (3,)
        Of this worker's rows: sum of row losses, sum of squared errors over
        observed ratings, number of observed ratings. It may be an MXNet array
        that is still being computed.
    """
    rows = len(batch[0])
    share, weight = workers.share(batch)
    shards = split_and_load(share, devices, weight)
    with autograd.record():
        outputs = [net(*(shard.arrays[:-1] or shard.arrays)) for shard in shards]
        losses = [
            loss(output, shard.arrays[-1]) * shard.weight for output, shard in zip(outputs, shards)
        ]
    if workers.asynchronous:  # servers apply each gradient alone, and are not told its rows
        autograd.backward(losses, [np.full_like(part, 1 / len(share[0])) for part in losses])
        trainer.step(1)
    else:
        autograd.backward(losses)
        trainer.step(rows)
    sums = _sums if predicts_ratings(loss) else _loss_and_count
    parts = [
        sums(output, shard.arrays[-1], row_losses) * shard.weight
        for output, shard, row_losses in zip(outputs, shards, losses)
    ]
    if isinstance(parts[0], np.ndarray):  # added on a device: one number for the host to wait for
        parts = [part.as_in_ctx(devices[0]) for part in parts]
    return sum(parts[1:], parts[0])


def predicts_ratings(loss: Callable) -> bool:
    """Whether what the loss compares are ratings, so that there is a train RMSE."""
    return getattr(loss, "predicts_ratings", True)


def _loss_and_count(_: Any, label: Any, losses: Any) -> Any:
    """As `_sums`, of a loss that is no error of ratings."""
    if isinstance(label, CSRBatch):
        return onp.array([numpy_view(losses).sum(), 0, len(label.data)])
    return np.stack([losses.sum(), np.zeros((), ctx=label.ctx), label.sum()])


def _sums(output: Any, label: Any, losses: Any) -> Any:
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
    sums, rows, start = [], 0, time.perf_counter()
    for batch in train_iter:
        batch = batch if isinstance(batch, (list, tuple)) else [batch]
        sums.append(train_step(net, batch, loss, trainer, devices, workers))
        rows += len(batch[0])
        if len(sums) > 1:
            sums[-2] = _to_host(sums[-2])  # waits for the step before
        if workers.size == 1:
            _check_finite(sums, epoch)
        after_step()
    mx.npx.waitall()
    own = onp.array([_to_host(step) for step in sums]).reshape(-1, 3)
    steps = workers.sum(own.ravel()).reshape(-1, 3)
    _check_finite(steps, epoch, since=1)
    loss_sum, squared, observed = map(float, steps.sum(axis=0))
    rmse = math.sqrt(squared / max(observed, 1)) if predicts_ratings(loss) else None
    return EpochRecord(
        epoch, loss_sum / max(rows, 1), rmse, int(observed), time.perf_counter() - start
    )


def _check_finite(sums: Sequence[Any], epoch: int, since: int | None = None) -> None:
    """Raise NumericalError for a step `since` a number, as far as they are on the host.

    By default for the last two.
    """
    for batch in range(since or max(len(sums) - 1, 1), len(sums) + 1):
        step = sums[batch - 1]
        if isinstance(step, onp.ndarray) and not onp.isfinite(step[0]):
            raise NumericalError(
                f"the loss is not finite in epoch {epoch} at batch {batch}: most "
                "likely the learning rate is too high; try --lr ten times lower"
            )


def _to_host(step: Any) -> onp.ndarray:
    """One step's sums, float64."""
    return step if isinstance(step, onp.ndarray) else step.asnumpy().astype(onp.float64)


def fit(  # noqa: PLR0913
    net: Any,
    train_iter: Iterable,
    loss: Callable,
    trainer: Any,
    num_epochs: int,
    devices: Sequence[mx.Context],
    evaluate: Callable[[], dict[str, dict[str, float]]],
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

    devices = try_all_gpus() if devices is None else devices
    arguments = (kwargs["inter_mat"], devices) if kwargs else (devices,)
    with open_progress(num_epochs) as progress:
        history = fit(
            net,
            train_iter,
            loss,
            trainer,
            num_epochs,
            devices,
            lambda: {"test": {"rmse": evaluator(net, test_iter, *arguments)}},
            progress.update,
        )
    last, seconds = history[-1], sum(record.seconds for record in history)
    rate = sum(record.ratings for record in history) / max(seconds, 1e-9)
    print(summary(last.train_loss, last.test["rmse"], rate, devices))


def summary(train_loss: float, test_rmse: float, rate: float, devices: Sequence[Any]) -> str:
    """The chapter's two closing lines."""
    names = ", ".join(map(str, devices))
    return (
        f"train loss {train_loss:.3f}, test RMSE {test_rmse:.3f}\n"
        f"{rate:.1f} ratings/sec on [{names}]"
    )
