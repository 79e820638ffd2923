"""Checkpointing callbacks, and the file of parameters."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

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
    """Timer that tells when a checkpoint is due.

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

    def is_due(self, epochs: int | None = None, is_last_chance: bool = False) -> bool:
        """Return whether a checkpoint is due; they take at most `SHARE` of the time.

        Parameters
        ----------
        epochs : int, optional
            How many are done, at the end of one.
        is_last_chance : bool
            Whether none can be written until the next epoch is over, whatever signal comes.
        """
        if isinstance(self._every, int):
            return epochs is not None and epochs % self._every == 0

        pause = 0.0 if is_last_chance else seconds_of(self._every)
        return self._clock() - self._last >= max(pause, self._cost / SHARE)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Time the writing of a checkpoint."""
        begin = self._clock()
        yield

        self._last = self._clock()
        self._cost = self._last - begin


class Checkpointing(Callback):
    """Callback that keeps the best parameters and writes checkpoints and metrics.csv.

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
        """Note the state of the loader, from which an unfinished epoch is resumed."""
        self._loader = loader_state(training.loader)

    def on_step_begin(self, training: Training, rows: int) -> None:
        """Note that there is something new to save."""
        self._went_on = True

    def on_step_end(self, training: Training) -> None:
        """Write a checkpoint where one is due."""
        if self._pace.is_due():
            self.save_in_epoch(training)

    def on_epoch_end(self, training: Training) -> None:
        """Keep the parameters of the best epoch; write a checkpoint where one is due."""
        done = len(training.history)
        if best_epoch(training.history, self._score) == done:
            self._checkpoint.best = parameters_of(training.net)

        self._loader = loader_state(training.loader)
        if self._pace.is_due(done, is_last_chance=training.workers.size > 1):
            self._save(training, EpochUnderWay())

    def save_in_epoch(self, training: Training) -> None:
        """Write a checkpoint between two steps, unless the training has diverged."""
        if self._folder is None or training.workers.size > 1:
            return
        steps = training.sums()
        if are_finite(training.net) and not training.has_diverged(steps[-1]):  # else told next
            self._save(training, EpochUnderWay(steps, training.rows, training.seconds))

    def _save(self, training: Training, under_way: EpochUnderWay) -> None:
        if self._folder is None:
            return

        checkpoint = self._checkpoint
        checkpoint.history = list(training.history)
        checkpoint.under_way = under_way
        arrays = live_arrays(training.net, training.trainer, self._loader)

        path = self._folder.path / CHECKPOINT
        with self._pace.writing():
            if self._went_on and path.exists():
                former = path.with_name(FORMER_CHECKPOINT)
                former.unlink(missing_ok=True)
                with suppress(OSError):  # of a file system without hard links
                    os.link(path, former)
            checkpoint.save(path, arrays)
            self._folder.write_metrics(checkpoint.phases)
        self._went_on = False

    def keep_last_good(self, training: Training, error: NumericalError) -> NumericalError:
        """Write the last good parameters to model.params; return the error with their origin.

        Parameters
        ----------
        training : Training
            That has diverged.
        error : NumericalError
        """
        if self._folder is None:
            return error

        best = best_epoch(training.history, self._score)
        stored = self._last_good(training, self._folder.path / CHECKPOINT)
        if best is not None and _is_good(training, best, 0):
            parameters, whose = self._checkpoint.best, f"the best epoch, {best}"
        elif stored is not None:
            where = f"epoch {len(stored.history)}"
            if stored.under_way.steps:
                where = f"step {len(stored.under_way.steps)} of epoch {len(stored.history) + 1}"
            parameters, whose = stored.arrays, f"the last checkpoint, after {where}"
        else:
            return NumericalError(f"{error}; no checkpoint was due, so no parameters are kept")

        set_parameters(training.net, parameters)
        write_parameters(self._folder, training.net)
        self._checkpoint.history = list(training.history)
        self._folder.write_metrics(self._checkpoint.phases)
        return NumericalError(
            f"{error}; the parameters of {whose}, are kept in {self._folder.path / 'model.params'}"
        )

    def _last_good(self, training: Training, path: Path) -> Checkpoint | None:
        """Return the phase's last checkpoint that a good step followed; remove a later one."""
        stored = self._read(path)
        if stored and not _is_good(training, len(stored.history), len(stored.under_way.steps)):
            former = path.with_name(FORMER_CHECKPOINT)
            path.unlink()
            if former.exists():
                former.rename(path)
            stored = self._read(path)
        return stored

    def _read(self, path: Path) -> Checkpoint | None:
        """Return the checkpoint in a file; None if this phase has written none."""
        if not path.exists():
            return None
        with open(path, "rb") as file:
            stored = Checkpoint.read(file, path, self._checkpoint.run)
        return stored if stored.phase == self._checkpoint.phase and stored.arrays else None


def _is_good(training: Training, epochs: int, steps: int) -> bool:
    """Return whether the step after these epochs and steps was made and did not diverge."""
    if epochs < len(training.history):
        return True

    made = training.sums()
    return steps < len(made) and not training.has_diverged(made[steps])


def write_parameters(folder: RunFolder, net: Any) -> None:
    """Write model.params."""
    # not net.save_parameters, which writes the mean over devices: equal numbers, but for rounding
    parameters = net._collect_params_with_prefix()
    live = {name: parameter.list_data()[0] for name, parameter in parameters.items()}

    def save(path: Path) -> None:
        npx.save(str(path), live)
        try:
            nd.load(str(path))  # MXNet does not tell of a full disk
        except (MXNetError, ValueError) as error:
            raise OSError("MXNet's file is not whole, as on a full disk") from error

    folder.write("model.params", save)


def load_parameters(net: Any, path: Path) -> None:
    """Read a network's parameters.

    Raises
    ------
    DataError
        If the file is missing or damaged, or of another network.
    """
    try:
        net.load_parameters(str(path))
    except (MXNetError, ValueError, AssertionError, OSError, AttributeError) as error:
        raise DataError(
            f"{path} is missing or damaged ({str(error).splitlines()[0]}): restore it "
            "from a copy, or begin a new run"
        ) from error
