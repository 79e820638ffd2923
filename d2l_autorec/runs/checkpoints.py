"""Checkpointing callbacks, and the file of parameters."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as onp
from mxnet import MXNetError, nd, npx

from ..models.options import seconds_of
from ..support.errors import DataError, NumericalError
from ..training.callbacks import Callback
from ..training.checkpoint import (
    Arrays,
    Checkpoint,
    EpochUnderWay,
    are_finite,
    live_arrays,
    on_host,
    parameters_of,
    set_parameters,
)
from ..training.history import Score, best_epoch
from ..training.loaders import loader_state
from ..training.loop import Training
from .folder import RunFolder

CHECKPOINT = "checkpoint.bin"
FORMER_CHECKPOINT = "checkpoint-former.bin"  # the one before, should that one be of no use
SHARE = 0.05  # of the time that goes into checkpoints, at most


class Pace:
    """Says when a checkpoint is due.

    Parameters
    ----------
    every : int or str
        Epochs from one checkpoint to the next; or seconds, as in '60s', and more where writing one
        takes long.
    clock : callable
        The time in seconds.
    """

    def __init__(self, every: int | str, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._last = clock()
        self._cost = 0.0

    def is_due_in_epoch(self) -> bool:
        """Say whether it is time, at no more than `SHARE` of it."""
        if isinstance(self._every, int):
            return False

        since = self._clock() - self._last
        return since >= seconds_of(self._every) and self._is_cheap()

    def is_due_after(self, epochs: int, in_epochs: bool = True) -> bool:
        """Say whether one is due at the end of this epoch, from 1.

        Parameters
        ----------
        epochs : int
        in_epochs : bool
            Whether a signal can have one written in mid-epoch; else this may be the last chance.
        """
        if isinstance(self._every, int):
            return epochs % self._every == 0
        if in_epochs:
            return self.is_due_in_epoch()
        return self._is_cheap()

    def _is_cheap(self) -> bool:
        return self._clock() - self._last >= self._cost / SHARE

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Time the writing of a checkpoint."""
        begin = self._clock()
        yield

        self._last = self._clock()
        self._cost = self._last - begin


class Checkpointing(Callback):
    """Keeps the best parameters, and in the run folder checkpoints and metrics.csv.

    One process can go on from between any two steps. Of several workers each
    knows only its own steps, so they go on from the end of an epoch.

    Parameters
    ----------
    checkpoint : Checkpoint
        Of the phase that begins, or goes on.
    folder : RunFolder, optional
        Without one nothing is written.
    score : Score
        What is best.
    every : int or str
        Epochs from one checkpoint to the next, or seconds as in '60s'.
    """

    def __init__(
        self, checkpoint: Checkpoint, folder: RunFolder | None, score: Score, every: int | str
    ) -> None:
        self._checkpoint = checkpoint
        self._folder = folder
        self._score = score
        self._pace = Pace(every)
        self._loader: Arrays = {}
        self._went_on = False  # since the last checkpoint

    def on_epoch_begin(self, training: Training) -> None:
        self._loader = loader_state(training.loader)

    def on_step_begin(self, training: Training, rows: int) -> None:
        self._went_on = True

    def on_step_end(self, training: Training) -> None:
        if self._pace.is_due_in_epoch():
            self.save_in_epoch(training)

    def on_epoch_end(self, training: Training) -> None:
        done = len(training.history)
        if best_epoch(training.history, self._score) == done:
            self._checkpoint.best = parameters_of(training.net)

        self._loader = loader_state(training.loader)
        if self._pace.is_due_after(done, in_epochs=training.workers.size == 1):
            self._save(training, EpochUnderWay())

    def save_in_epoch(self, training: Training) -> None:
        """Write where a training is between two steps, unless it has diverged."""
        if self._folder is None or training.workers.size > 1:
            return
        steps = training.sums()
        if not are_finite(training.net) or training.has_diverged(steps[-1]):  # the next step tells
            return

        under_way = EpochUnderWay(steps, training.rows, training.seconds)
        self._save(training, under_way)

    def _save(self, training: Training, under_way: EpochUnderWay) -> None:
        if self._folder is None:
            return

        checkpoint = self._checkpoint
        checkpoint.history = list(training.history)
        checkpoint.under_way = under_way
        arrays = live_arrays(training.net, training.trainer, self._loader)

        path = self._folder.path / CHECKPOINT
        with self._pace.writing():
            if self._went_on:
                _link(path, path.with_name(FORMER_CHECKPOINT))
            checkpoint.save(path, arrays)
            self._write_metrics(self._folder)
        self._went_on = False

    def _write_metrics(self, folder: RunFolder) -> None:
        if any(self._checkpoint.phases.values()):
            folder.write_metrics(self._checkpoint.phases)

    def keep_last_good(self, training: Training, error: NumericalError) -> NumericalError:
        """Write model.params: the best parameters, else the last checkpoint's; the error, and that.

        Parameters
        ----------
        training : Training
            That has diverged.
        error : NumericalError
        """
        if self._folder is None:
            return error

        whose = self._set_last_good(training, self._folder.path / CHECKPOINT)
        if whose is None:
            return NumericalError(f"{error}; no checkpoint was due, so no parameters are kept")

        write_parameters(self._folder, training.net)
        self._checkpoint.history = list(training.history)
        self._write_metrics(self._folder)
        return NumericalError(
            f"{error}; the parameters of {whose}, are kept in {self._folder.path / 'model.params'}"
        )

    def _set_last_good(self, training: Training, path: Path) -> str | None:
        """Give the network its last good parameters; says whose they are, None without any."""
        stored = self._last_good(training, path)
        best = best_epoch(training.history, self._score)
        if best is not None and _is_good(training, best, 0):
            set_parameters(training.net, self._checkpoint.best)
            return f"the best epoch, {best}"

        if stored is None or stored.phase != self._checkpoint.phase or not stored.arrays:
            return None

        set_parameters(training.net, stored.arrays)
        where = f"epoch {len(stored.history)}"
        if stored.under_way.steps:
            where = f"step {len(stored.under_way.steps)} of epoch {len(stored.history) + 1}"
        return f"the last checkpoint, after {where}"

    def _last_good(self, training: Training, path: Path) -> Checkpoint | None:
        """Return the last checkpoint whose next step did not diverge; it replaces a later one."""
        if not path.exists():
            return None

        stored = self._read(path)
        same = stored.phase == self._checkpoint.phase and stored.arrays
        if not same or _is_good(training, len(stored.history), len(stored.under_way.steps)):
            return stored

        former = path.with_name(FORMER_CHECKPOINT)
        if not former.exists():
            path.unlink()
            return None
        os.replace(former, path)
        return self._read(path)

    def _read(self, path: Path) -> Checkpoint:
        with open(path, "rb") as file:
            return Checkpoint.read(file, path, self._checkpoint.run)


def _is_good(training: Training, epochs: int, steps: int) -> bool:
    """Say whether the step after so many epochs and steps of one was made and did not diverge."""
    if epochs < len(training.history):
        return True

    made = training.sums()
    return steps < len(made) and not training.has_diverged(made[steps])


def _link(path: Path, other: Path) -> None:
    """Give a file another name, where it exists and the file system can."""
    if path.exists():
        other.unlink(missing_ok=True)
        with suppress(OSError):
            os.link(path, other)


def write_parameters(folder: RunFolder, net: Any) -> None:
    """Write model.params."""
    folder.write("model.params", partial(save_parameters, net))


def save_parameters(net: Any, path: Path) -> None:
    """Write a network's parameters, and read them back: MXNet does not tell of a full disk.

    Raises
    ------
    OSError
        If the file does not hold what the network does.
    """
    # not net.save_parameters, which writes the mean over devices: equal numbers, but for rounding
    live = {
        name: parameter.list_data()[0]
        for name, parameter in net._collect_params_with_prefix().items()
    }

    try:
        npx.save(str(path), live)
        stored = nd.load(str(path))
    except (MXNetError, ValueError) as error:
        raise OSError(errno.EIO, "MXNet's file is not whole, as on a full disk") from error

    for name, array in live.items():
        ours, theirs = (on_host(one).view(onp.uint32) for one in (array, stored[name]))
        if not onp.array_equal(ours, theirs):  # as bits: NaN is NaN, too
            raise OSError(errno.EIO, f"{name} does not read back as it was written")


def load_parameters(net: Any, path: Path) -> None:
    """Read a network's parameters.

    Raises
    ------
    DataError
        If the file is missing or damaged, of another network, or holds NaN.
    """
    try:
        net.load_parameters(str(path))
    except (MXNetError, ValueError, AssertionError, OSError, AttributeError) as error:
        raise DataError(
            f"{path} is missing or damaged ({str(error).splitlines()[0]}): restore it "
            "from a copy, or begin a new run"
        ) from error

    for name, parameter in net._collect_params_with_prefix().items():
        if not onp.isfinite(parameter.data().asnumpy()).all():
            raise DataError(
                f"{path} is damaged ({name} holds values that are not finite): "
                "restore it from a copy, or begin a new run"
            )
