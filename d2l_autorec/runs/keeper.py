"""What is kept of a training: the best parameters, what was measured of them, checkpoints."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..support.errors import NumericalError
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
from .options import seconds_of
from .run_folder import RunFolder

CHECKPOINT = "checkpoint.bin"
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
        """Whether it is time, at no more than `SHARE` of it."""
        if isinstance(self._every, int):
            return False

        since = self._clock() - self._last
        return since >= seconds_of(self._every) and self._is_cheap()

    def is_due_after(self, epochs: int, in_epochs: bool = True) -> bool:
        """Whether one is due at the end of this epoch, from 1.

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
        """Around the writing of a checkpoint."""
        begin = self._clock()
        yield

        self._last = self._clock()
        self._cost = self._last - begin


class Keeper(Callback):
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

    def on_epoch_begin(self, training: Training) -> None:
        self._loader = loader_state(training.loader)

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
        if not are_finite(training.net):  # the next step tells
            return

        under_way = EpochUnderWay(training.sums(), training.rows, training.seconds)
        self._save(training, under_way)

    def _save(self, training: Training, under_way: EpochUnderWay) -> None:
        if self._folder is None:
            return

        checkpoint = self._checkpoint
        checkpoint.history = list(training.history)
        checkpoint.under_way = under_way
        arrays = live_arrays(training.net, training.trainer, self._loader)

        with self._pace.writing():
            checkpoint.save(self._folder.path / CHECKPOINT, arrays)
            self._write_metrics(self._folder, training)

    def _write_metrics(self, folder: RunFolder, training: Training) -> None:
        phases = {**self._checkpoint.done, self._checkpoint.phase: training.history}
        if any(phases.values()):
            folder.write_metrics(phases)

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

        self._folder.write_parameters(training.net)
        self._write_metrics(self._folder, training)
        return NumericalError(
            f"{error}; the parameters of {whose}, are kept in {self._folder.path / 'model.params'}"
        )

    def _set_last_good(self, training: Training, path: Path) -> str | None:
        """Give the network its last good parameters; says whose they are, None without any."""
        checkpoint = self._checkpoint
        if checkpoint.best:
            set_parameters(training.net, checkpoint.best)
            return f"the best epoch, {best_epoch(training.history, self._score)}"

        if not path.exists():
            return None
        with open(path, "rb") as file:
            stored = Checkpoint.read(file, path, checkpoint.run)
        if stored.phase != checkpoint.phase or not stored.arrays:
            return None

        set_parameters(training.net, stored.arrays)
        where = f"epoch {len(stored.history)}"
        if stored.under_way.steps:
            where = f"step {len(stored.under_way.steps)} of epoch {len(stored.history) + 1}"
        return f"the last checkpoint, after {where}"


class ServedTest(Callback):
    """A test evaluation that remembers what it measured of the parameters that are served.

    They are those of the best epoch where there is validation, else of the last.

    Parameters
    ----------
    evaluation : RatingEvaluation or RankingEvaluation
    score : Score
        What is best.
    """

    def __init__(self, evaluation: Any, score: Score) -> None:
        self._evaluation = evaluation
        self._score = score
        self._latest: Any = None
        self._served: Any = None

    def __call__(self, net: Any) -> dict[str, float]:
        """The metrics after an epoch."""
        self._latest = self._evaluation.measured(net)
        return self._evaluation.metrics_of(self._latest)

    def on_epoch_end(self, training: Training) -> None:
        record = training.history[-1]
        if not record.validation or best_epoch(training.history, self._score) == record.epoch:
            self.keep()

    def keep(self) -> None:
        """What was measured last is of the parameters that are served."""
        self._served = self._latest

    @property
    def evaluation(self) -> Any:
        """What measures."""
        return self._evaluation

    def report(self, net: Any) -> dict[str, Any]:
        """What result.json says of the test; measured again where no epoch was since a resume."""
        if self._served is None:
            return self._evaluation.report(net)
        return self._evaluation.report_of(self._served)
