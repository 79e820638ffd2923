"""The callback that writes checkpoints, and the file of parameters."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mxnet import MXNetError, nd, npx

from ..models.options import seconds_of
from ..support.errors import NumericalError
from ..support.files import telling_damage
from ..training import checkpoint
from ..training.callbacks import Callback
from ..training.checkpoint import Arrays, Checkpoint
from ..training.history import Score, best_epoch
from ..training.loaders import loader_state
from ..training.loop import Training
from .folder import RunFolder

CHECKPOINT = "checkpoint.bin"
SHARE = 0.05  # largest share of the time that goes into checkpoints


class Pace:
    """A timer that tells when a checkpoint is due.

    Parameters
    ----------
    every : int or str
        Epochs from one checkpoint to the next; or seconds, as in '60s', and more if writing one
        takes long.
    """

    def __init__(self, every: int | str) -> None:
        self._every = every
        self._last = time.monotonic()
        self._cost = 0.0

    def is_due(self, epochs: int | None = None, is_last_chance: bool = False) -> bool:
        """Return whether a checkpoint is due; they take at most `SHARE` of the time.

        Parameters
        ----------
        epochs : int, optional
            How many epochs are done, if one has just ended.
        is_last_chance : bool
            Whether no checkpoint can be written before the end of the next epoch.
        """
        if isinstance(self._every, int):
            return epochs is not None and epochs % self._every == 0

        pause = 0.0 if is_last_chance else seconds_of(self._every)
        return time.monotonic() - self._last >= max(pause, self._cost / SHARE)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Measure the time that the block takes to write a checkpoint."""
        begin = time.monotonic()
        yield

        self._last = time.monotonic()
        self._cost = self._last - begin


class Checkpointing(Callback):
    """A callback that keeps the best parameters and writes checkpoints and metrics.csv.

    A single process can be resumed between any two steps. Several workers each
    know only their own steps, so they are resumed from the end of an epoch.

    Parameters
    ----------
    checkpoint : Checkpoint
        The checkpoint of the phase that begins, or goes on.
    folder : RunFolder, optional
        The folder to write to; without one nothing is written.
    score : Score
        The metric by which an epoch is the best.
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

    def on_epoch_begin(self, training: Training) -> None:
        """Note the state of the loader, from which an unfinished epoch is resumed."""
        self._loader = loader_state(training.loader)

    def on_step_end(self, training: Training) -> None:
        """Write a checkpoint if one is due."""
        if self._pace.is_due():
            self.save_in_epoch(training)

    def on_epoch_end(self, training: Training) -> None:
        """Keep the parameters of the best epoch, and write a checkpoint if one is due."""
        done = len(training.history)
        if best_epoch(training.history, self._score) == done:
            averages = dict(self._checkpoint.averages)
            self._checkpoint.best = averages or checkpoint.parameters_of(training.net)

        self._loader = loader_state(training.loader)
        if self._pace.is_due(done, is_last_chance=training.workers.size > 1):
            self._save(training)

    def save_in_epoch(self, training: Training) -> None:
        """Write a checkpoint between two steps, unless the training has diverged."""
        if training.workers.size > 1:
            return
        has_diverged = training.has_diverged(training.sums()[-1])
        if checkpoint.are_finite(training.net) and not has_diverged:  # which is reported next
            self._save(training)

    def _save(self, training: Training) -> None:
        if self._folder is None:
            return

        self._checkpoint.history = list(training.history)
        done = {"steps": training.sums(), "rows": training.rows, "seconds": training.seconds}
        self._checkpoint.under_way = done
        with self._pace.writing():
            arrays = checkpoint.live_arrays(training.net, training.trainer, self._loader)
            self._checkpoint.save(self._folder.path / CHECKPOINT, arrays)
            self._folder.write_metrics(self._checkpoint.phases)

    def keep_last_good(self, training: Training, error: NumericalError) -> NumericalError:
        """Write the parameters of the best epoch; return the error with a note on what is kept.

        Parameters
        ----------
        training : Training
            The training that has diverged.
        error : NumericalError
            The error that says so.
        """
        if self._folder is None:
            return error

        self._checkpoint.history = list(training.history)
        self._folder.write_metrics(self._checkpoint.phases)
        kept, path = "no checkpoint was due, so no parameters are kept", self._folder.path
        if self._checkpoint.best:
            checkpoint.set_parameters(training.net, self._checkpoint.best)
            write_parameters(self._folder, training.net)
            best = best_epoch(training.history, self._score)
            kept = f"the parameters of the best epoch, {best}, are kept in {path / 'model.params'}"
        elif (path / CHECKPOINT).exists():
            kept = f"the last checkpoint is kept: {path / CHECKPOINT}"
        return NumericalError(f"{error}; {kept}")


def write_parameters(folder: RunFolder, net: Any) -> None:
    """Write a network's parameters to model.params."""
    # net.save_parameters would write the mean over devices, which rounding may change
    parameters = net._collect_params_with_prefix()
    live = {name: parameter.list_data()[0] for name, parameter in parameters.items()}

    def save(path: Path) -> None:
        try:
            npx.save(str(path), live)
            nd.load(str(path))  # MXNet does not report every full disk
        except (MXNetError, ValueError) as error:
            raise OSError("MXNet's file is not whole, as on a full disk") from error

    folder.write("model.params", save)


def load_parameters(net: Any, path: Path) -> None:
    """Read a network's parameters from a file.

    Raises
    ------
    DataError
        If the file is missing or damaged, or belongs to another network.
    """
    with telling_damage(path):
        net.load_parameters(str(path))
