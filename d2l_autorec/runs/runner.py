"""One run from its options to its folder."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import mxnet as mx

from ..support.errors import DataError
from ..support.files import locked, remove_parts
from ..support.terminal import remark, step
from ..training.engine import start_mxnet
from ..training.parameter_server import connect
from .config import RunConfig
from .experiment import TASKS, Experiment, TaskMaker, check_unchanged, prepare
from .keeper import CHECKPOINT, FORMER_CHECKPOINT
from .phases import Outcome, train_phases
from .run_folder import RunFolder
from .run_record import read_record


class Trained(NamedTuple):
    """The result of a training, its folder, and its outcome unless it was finished before."""

    path: Path | None
    result: dict[str, Any]
    outcome: Outcome | None

    @property
    def told(self) -> dict[str, Any]:
        """What result.json holds, and 'run', the folder."""
        return {**self.result, "run": str(self.path)}


def run_training(
    config: RunConfig,
    folder_of: Callable[[Experiment], Path | None] | None = None,
    make_task: TaskMaker | None = None,
    devices: Sequence[mx.Context] | None = None,
    resume: Path | None = None,
) -> Trained | None:
    """Train, into a folder or without one.

    Switches MXNet to NumPy semantics (`npx.set_np()`), and gives it and the
    sparse kernels `config.threads` CPU threads, or those that the run began with.

    Parameters
    ----------
    config : RunConfig
    folder_of : callable, optional
        Where a run that begins is written; None writes nothing. By default see `default_folder`.
    make_task : callable, optional
        Configuration and devices to the task. By default it reads the data that
        the options name.
    devices : sequence of Context, optional
        By default those that the options name.
    resume : Path, optional
        The folder of a run to go on with.

    Returns
    -------
    Trained
        None in every worker but the first.

    Raises
    ------
    UserError
        If data, devices or folder cannot be used; nothing is written then.
    NumericalError
        If the training diverges; the last good parameters are kept.
    Interrupted
        If SIGINT or SIGTERM asked to stop.
    """
    if folder_of is None:
        folder_of = default_folder

    mx.npx.set_np()
    threads = config.threads
    if resume:
        threads = read_record(resume).threads
    start_mxnet(threads, cpus=len(devices or ()) or config.cpus or 1)

    with connect(config.kvstore) as workers:
        experiment = prepare(config, workers, make_task, devices)
        is_done = workers.agree(resume is not None and (resume / "result.json").exists())
        if workers.rank:
            if not is_done:
                train_phases(experiment, None)
            return None
        if is_done:
            assert resume is not None
            return Trained(resume, finished(experiment, resume), None)

        path = resume or folder_of(experiment)
        if path is None:
            outcome = train_phases(experiment, None)
        else:
            outcome = run_in_folder(experiment, path, bool(resume))

    return Trained(path, outcome.result, outcome)


def default_folder(experiment: Experiment) -> Path:
    """The folder that the options name, else one with model, data set and time in its name."""
    config = experiment.config
    if config.out:
        return Path(config.out)

    return new_folder(f"{config.model}-{experiment.task.train.name}")


def new_folder(begins: str) -> Path:
    """A new folder in runs/ with the time in its name."""
    name = f"{begins}-{time.strftime('%Y%m%d-%H%M%S')}"
    path = Path("runs", name)
    number = 1

    while True:
        try:
            path.mkdir(parents=True)
        except FileExistsError:  # of a run that began in the same second
            number += 1
            path = Path("runs", f"{name}-{number}")
        except OSError:
            return path  # locked says what is wrong
        else:
            return path


def finished(experiment: Experiment, path: Path) -> dict[str, Any]:
    """Return the result of a run that needs no resuming; raise UserError if it is another's."""
    record = read_record(path)
    check_unchanged(experiment, record)
    result = record.finished()
    task = TASKS[record.config.model]

    try:
        task.summary(result), task.table(result), task.remarks(result)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path / 'result.json'} is damaged or was edited ({error!r}): restore it "
            "from a copy, or delete it and go on with `resume`"
        ) from error

    print(f"{path} is finished already", file=sys.stderr)
    remove_checkpoint(path)  # a kill may have left it
    return result


def remove_checkpoint(path: Path) -> None:
    """Remove the checkpoints of a finished run; one that cannot be removed is no harm."""
    with suppress(OSError):
        for name in (CHECKPOINT, FORMER_CHECKPOINT):
            (path / name).unlink(missing_ok=True)


def run_in_folder(experiment: Experiment, path: Path, resumed: bool) -> Outcome:
    """Train in a new folder, or in the one to go on with."""
    with locked(path, new=not resumed):
        step("preparing the training")
        remove_parts(path)  # of a process that was killed

        if resumed:
            record = read_record(path)
            check_unchanged(experiment, record)
            folder = RunFolder(path, record.digests)
        else:
            folder = begin_folder(experiment, path)
            if not experiment.config.quiet:
                remark(experiment.task.train.origin)

        outcome = train_phases(experiment, folder)
        finish_folder(outcome, folder)
    return outcome


def begin_folder(experiment: Experiment, path: Path) -> RunFolder:
    """Write what a run begins with: data and configuration. Hold the folder's lock meanwhile."""
    task = experiment.task
    kernel = {
        "chosen": experiment.kernel,
        "why": experiment.why,
        "preload": experiment.preload,
    }

    folder = RunFolder(path)
    folder.begin(experiment.config, task.about_data(), task.save, kernel, experiment.device_names())
    return folder


def finish_folder(outcome: Outcome, folder: RunFolder) -> None:
    """Write parameters, metrics, result and curve."""
    config, phases, result = outcome.experiment.config, outcome.phases, outcome.result
    last = list(phases.values())[-1]

    folder.finish(outcome.net, phases, result)
    folder.draw_curve(last, result, config.score)
    remove_checkpoint(folder.path)


def write_run(outcome: Outcome, path: Path) -> None:
    """Write the run folder of a training that was done without one.

    Raises
    ------
    ConfigError
        If the folder holds files already, or cannot be written.
    """
    with locked(path, new=True, given="folder"):
        folder = begin_folder(outcome.experiment, path)
        finish_folder(outcome, folder)
